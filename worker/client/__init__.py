"""Spool from Python."""
