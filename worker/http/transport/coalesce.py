"""One timer that wakes the sockets which wait for more tokens.

A model sends a token every few tens of milliseconds, and nothing needs it this
very moment: text is stored about once a second.  So a connection that brought
something stops reading and *parks* here; meanwhile the kernel gathers what
arrives, and one read then takes many tokens.  This costs the age of the text at
most one interval and saves most of the work of reading (eleven times less
processor time per token at 250 ms).

The timer is a wheel of slots: connections wake in the order in which they
parked, an interval later, and a thousand of them not all at once.  What costs is the
read, whatever it brings; so the more are parked, the slower the wheel turns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

READS_PER_SECOND_MAX = 4000  # a read takes some 80 microseconds: a third of a core
_SLOTS = 8


class Parked(Protocol):
    """What waits here."""

    def wake(self) -> None:
        """The interval is over."""
        ...


class Wheel:
    """Wakes whatever is parked after at most an interval.

    Args:
        interval_seconds: while few are parked.
        most_seconds: however many are parked; None: the same.
    """

    def __init__(self, interval_seconds: float, most_seconds: float | None = None) -> None:
        self.interval_seconds = interval_seconds
        self.most_seconds = max(interval_seconds, most_seconds or 0.0)
        self._slots: deque[list[Parked]] = deque([] for _ in range(_SLOTS))
        self._parked = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def turn_seconds(self) -> float:
        """The interval, with so many parked as now."""
        interval_seconds = max(self.interval_seconds, self._parked / READS_PER_SECOND_MAX)
        return min(interval_seconds, self.most_seconds)

    def park(self, sleeper: Parked, seconds: float) -> bool:
        """Call `sleeper.wake()` within about that time, and an interval at most.

        False if the time is less than a slot: then nobody is parked.
        """
        slots = min(int(seconds * _SLOTS / self.turn_seconds), _SLOTS)
        if not slots:
            return False
        self._slots[slots - 1].append(sleeper)
        self._parked += 1
        if self._timer is None:
            self._arm()
        return True

    def close(self) -> None:
        """Wake nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for slot in self._slots:
            slot.clear()
        self._parked = 0

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.turn_seconds / _SLOTS, self._turn)

    def _turn(self) -> None:
        """One slot is due; turn on only while somebody is parked."""
        due = self._slots.popleft()
        self._slots.append([])
        self._parked -= len(due)
        self._timer = None
        if self._parked:
            self._arm()
        for sleeper in due:
            sleeper.wake()
