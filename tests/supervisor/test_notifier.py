"""Hearing that prompts were queued: a hint, and never deaf for good."""

from __future__ import annotations

import queue
import threading
from contextlib import contextmanager

import pytest

from tests.fakes.patience import HANG_SECONDS
from worker.errors import StoreBusy
from worker.supervisor import notifier
from worker.supervisor.notifier import Notifier


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch):
    monkeypatch.setattr(notifier, "RECONNECT_SECONDS", 0)
    monkeypatch.setattr(notifier, "SQLITE_LOOK_SECONDS", 0)


class Listening:
    """What PostgreSQL offers: a connection that waits for notifications."""

    def __init__(self) -> None:
        self.heard: queue.Queue[bool | Exception] = queue.Queue()
        self.closed = 0
        self.opened = 0
        self.refusals: list[Exception] = []

    def listener(self):
        if self.refusals:
            raise self.refusals.pop(0)
        self.opened += 1
        return self

    def wait(self, timeout_seconds: float) -> bool:
        assert timeout_seconds == notifier.LISTEN_SECONDS
        news = self.heard.get()
        if isinstance(news, Exception):
            raise news
        return news

    def close(self) -> None:
        self.closed += 1

    def data_version(self) -> int:
        raise AssertionError("PostgreSQL is listened to, not looked at")


class Looking:
    """What SQLite offers: a number that changes."""

    def __init__(self, versions) -> None:
        self.versions = iter(versions)
        self.over = threading.Event()

    def listener(self) -> None:
        return None

    def data_version(self) -> int:
        version = next(self.versions, None)
        if version is None:
            self.over.set()
            return 0
        if isinstance(version, Exception):
            raise version
        return version


class Awake:
    def __init__(self, store) -> None:
        self.wakes: queue.Queue[None] = queue.Queue()
        self.said: list[str] = []
        self.waker = Notifier(
            store,
            on_wake=lambda: self.wakes.put(None),
            log=lambda event, **_: self.said.append(event),
        )

    def wake(self) -> None:
        self.wakes.get(timeout=HANG_SECONDS)


@contextmanager
def awake(store):
    it = Awake(store)
    yield it
    it.waker._stopping.set()
    if isinstance(store, Listening):
        store.heard.put(False)
    it.waker.stop()
    assert not it.waker._thread.is_alive()


def test_a_notification_wakes_and_silence_does_not():
    """The wait is cut into pieces so that the thread can end."""
    store = Listening()
    with awake(store) as it:
        store.heard.put(False)
        store.heard.put(False)
        store.heard.put(True)
        it.wake()
        assert it.wakes.empty()
    assert store.closed == 1


@pytest.mark.parametrize("error", [StoreBusy("connection lost"), RuntimeError("a bug")])
def test_a_listener_that_breaks_is_opened_again_and_wakes_for_what_it_missed(error):
    """Said once when it broke and once when it is back, whatever broke it."""
    store = Listening()
    with awake(store) as it:
        store.refusals = [StoreBusy("starting up")] * 3
        store.heard.put(error)
        it.wake()
        assert it.said == ["listener_lost", "listener_back"]
        assert (store.opened, store.closed) == (2, 1)
        store.heard.put(True)
        it.wake()


def test_on_sqlite_a_commit_of_somebody_else_wakes():
    """Once for each change that is seen, not for each look."""
    store = Looking([7, 7, 8, 8, 8, 9, 9])
    with awake(store) as it:
        it.wake()
        it.wake()
        assert store.over.wait(HANG_SECONDS)


def test_on_sqlite_a_file_that_cannot_be_read_for_a_moment_is_looked_at_again():
    """And what happened meanwhile is not missed."""
    store = Looking([7, StoreBusy("locked"), 9, 9])
    with awake(store) as it:
        it.wake()
        assert store.over.wait(HANG_SECONDS)
        assert it.said == ["listener_lost", "listener_back"]
