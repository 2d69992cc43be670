"""Imports libraries without what they bring along for uses that are not ours.

httpx imports rich and pygments for its own command line, structlog does so for
tracebacks in colour, wherever the two are installed: 4 MiB of a worker's memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Imports in this context do not find these packages, but for those that are there already."""
    modules = cast("dict[str, Any]", sys.modules)
    hidden = [name for name in names if name not in modules]
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]
