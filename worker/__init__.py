"""Spool: a durable pipeline from streaming language models to SQL.

Importing this package does nothing but make the names below available.
"""

from __future__ import annotations

__version__ = "0.1.0"
