"""An event loop whose clock jumps: when nothing can run, it is the time of the next timer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import inf, nextafter
from typing import Any

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class NothingLeft(RuntimeError):
    """Every task waits for another one: no timer could ever wake them."""


class _Jump:
    """In the place of a selector: to wait is to move the clock."""

    def __init__(self, loop: WorldLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise NothingLeft("no task can run, and no timer is set")
        self._loop.jump()
        return []

    def close(self) -> None:
        pass


class WorldLoop(asyncio.base_events.BaseEventLoop):
    """Asyncio in simulated time; work for executors is done at once, in the caller's place.

    Attributes:
        seconds: the time, in seconds since the world began.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self._clock_resolution = 0.0
        self._selector = _Jump(self)

    def jump(self) -> None:
        """Let it be the moment after the next timer, unless something can run now.

        A timer must not fire before its time, not even by a rounding error: who finds that its
        time has not come would sleep for nothing, again and again.
        """
        if not self._ready and self._scheduled:
            self.seconds = max(self.seconds, nextafter(self._scheduled[0].when(), inf))

    def time(self) -> float:
        return self.seconds

    def run_in_executor(
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        del executor
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - handed on, as an executor does
            done.set_exception(error)
        return done

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


async def pass_(seconds: float) -> None:
    """Let so much time of the world pass."""
    await asyncio.sleep(seconds)


class WorldClock:
    """Implements worker.clock.Clock on such a loop."""

    def __init__(self, loop: WorldLoop, seed: object) -> None:
        self._loop = loop
        self._dice = random.Random(str(seed))

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.seconds)

    def monotonic(self) -> float:
        return self._loop.seconds

    def random(self) -> float:
        return self._dice.random()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
