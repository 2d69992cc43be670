"""One endpoint's circuit breaker: stops claims while an endpoint is down.

Closed: claims go out.  `FAILURES_TO_OPEN` failures in a row without one answer
in between open it: no claims; one cheap probe at a time, with growing pauses,
finds out whether the endpoint is back.  A probe that is answered makes it half
open: one prompt at a time goes out, the first frame of an answer closes it, the
next failure opens it again.  A server that says how long to wait (`Retry-After`) is
given that long, in every state; one that says so to everybody is asked by one prompt
at a time, as if a probe had been answered.

A key that expires at night, an account without credit, a model that was removed: then
every prompt is refused, and no prompt is to blame.  One that is refused has failed;
but after `REFUSALS_BELIEVED` in a row the endpoint is taken at its word, the breaker opens,
and the others are spared until an answer comes.  Told the time, knows no clock.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from worker.errors import Busy, ErrorCode, ServerFailed, SpoolError, StreamError, Truncated

FAILURES_TO_OPEN = 5
PROBE_SECONDS_FIRST = 1.0
PROBE_SECONDS_MAX = 30.0
PAUSE_SECONDS_MAX = 3600.0  # of a server's own wish, for an endpoint here, for a prompt in retry
REFUSALS_BELIEVED = 20  # fewer are for their owner to look at: they have failed, and say why
REFUSED_SECONDS_MAX = 300.0  # between two tries: it takes a person, and each try is a prompt's

_DOOR_CODES = frozenset({ErrorCode.UNAUTHORIZED, ErrorCode.QUOTA_EXHAUSTED, ErrorCode.NOT_FOUND})
_REDIRECTS = range(300, 400)


class BreakerState(StrEnum):
    """Whether prompts go out to an endpoint."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


def at_the_door(error: SpoolError) -> bool:
    """Whether a server says this to everybody alike, before it looks at a prompt."""
    return error.code in _DOOR_CODES or error.http_status in _REDIRECTS


class Breaker:
    """Counts what happens to one endpoint's runs and decides how many may start."""

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self.opened_at: float | None = None
        self.last_error: SpoolError | None = None
        self.has_answered = False  # ever
        self._failures = 0
        self._refusals = 0
        self._paused_until = 0.0
        self._probe_seconds = PROBE_SECONDS_FIRST
        self._probe_at = 0.0
        self._older: frozenset[int] | None = None  # runs that were under way before half open

    def slots(self, free: int, carried: Collection[int], *, at: float) -> int:
        """How many of `free` slots may be filled now, while the runs `carried` are under way."""
        if at < self._paused_until or self.state is BreakerState.OPEN:
            return 0
        if self.state is BreakerState.HALF_OPEN:
            if self._older is None:
                self._older = frozenset(carried)
            return min(free, 1) if self._older.issuperset(carried) else 0
        return free

    @property
    def waits_until(self) -> float:
        """When claims may go on after the server asked for patience (monotonic seconds)."""
        return self._paused_until

    def answered(self) -> bool:
        """A run received a frame just now, or completed; True if that closed the breaker."""
        was_closed = self.state is BreakerState.CLOSED
        self.state = BreakerState.CLOSED
        self.opened_at = None
        self.last_error = None
        self.has_answered = True
        self._failures = 0
        self._refusals = 0
        self._probe_seconds = PROBE_SECONDS_FIRST
        return not was_closed

    def failed(self, error: SpoolError, *, at: float, waiting: int = 0) -> bool:
        """A run ended without any frame; True if that opened the breaker, at least half.

        waiting: runs that still wait for their first frame.  Of hundreds that start together a few
        may fail before the first is answered; it is an outage when as many have failed as wait.
        """
        if not isinstance(error, StreamError | Busy | ServerFailed | Truncated):
            return False  # whatever was wrong, there was a server that said so
        self._failures += 1
        is_outage = self._failures >= max(FAILURES_TO_OPEN, waiting)
        if error.retry_after_seconds is not None:
            pause_seconds = min(error.retry_after_seconds, PAUSE_SECONDS_MAX)
            self._paused_until = max(self._paused_until, at + pause_seconds)
            return is_outage and self._half_open(error, at)
        self.last_error = error
        if self.state is BreakerState.CLOSED and not is_outage:
            return False
        return self._open(at)

    def _half_open(self, error: SpoolError, at: float) -> bool:
        """It lives, and turns everybody away: the next wait is one prompt's, not a hundred's."""
        if self.state is not BreakerState.CLOSED:
            return False
        self.state = BreakerState.HALF_OPEN
        self.last_error = error
        self.opened_at = at
        self._older = None
        return True

    @property
    def refuses(self) -> bool:
        """Whether the endpoint turns everybody away."""
        return self._refusals > REFUSALS_BELIEVED

    def refused(self, error: SpoolError, *, at: float) -> bool:
        """A run was refused before any frame; True if that opened the breaker."""
        if not at_the_door(error):
            self._refusals = 0  # this one came in, and was looked at
            return False
        self._refusals += 1
        if not self.refuses:
            return False
        self.last_error = error
        return self._open(at)

    def _open(self, at: float) -> bool:
        if self.state is BreakerState.OPEN:
            return False
        self.state = BreakerState.OPEN
        if self.opened_at is None:
            self.opened_at = at
        self._probe_at = at + self._probe_seconds
        return True

    @property
    def asks_at(self) -> float | None:
        """When the endpoint is asked again (monotonic seconds); None unless it is open."""
        return self._probe_at if self.state is BreakerState.OPEN else None

    def probe_due(self, *, at: float) -> bool:
        """Whether it is time to ask the endpoint again."""
        return self.state is BreakerState.OPEN and at >= self._probe_at

    def probed(self, *, alive: bool, at: float) -> None:
        """What the probe found."""
        most_seconds = REFUSED_SECONDS_MAX if self.refuses else PROBE_SECONDS_MAX
        self._probe_seconds = min(self._probe_seconds * 2, most_seconds)
        self._probe_at = at + self._probe_seconds
        if alive and self.state is BreakerState.OPEN:
            self.state = BreakerState.HALF_OPEN
            self._older = None
