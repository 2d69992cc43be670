"""Servers and clocks that do what a test tells them."""
