"""Hears that prompts were queued: a hint only, with the loop's own poll behind it.

PostgreSQL says so with NOTIFY on a connection that does nothing else; SQLite has
no such thing, but asking whether another connection has committed costs a few
microseconds, so one thread asks often.  A listener that breaks says so once,
comes back by itself, and wakes the loop then, for what it missed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from worker.events import Event, Log

LISTEN_SECONDS = 1.0
RECONNECT_SECONDS = 2.0
SQLITE_LOOK_SECONDS = 0.008


class ListenerPort(Protocol):
    """A connection that listens."""

    def wait(self, timeout_seconds: float) -> bool:
        """True if something was queued."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class NotifierStore(Protocol):
    """What the waker needs of the store."""

    def listener(self) -> ListenerPort | None:
        """A fresh listener; None where the database has no notifications."""
        ...

    def data_version(self) -> int:
        """A number that changes when another connection commits."""
        ...


class Notifier:
    """One thread that calls `on_wake` when there may be something to claim."""

    def __init__(self, store: NotifierStore, *, on_wake: Callable[[], object], log: Log) -> None:
        """on_wake: called in the waker's thread."""
        self._store = store
        self._on_wake = on_wake
        self._log = log
        self._stopping = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._work, name="waker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(timeout=2 * LISTEN_SECONDS)

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                listener = self._store.listener()
                if listener is None:
                    self._look()
                else:
                    self._listen(listener)
            except Exception as error:  # noqa: BLE001 - deaf for good, nobody would notice
                if not self._lost:
                    self._lost = True
                    self._log(Event.LISTENER_LOST, error=str(error))
                self._stopping.wait(RECONNECT_SECONDS)

    def _listen(self, listener: ListenerPort) -> None:
        self._came_back()
        try:
            while not self._stopping.is_set():
                if listener.wait(LISTEN_SECONDS):
                    self._on_wake()
        finally:
            listener.close()

    def _look(self) -> None:
        seen = self._store.data_version()
        self._came_back()
        while not self._stopping.wait(SQLITE_LOOK_SECONDS):
            version = self._store.data_version()
            if version != seen:
                seen = version
                self._on_wake()

    def _came_back(self) -> None:
        if self._lost:
            self._lost = False
            self._log(Event.LISTENER_BACK)
            self._on_wake()
