"""How fast a queue gets shorter, and how long the rest will take.

A watcher measures between its own looks.  Who looks only once has the last minute to go by, and is
told of an end only when more than that minute is known: a worker that started ten seconds ago has
not shown yet how fast it is.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.diagnosis.phrases import span
from worker.states import FINAL_PROMPT_STATES, PromptState

if TYPE_CHECKING:
    from worker.store.rows import QueueStatus

WINDOW_SECONDS = 60.0
_LEAST_SECONDS = 5.0  # between two looks that are compared
_SLOW = 1.0  # a second: below it a rate is told by the minute


@dataclass(slots=True)
class Throughput:
    """Looks at one queue, the newest a minute of them."""

    _looks: deque[tuple[float, int, int]] = field(default_factory=deque)

    def words(self, status: QueueStatus, now: float) -> str:
        """The sentence about it at this moment; nothing if nothing is left to do."""
        left = todo(status)
        if not left:
            return ""
        a_second, an_end = self._rate(status, left, now)
        rate = (
            f"{a_second:,.1f} a second" if a_second >= _SLOW else f"{a_second * 60:,.1f} a minute"
        )
        words = f"{left:,} to do"
        if a_second:
            words += f", {rate} completed"
        return words + (f", about {span(left / a_second)} left" if an_end and a_second else "")

    def _rate(self, status: QueueStatus, left: int, now: float) -> tuple[float, bool]:
        """Completed a second, and whether an end can be told from it."""
        done = sum(tally.counts.get(PromptState.COMPLETED, 0) for tally in status.tallies)
        self._looks.append((now, done, left))
        while now - self._looks[0][0] > WINDOW_SECONDS:
            self._looks.popleft()
        then, done_then, _ = self._looks[0]
        if now - then >= _LEAST_SECONDS:
            return max(0, done - done_then) / (now - then), True
        lately = status.completed_last_minute
        return lately / WINDOW_SECONDS, status.completed_last_hour > lately


def todo(status: QueueStatus) -> int:
    """Prompts that are not finished."""
    return sum(
        number
        for tally in status.tallies
        for state, number in tally.counts.items()
        if state not in FINAL_PROMPT_STATES
    )
