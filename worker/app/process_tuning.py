"""Less memory and less time for every command: no idle libraries, no idle collections.

httpx imports rich and pygments for its own command line, structlog does so for
tracebacks in colour, wherever the two are installed: 4 MiB of a worker's memory.

The garbage collector looks for cycles, of which neither imports nor streams nor pages of
rows make any to speak of; at its usual pace it takes a tenth of the time of a command.

glibc gives each thread a heap of its own, and keeps pieces of text in it when they are freed,
though the next ones do not fit: up to 6 MiB.  With one heap, and a mapping of its own for
each long piece, memory does not grow with the text that passes through.

Each stream takes a file descriptor.  The limit that a shell or systemd sets first is often 1,024,
because `select` cannot handle more; Spool does not use it, so a worker raises the limit to what it
may have.
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
# Files that a worker has open beside its streams: libraries, the database, the log, its server.
DESCRIPTORS_BESIDE_STREAMS = 64


def collect_rarely() -> None:
    """Let the collector come a thirtieth as often."""
    gc.set_threshold(*COLLECT_EVERY)


def one_heap() -> None:
    """Have glibc serve all threads from one heap."""
    _tune_malloc(_ARENA_MAX, 1)


def give_back() -> None:
    """Have glibc return long pieces of text as soon as they are freed.

    Not for what writes to SQLite: that takes and frees such a piece for every row, and adding
    prompts would take three times as long.
    """
    _tune_malloc(_MMAP_THRESHOLD, OWN_MAPPING_BYTES)


def raise_descriptor_limit(streams: int) -> str | None:
    """Let this process open as many files as the system allows it.

    Returns a sentence with the cure if `streams` at the same time need more than that.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or soft < hard:
        wanted = max(soft, streams + DESCRIPTORS_BESIDE_STREAMS)
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = soft - DESCRIPTORS_BESIDE_STREAMS
    if streams <= room:
        return None
    return (
        f"the concurrency of all endpoints together is {streams:,}, and this process may open"
        f" {soft:,} files, which is room for {max(room, 0):,} streams: lower it, or raise the limit"
        " (LimitNOFILE of systemd, `ulimit -Hn`)"
    )


def _tune_malloc(what: int, value: int) -> None:
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows: it stays as it is
        return
    mallopt(what, value)


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
