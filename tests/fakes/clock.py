"""A clock that moves only when a test says so, or jumps when nothing else happens."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """Implements worker.clock.Clock.

    With `autojump_seconds`, the clock jumps to the next sleeper whenever nobody has gone to
    sleep for that long in real time: tests with long delays then run at once and need no hand.
    """

    def __init__(
        self, *, start: float = 1000.0, seed: int = 0, autojump_seconds: float | None = None
    ) -> None:
        self._monotonic = start
        self._started = start
        self._dice = random.Random(seed)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self._autojump = autojump_seconds
        self._jump: asyncio.TimerHandle | None = None
        self.slept: list[float] = []  # every sleep that was asked for

    def now(self) -> datetime:
        return _EPOCH + timedelta(seconds=self._monotonic - self._started)

    def monotonic(self) -> float:
        return self._monotonic

    def random(self) -> float:
        return self._dice.random()

    async def sleep(self, seconds: float) -> None:
        """Until the clock was moved that far."""
        self.slept.append(seconds)
        waking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), waking))
        self._changed.set()
        if seconds <= 0:
            self._wake()
        elif self._autojump is not None:
            self._arm(self._autojump)
        await waking

    @property
    def sleeping(self) -> int:
        """How many are asleep."""
        return sum(not waking.done() for _, _, waking in self._sleepers)

    async def until_sleeping(self, count: int = 1) -> None:
        """Wait until that many are asleep."""
        while self.sleeping < count:
            self._changed.clear()
            await self._changed.wait()

    async def advance(self, seconds: float) -> None:
        """Move on, waking sleepers in order and letting each act before the next one wakes."""
        target = self._monotonic + seconds
        while self._sleepers and self._sleepers[0][0] <= target:
            self._monotonic = max(self._monotonic, self._sleepers[0][0])
            self._wake()
            for _ in range(10):  # what was woken may wake others
                await asyncio.sleep(0)
        self._monotonic = target

    def move(self, seconds: float) -> None:
        """Move on without letting anybody act."""
        self._monotonic += seconds
        self._wake()

    def _wake(self) -> None:
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            _, _, waking = heapq.heappop(self._sleepers)
            if not waking.done():
                waking.set_result(None)

    def _arm(self, seconds: float) -> None:
        if self._jump is not None:
            self._jump.cancel()
        self._jump = asyncio.get_running_loop().call_later(seconds, self._leap)

    def _leap(self) -> None:
        """Nothing happened for a while: go to the next sleeper."""
        self._jump = None
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if self._sleepers and self._autojump is not None:
            self._monotonic = max(self._monotonic, self._sleepers[0][0])
            self._wake()
            if self._sleepers:
                self._arm(self._autojump)
