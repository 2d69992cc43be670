"""What is installed: files that are not Python, advice, and the second import name."""
