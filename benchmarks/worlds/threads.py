"""Stands in for `threading` in the worker's modules: threads in simulated time, one at a time.

Each is a real thread, but it only runs while the event loop waits for it, and the event loop
goes on when it waits or ends.  So nothing ever races, and a wait of a minute takes no time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.worlds.loop import WorldLoop

_STACK_BYTES = 512 * 1024


class Threads:
    """What a module finds under the name `threading`; one for each loop."""

    def __init__(self, loop: WorldLoop) -> None:
        self.loop = loop
        self.running: threading.local = threading.local()
        self.Thread = _bound(_Thread, self)
        self.Event = _bound(_Event, self)
        self.Condition = _bound(_Condition, self)
        self.Lock = threading.Lock
        self.RLock = threading.RLock
        self.local = threading.local
        self.current_thread = threading.current_thread
        self.main_thread = threading.main_thread
        self.get_ident = threading.get_ident

    def wait(self, waiters: list[_Thread], seconds: float | None) -> None:
        """Let the thread that calls this wait until it is woken, or for so long."""
        thread: _Thread | None = getattr(self.running, "thread", None)
        if thread is None:
            raise RuntimeError("the event loop itself would wait for a thread")
        timer = None if seconds is None else self.loop.call_later(max(0.0, seconds), thread.wake)
        waiters.append(thread)
        thread.pause()
        if thread in waiters:
            waiters.remove(thread)
        if timer is not None:
            timer.cancel()


def _bound(kind: type[Any], threads: Threads) -> Callable[..., Any]:
    return lambda *args, **kwargs: kind(threads, *args, **kwargs)


class _Thread:
    def __init__(
        self,
        threads: Threads,
        *,
        target: Callable[..., object],
        name: str = "",
        daemon: bool = True,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        del daemon
        self.name = name
        self._threads = threads
        self._work = lambda: target(*args, **(kwargs or {}))
        self._turn = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._woken = False
        self._ended = False
        threading.stack_size(_STACK_BYTES)
        self._real = threading.Thread(target=self._live, name=name, daemon=True)

    def start(self) -> None:
        self._real.start()
        self.wake()

    def wake(self) -> None:
        """It goes on as soon as the loop comes to it."""
        if not self._woken and not self._ended:
            self._woken = True
            self._threads.loop.call_soon_threadsafe(self._run)

    def join(self, timeout: float | None = None) -> None:
        del timeout
        self._run()
        if self._ended:
            self._real.join()

    def is_alive(self) -> bool:
        return not self._ended

    def pause(self) -> None:
        """Called in the thread itself: the loop goes on until it is woken."""
        self._back.release()
        self._turn.acquire()

    def _run(self) -> None:
        """Called by the loop: let the thread run until it waits or ends."""
        if self._woken and not self._ended:
            self._woken = False
            self._turn.release()
            self._back.acquire()

    def _live(self) -> None:
        self._turn.acquire()
        self._threads.running.thread = self
        try:
            self._work()
        finally:
            self._ended = True
            self._back.release()


class _Event:
    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._flag = False
        self._waiters: list[_Thread] = []

    def is_set(self) -> bool:
        return self._flag

    def set(self) -> None:
        self._flag = True
        for thread in self._waiters:
            thread.wake()

    def clear(self) -> None:
        self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._flag and (timeout is None or timeout > 0):
            self._threads.wait(self._waiters, timeout)
        return self._flag


class _Condition:
    """Its lock is never contended: one thread runs at a time, and gives it up when it waits."""

    def __init__(self, threads: Threads, lock: object = None) -> None:
        del lock
        self._threads = threads
        self._waiters: list[_Thread] = []

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *_: object) -> None:
        pass

    def notify(self, n: int = 1) -> None:
        for thread in self._waiters[:n]:
            thread.wake()

    def notify_all(self) -> None:
        self.notify(len(self._waiters))

    def wait(self, timeout: float | None = None) -> bool:
        self._threads.wait(self._waiters, timeout)
        return True

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        loop = self._threads.loop
        ends_at = None if timeout is None else loop.seconds + timeout
        while not predicate():
            left_seconds = None if ends_at is None else ends_at - loop.seconds
            if left_seconds is not None and left_seconds <= 1e-6:
                return predicate()
            self._threads.wait(self._waiters, left_seconds)
        return True
