"""HTTP: requests out, bytes in."""
