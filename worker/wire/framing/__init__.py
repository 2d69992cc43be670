"""How a body is cut into frames."""
