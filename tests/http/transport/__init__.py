"""The fast transport, and the same of httpx beside it."""
