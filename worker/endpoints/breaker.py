"""One endpoint's circuit breaker: stops claims while an endpoint answers nobody.

Closed: claims go out.  It opens when a canary (a request for one token) is refused or not
answered, or after `FAILURES_TO_OPEN` failures in a row without a first frame.  While it is open
only canaries go out, at growing distances; one that is answered closes it.  Where there is no
canary that counts, it is half open instead: one prompt at a time goes out, and the first frame of
an answer closes it.  A server that says how long to wait (`Retry-After`) is given that long, in
every state.

After that the ramp: not everybody at once, but with each answer one more.  A server that turns
requests away because it has no room is asked for fewer at a time.  Told the time, knows no clock.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from math import inf

from worker.errors import Refused, SpoolError
from worker.run.attribution import PAUSE_SECONDS_MAX

FAILURES_TO_OPEN = 5
CANARY_SECONDS_FIRST = 1.0
CANARY_SECONDS_MAX = 30.0
REFUSED_SECONDS_MAX = 300.0  # between two canaries: it takes a person
NEVER_WORKED_CANARIES = 5  # refused in a row, within half a minute, by a server that never answered
_GROWTH = 0.1  # streams more per answer, once it is known where the server had no room


class BreakerState(StrEnum):
    """Whether prompts go out to an endpoint."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


class Ramp:
    """How many streams an endpoint is asked for at a time, as far as it has shown to take them."""

    def __init__(self) -> None:
        self._most = inf
        self._knee = inf  # here it had no room the last time
        self._narrowed_at = -inf

    @property
    def most(self) -> int | None:
        """Streams at a time; None: as many as are configured."""
        return None if self._most == inf else max(1, int(self._most))

    @property
    def narrowed(self) -> bool:
        """Whether it once had no room for as many as were sent."""
        return self._knee != inf

    def slots(self, free: int, under_way: int) -> int:
        """How many of `free` slots may be filled beside those under way."""
        return free if self.most is None else max(0, min(free, self.most - under_way))

    def begin(self, under_way: int) -> None:
        """The endpoint answers again: twice as many with each round of answers."""
        self._most = float(under_way + 1)

    def grows(self, concurrency: int) -> bool:
        """Whether an answer makes room for more: then nobody waits for the next poll."""
        return self._most < concurrency

    def answered(self) -> None:
        """A first frame came: so there is room for this one, and for one beside it."""
        self._most = min(self._most + 2, max(self._knee, self._most + _GROWTH))

    def narrow(self, *, streaming: int, under_way: int, sent_at: float, at: float) -> bool:
        """A request found no room; True if fewer are asked for from now on.

        Those that were sent before it narrowed the last time say nothing new.
        """
        if sent_at < self._narrowed_at:
            return False
        before, self._narrowed_at = self.most, at
        self._most = self._knee = float(max(1, streaming, under_way // 2))
        return self.most != before


class Breaker:
    """One endpoint's breaker."""

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self.opened_at: float | None = None
        self.last_error: SpoolError | None = None
        self.has_answered = False  # ever
        self.refuses = False  # whether the server itself says so: others may learn it from us
        self.is_hearsay = False  # others were told so, and we have not asked yet
        self.ramp = Ramp()
        self.rounds = 0  # of failures since the last answer; those of one moment are one
        self._round_at = -inf
        self._failures = 0
        self._paused_until = 0.0
        self._canary_seconds = CANARY_SECONDS_FIRST
        self._canary_at = 0.0
        self._in_vain = 0  # canaries that were refused since it opened
        self._older: frozenset[int] | None = None  # runs that were under way before half open

    def slots(self, free: int, carried: Collection[int], *, at: float) -> int:
        """How many of `free` slots may be filled now, while the runs `carried` are under way."""
        if at < self._paused_until or self.state is BreakerState.OPEN:
            return 0
        if self.state is BreakerState.HALF_OPEN:
            if self._older is None:
                self._older = frozenset(carried)
            return min(free, 1) if self._older.issuperset(carried) else 0
        return self.ramp.slots(free, len(carried))

    @property
    def waits_until(self) -> float:
        """When claims may go on after the server asked for patience (monotonic seconds)."""
        return self._paused_until

    @property
    def never_worked(self) -> bool:
        """Whether the server has refused everything since it is known: a person has to look."""
        if self.state is BreakerState.CLOSED or not self.refuses:
            return False
        if self.has_answered or self.is_hearsay:
            return False
        return isinstance(self.last_error, Refused) or self._in_vain >= NEVER_WORKED_CANARIES

    def answered(self, *, under_way: int = 0) -> bool:
        """The endpoint answered a run or a canary just now; True if that closed the breaker."""
        was_closed = self.state is BreakerState.CLOSED
        if was_closed:
            self.ramp.answered()
        else:
            self.ramp.begin(under_way)
        self.state = BreakerState.CLOSED
        self.opened_at = self.last_error = None
        self.has_answered = True
        self.refuses = False
        self.rounds = self._failures = self._in_vain = 0
        self._round_at = -inf
        self._canary_seconds = CANARY_SECONDS_FIRST
        return not was_closed

    def failed(
        self,
        error: SpoolError,
        *,
        at: float,
        sent_at: float = inf,
        waiting: int = 0,
        answers_others: bool = False,
    ) -> bool:
        """A run ended without any frame, not by its prompt's fault; True if that opened it.

        answers_others: others are being answered now, so that it has no room, but is not down.

        waiting: runs that still wait for their first frame.  Of hundreds that start together a few
        may fail before the first is answered; it is an outage when as many have failed as wait.
        """
        if sent_at > self._round_at:
            self.rounds, self._round_at = self.rounds + 1, at
        self._failures += 1
        if error.retry_after_seconds is not None:
            pause_seconds = min(error.retry_after_seconds, PAUSE_SECONDS_MAX)
            self._paused_until = max(self._paused_until, at + pause_seconds)
        few = self._failures < max(FAILURES_TO_OPEN, waiting)
        if self.state is BreakerState.CLOSED and (few or answers_others):
            return False
        return self.open(error, at=at)

    def open(self, error: SpoolError, *, at: float, refuses: bool = False) -> bool:
        """Nobody is answered, or everybody is refused; True if that is news."""
        is_news = self.state is not BreakerState.OPEN
        self.is_hearsay = False
        if self.state is BreakerState.HALF_OPEN:  # the one that went first met the same
            self._canary_seconds = min(self._canary_seconds * 2, REFUSED_SECONDS_MAX)
        self.state = BreakerState.OPEN
        self.last_error, self.refuses = error, refuses or self.refuses
        if self.opened_at is None:
            self.opened_at = at
        if is_news:
            self._canary_at = max(at + self._canary_seconds, self._paused_until)
        return is_news

    def half_open(self, *, at: float, error: SpoolError | None = None) -> None:
        """One prompt at a time: there is no canary, or everybody was cut and one goes first."""
        self.state = BreakerState.HALF_OPEN
        self.last_error = error or self.last_error
        if self.opened_at is None:
            self.opened_at = at
        self._older = None

    @property
    def asks_at(self) -> float | None:
        """When the next canary is due (monotonic seconds); None unless it is open."""
        return self._canary_at if self.state is BreakerState.OPEN else None

    def canary_due(self, *, at: float) -> bool:
        """Whether it is time for the next canary."""
        return self.state is BreakerState.OPEN and at >= self._canary_at

    def ask_now(self, *, at: float) -> None:
        """There is news from elsewhere: the next canary is due at once."""
        self._canary_at = min(self._canary_at, at)

    def refused_again(self, *, at: float, least_seconds: float = 0.0) -> None:
        """A canary was sent in vain; the next one goes out later.

        least_seconds: canaries that cost tokens may not go out more often.
        """
        self._in_vain += 1
        self.is_hearsay = False
        for_a_person = isinstance(self.last_error, Refused)
        most_seconds = REFUSED_SECONDS_MAX if for_a_person else CANARY_SECONDS_MAX
        self._canary_seconds = min(self._canary_seconds * 2, most_seconds)
        self._canary_at = max(at + max(self._canary_seconds, least_seconds), self._paused_until)
