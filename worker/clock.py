"""Time, sleep and jitter, the only place that touches them.

Everything else is handed a ``Clock``; tests hand in one that they move by hand.
"""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import Protocol

import msgspec

OVERSLEPT_SECONDS = 1.0  # a busy machine is late by less


class Clock(Protocol):
    """What the rest of the program may know of time."""

    def now(self) -> datetime:
        """Wall time, aware, UTC: for people and for rows, never for durations."""
        ...

    def monotonic(self) -> float:
        """Seconds that only go forward: for durations and deadlines."""
        ...

    def random(self) -> float:
        """A number in [0, 1): the source of jitter."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run for that long."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """Wall time, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some point in the past."""
        return time.monotonic()

    def random(self) -> float:
        """A number in [0, 1)."""
        return random.random()  # noqa: S311 - jitter, not cryptography

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run for that long."""
        await asyncio.sleep(seconds)


def iso(moment: datetime) -> str:
    """UTC, to the millisecond, with a Z: `2026-11-22T10:00:00.123Z`."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    text: str = msgspec.to_builtins(moment)  # with six digits or none; `isoformat` takes five times
    return f"{text[:23]}Z" if moment.microsecond else f"{text[:19]}.000Z"


def overslept(wait_seconds: float | None, took_seconds: float) -> bool:
    """Whether a wait took so long that this process cannot have run: it or the machine slept."""
    return wait_seconds is not None and took_seconds > wait_seconds + OVERSLEPT_SECONDS
