"""Threads of one process queue for SQLite's one write lock, in the order in which they came.

SQLite itself lets them race, and a small lease renewal would lose to large flushes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakValueDictionary

from worker.errors import StoreBusy


class WriteLock:
    """A lock that serves threads in the order in which they came."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._taken = False

    @contextmanager
    def turn(self, timeout_seconds: float) -> Iterator[None]:
        """Wait for our turn; raises StoreBusy if it does not come in time."""
        if not self._enter(timeout_seconds):
            raise StoreBusy("the database is locked by another thread of this process")
        try:
            yield
        finally:
            self._leave()

    def _enter(self, timeout_seconds: float) -> bool:
        with self._guard:
            if not self._taken:
                self._taken = True
                return True
            ticket = threading.Lock()
            ticket.acquire()
            self._waiting.append(ticket)
        if ticket.acquire(timeout=timeout_seconds):
            return True
        with self._guard:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                return False
        return True  # it was our turn at the very moment at which we gave up

    def _leave(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False


_of_files: WeakValueDictionary[Path, WriteLock] = WeakValueDictionary()
_of_files_guard = threading.Lock()


def of_file(path: Path) -> WriteLock:
    """The one of this file, however many stores this process has opened on it."""
    with _of_files_guard:
        return _of_files.setdefault(path.resolve(), WriteLock())
