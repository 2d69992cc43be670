"""One worker built out of settings, and run: the composition root."""
