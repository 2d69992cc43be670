"""What waits and why, in sentences for people."""
