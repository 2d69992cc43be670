"""What a server says when something is wrong, and what it means."""
