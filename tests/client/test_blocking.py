"""A caller that blocks gets its coroutine run to the end, in a notebook too, and interrupted whole."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from worker.client import blocking
from worker.client.blocking import run_blocking

Main = Callable[[], Coroutine[Any, Any, None]]


def _interrupted_cell(cell: Main) -> None:
    """Run it as a kernel does, without the handler of asyncio.run; the interrupt comes out of it."""
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(cell())
    finally:
        loop.close()


def test_a_notebook_that_is_interrupted_waits_until_everything_is_handed_back() -> None:
    """The interrupt reaches the coroutine, which may do what it has to."""
    ended = []

    async def carry() -> None:
        try:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(ended.append, "handed back")

    async def cell() -> None:
        run_blocking(carry)

    _interrupted_cell(cell)
    assert ended == ["handed back"]


def _interrupted(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[Main, Callable[[], None]], None]
) -> list[str]:
    """What a coroutine in a notebook has done when the interrupt comes out of it.

    `run` is handed the coroutine and what interrupts: it returns when the interrupt has been seen.
    """
    done = []
    seen = threading.Event()

    class Executor(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            seen.set()  # the thread is waited for now
            super().shutdown(wait=wait, cancel_futures=cancel_futures)

    def interrupt() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        while not seen.wait(1.0):  # one that comes just before a wait does not end it
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    monkeypatch.setattr(blocking, "ThreadPoolExecutor", Executor)

    async def carry() -> None:
        done.append("carried")

    async def cell() -> None:
        run_blocking(carry, lambda main: run(main, interrupt))

    _interrupted_cell(cell)
    return done


def test_a_notebook_that_is_interrupted_before_its_loop_turns_carries_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread runs, the coroutine does not yet: there is nothing to cancel, and it must end."""

    def run(main: Main, interrupt: Callable[[], None]) -> None:
        interrupt()
        asyncio.run(main())

    assert _interrupted(monkeypatch, run) == []


def test_a_notebook_that_is_interrupted_when_all_is_done_hears_of_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loop is closed, its thread not yet gone: the interrupt is no fault of the loop's."""

    def run(main: Main, interrupt: Callable[[], None]) -> None:
        asyncio.run(main())
        interrupt()

    assert _interrupted(monkeypatch, run) == ["carried"]
