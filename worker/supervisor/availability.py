"""Whether the database answers, told once for all threads."""

from __future__ import annotations

import threading

from worker.errors import SpoolError
from worker.events import Event, Log


class Availability:
    """Says once that the database went away, and once that it is back; for all threads.

    Each thread speaks for itself alone: a full disk takes no text, while a look for requests to
    cancel, which only reads, goes through.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._waiting: set[str] = set()

    def went_away(self, thread: str, error: SpoolError) -> None:
        """A transaction of this thread has to wait."""
        with self._lock:
            was_away = self.away
            self._waiting.add(thread)
        if not was_away:
            self._log(Event.DATABASE_UNAVAILABLE, error=error.message)

    @property
    def away(self) -> bool:
        """Whether the last transaction of any thread had to wait."""
        return bool(self._waiting)

    def came_back(self, thread: str) -> None:
        """A transaction of this thread went through."""
        if thread not in self._waiting:
            return
        with self._lock:
            self._waiting.discard(thread)
            is_back = not self.away
        if is_back:
            self._log(Event.DATABASE_BACK)

    def waits_for_row(self, run_id: int, prompt_id: int | None) -> None:
        """What a run produced waits for somebody's open transaction; all others go on."""
        self._log(Event.RUN_WAITS_FOR_ROW, run_id=run_id, prompt_id=prompt_id)
