"""Less memory and less time for every command: no idle libraries, no idle collections.

httpx imports rich and pygments for its own command line, structlog does so for
tracebacks in colour, wherever the two are installed: 4 MiB of a worker's memory.

The garbage collector looks for cycles, of which neither imports nor streams nor pages of
rows make any to speak of; at its usual pace it takes a tenth of the time of a command.

glibc raises the size from which it gives a freed piece back to the system, up to 32 MiB,
whenever such a piece is freed, and gives each thread a heap of its own.  Pieces of text are
of that size: held to its first threshold, and to one heap, a command needs less memory.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

# Allocations that start a garbage collection, and how many of those start an older one.
COLLECT_EVERY = (20_000, 20, 50)
OWN_MAPPING_BYTES = 65_536  # a piece of text that is longer goes back when it is freed
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8  # of glibc's malloc.h


def collect_rarely() -> None:
    """Let the collector come a thirtieth as often."""
    gc.set_threshold(*COLLECT_EVERY)


def give_back() -> None:
    """Have glibc return what is freed; other C libraries are left as they are."""
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return
    mallopt(_MMAP_THRESHOLD, OWN_MAPPING_BYTES)
    mallopt(_ARENA_MAX, 1)


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
