"""A request in, bytes out, or a typed error; over both transports."""
