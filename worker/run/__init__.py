"""One run, from its first byte to its last durable word."""
