"""Coroutines as tests, and a bell to wait for what other threads do."""

from __future__ import annotations

import asyncio
import functools
import gc
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from tests.fakes.patience import HANG_SECONDS

P = ParamSpec("P")


def aio(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine as a test; what nobody caught in the background fails it."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        complaints: list[str] = []

        async def watched() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: complaints.append(repr(context)))
            async with asyncio.timeout(HANG_SECONDS):
                await test(*args, **kwargs)
            gc.collect(1)  # futures complain when they are collected
            await asyncio.sleep(0)

        asyncio.run(watched())
        assert complaints == []

    return run


async def turns(count: int = 20) -> None:
    """Let everything act that can act without time or threads."""
    for _ in range(count):
        await asyncio.sleep(0)


class Bell:
    """Rung by whoever changed something, in any thread; wakes the tests that wait."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def ring(self) -> None:
        for event, loop in list(self._waiting.items()):
            loop.call_soon_threadsafe(event.set)

    async def until(self, true: Callable[[], object]) -> None:
        """Wait until that holds; it is looked at whenever the bell rings."""
        event = asyncio.Event()
        self._waiting[event] = asyncio.get_running_loop()
        try:
            while not true():
                await event.wait()
                event.clear()
        finally:
            del self._waiting[event]
