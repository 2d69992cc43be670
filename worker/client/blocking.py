"""A coroutine run to its end by a caller that blocks, with an event loop around it or without."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
Main = Callable[[], Coroutine[Any, Any, T]]


def _plainly(main: Main[T]) -> T:
    return asyncio.run(main())


def run_blocking(main: Main[T], run: Callable[[Main[T]], T] = _plainly) -> T:
    """Run a coroutine to its end, also where an event loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run(main)
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    ready, given_up = threading.Event(), threading.Event()

    async def noted() -> T:
        if task := asyncio.current_task():
            started.append((asyncio.get_running_loop(), task))
        if given_up.is_set():  # before there was anything to cancel
            raise asyncio.CancelledError
        return await main()

    def begin() -> T:
        # An executor that is interrupted while it starts its thread does not wait for it.
        ready.wait()
        if given_up.is_set():
            raise KeyboardInterrupt
        return run(noted)

    with ThreadPoolExecutor(1) as thread:
        try:
            future = thread.submit(begin)
            ready.set()
            return future.result()
        except KeyboardInterrupt:  # the thread is waited for: it hands back what it holds
            given_up.set()
            ready.set()
            for loop, task in started:
                with suppress(RuntimeError):  # it has ended meanwhile
                    loop.call_soon_threadsafe(task.cancel)
            raise
