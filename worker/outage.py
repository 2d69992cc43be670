"""One endpoint as its worker knows it: free slots, breaker, probes, and blame.

Whether a failed attempt is the prompt's fault cannot be read from the failure
alone: a reset connection may be a poisonous prompt or a server that restarts.
So after such a failure the endpoint is asked, with one cheap request.  If it
does not answer either, it is an outage, and nobody's attempt is used up.  A server
may be back before anybody asks: whoever was under way when it was last found out
belongs to the same outage, however much later the failure is noticed.  One question
at a time: whoever wants to know meanwhile waits for the same answer, or until a run
that began after the failure hears its first frame, which is an answer as well.

A server that is back within a moment, one of several behind a balancer, a balancer that
lets go of everybody: there the question is answered, and yet most streams broke off
together.  That is nobody's fault either (docs/decisions/0013).
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from math import inf
from typing import Protocol

from worker.breaker import Breaker, at_the_door
from worker.carriage import YOUNG_SECONDS, Outcome, Stream
from worker.clock import Clock
from worker.committer import Log
from worker.errors import ErrorCode, Refused, SpoolError, Unreachable
from worker.records import Endpoint, Run
from worker.wire.events import Dialect

MOMENTS_TOLD = 3  # open since, asked again at, paused until
OUT_SECONDS = 0.5  # for so long "nobody answers" is believed; a sign of life is past at once
TOGETHER_SECONDS = 0.5  # what breaks off within this time may have one reason; reads gather 0.25 s
# Streams of one age may have been cut for it, by a proxy or by a deadline of ours: then each is
# tried as often as any other.  Not while they are young, if their deaths are counted, and so come
# to an end as well.
AGES_APART_SECONDS = 1.0
KEPT_SECONDS = 60.0  # longer than a question takes: whoever waited for its answer looks back


class Breaks:
    """The streams of an endpoint that broke off lately: each for itself, or many together?"""

    def __init__(self) -> None:
        self._broke_at: list[float] = []  # in order
        self._ages: list[float] = []  # how long after they began
        self._seen: tuple[tuple[float, float, int], tuple[float, float]] | None = None

    def note(self, *, began_at: float, at: float) -> None:
        """A stream broke off."""
        old = bisect_left(self._broke_at, at - KEPT_SECONDS)
        if 2 * old > len(self._ages):
            del self._broke_at[:old], self._ages[:old]
        self._broke_at.append(at)
        self._ages.append(at - began_at)

    def most_of(self, under_way: int, *, at: float, counted: bool) -> bool:
        """Whether more than half of so many streams broke off around `at`, not for their age.

        counted: whether the one who asks was under way to a death that is counted.
        """
        first = bisect_left(self._broke_at, at - TOGETHER_SECONDS)
        end = bisect_right(self._broke_at, at + TOGETHER_SECONDS)
        if 2 * (end - first) <= under_way:
            return False
        youngest, oldest = self._ages_between(first, end)
        return (counted and oldest <= YOUNG_SECONDS) or oldest - youngest > AGES_APART_SECONDS

    def _ages_between(self, first: int, end: int) -> tuple[float, float]:
        """The least and the greatest age; the last answer is kept: thousands ask for the same."""
        key = (self._broke_at[first], self._broke_at[end - 1], end - first)
        if self._seen is None or self._seen[0] != key:
            ages = self._ages[first:end]
            self._seen = (key, (min(ages), max(ages)))
        return self._seen[1]


class ProbingStream(Stream, Protocol):
    """A stream that can also ask whether anybody is there."""

    async def probe(self, endpoint: Endpoint, dialect: Dialect) -> None:
        """One cheap request; raises the error that says why the endpoint is not alive."""
        ...


class EndpointWatch:
    """One endpoint, its breaker, and the questions asked of it."""

    def __init__(
        self,
        endpoint: Endpoint,
        dialect: Dialect,
        stream: ProbingStream,
        *,
        clock: Clock,
        log: Log,
        revive: Callable[[Endpoint], Awaitable[tuple[Endpoint, bool]]] | None = None,
    ) -> None:
        """revive: brings back an endpoint that this worker itself runs, perhaps elsewhere; and says
        whether it had died.
        """
        self.endpoint = endpoint
        self.dialect = dialect
        self.breaker = Breaker()
        self._stream = stream
        self._clock = clock
        self._log = log
        self._revive = revive
        self._asking: asyncio.Task[bool] | None = None
        self._heard_at = -inf  # the latest first frame of any run
        self._alive_at = -inf  # the latest run that was answered began then
        self._doubts: dict[asyncio.Future[None], float] = {}  # who asks, since when
        self._out_at = -inf  # when it was last known to be out
        self._out_until = -inf
        self._told_open = False
        self._walls: dict[float, str] = {}  # the moments that are told, as wall time
        self._breaks = Breaks()

    def slots(self, carried: Collection[int]) -> int:
        """How many prompts may be claimed while the runs `carried` are under way."""
        free = max(0, self.endpoint.concurrency - len(carried))
        return self.breaker.slots(free, carried, at=self._clock.monotonic())

    def answered(self, *, began_at: float) -> bool:
        """A run that began then got its first frame; True if claims may go on because of it."""
        self._heard_at = self._clock.monotonic()
        self._alive_at = max(self._alive_at, began_at)
        for doubt, failed_at in self._doubts.items():
            if failed_at < self._alive_at and not doubt.done():
                doubt.set_result(None)
        closed = self.breaker.answered()
        if closed:
            self._told_open = False
            self._log("breaker_closed", endpoint=self.endpoint.name)
        return closed

    def learn(
        self, outcome: Outcome, *, began_at: float, failed_at: float | None = None, waiting: int = 0
    ) -> None:
        """Tell the breaker how a run ended; its first frame, if it had one, was told before.

        failed_at: when it failed, if that is known; it may have asked for a while who is to blame.
        """
        error = outcome.error
        if isinstance(error, Unreachable):
            self._out_at = self._clock.monotonic()
        if error is None:
            if not outcome.answered:
                self.answered(began_at=began_at)
            return
        is_past = failed_at is not None and failed_at < self._heard_at  # no longer in a row
        news = (not outcome.answered and not is_past) or error.retry_after_seconds is not None
        if news and self.breaker.failed(error, at=self._clock.monotonic(), waiting=waiting):
            self._tell_open(error)

    def turned_away(self, run: Run, error: SpoolError) -> bool:
        """A run was refused; True if everybody is, so that its prompt is not to blame."""
        if error.code is ErrorCode.NOT_FOUND and run.model != self.endpoint.model:
            return False  # the prompt has chosen its model itself
        if self.breaker.refused(error, at=self._clock.monotonic()):
            self._tell_open(error)
        return self.breaker.refuses and at_the_door(error)

    def _tell_open(self, error: SpoolError) -> None:
        """Once, however often a prompt finds out that it is still so."""
        if not self._told_open:
            self._told_open = True
            self._log("breaker_opened", endpoint=self.endpoint.name, error=error.message)

    @property
    def is_hopeless(self) -> bool:
        """Whether it has turned everybody away since we know it: a person has to look at it."""
        return self.breaker.refuses and not self.breaker.has_answered

    @property
    def hopelessness(self) -> Refused:
        """What to tell the person."""
        return Refused(
            f"endpoint {self.endpoint.name!r} turns every prompt away ({self.breaker.last_error});"
            " the others stay queued: correct its key, base_url or model (`spool doctor`), then run"
            " again"
        )

    def standing(self) -> dict[str, str]:
        """How the endpoint stands, for the worker's row: `state`, and why and since when."""
        said = {"state": str(self.breaker.state)}
        if self.breaker.opened_at is not None:
            said["since"] = self._wall(self.breaker.opened_at)
        if self.breaker.asks_at is not None:
            said["asks_at"] = self._wall(self.breaker.asks_at)
        if self.breaker.last_error is not None:
            said["error"] = self.breaker.last_error.message
        if self.breaker.refuses and self.breaker.last_error is not None:
            said["refuses"] = str(self.breaker.last_error.code)
        if self.breaker.waits_until > self._clock.monotonic():
            said["paused_until"] = self._wall(self.breaker.waits_until)
        return said

    def _wall(self, at: float) -> str:
        """A moment of the monotonic clock as UTC, the same whenever it is asked for."""
        moment = self._walls.pop(at, None)
        if moment is None:
            distance = timedelta(seconds=at - self._clock.monotonic())
            moment = (self._clock.now() + distance).isoformat(timespec="seconds")
        self._walls[at] = moment  # the last one asked for, and so the last to be forgotten
        self._walls = dict(list(self._walls.items())[-MOMENTS_TOLD:])
        return moment

    def probe_due(self) -> bool:
        """Whether the breaker wants the endpoint asked now."""
        return not self._is_asking and self.breaker.probe_due(at=self._clock.monotonic())

    async def probe(self, wake: Callable[[], None]) -> None:
        """Ask whether the endpoint is back; `wake` the claims if it is."""
        alive = await self._ask()
        self.breaker.probed(alive=alive, at=self._clock.monotonic())
        if alive:
            wake()

    async def alive(
        self,
        *,
        since: float,
        began_at: float = -inf,
        under_way: int = 1,
        counted: bool = False,
    ) -> bool:
        """Whether it answers, and did all the time `since`; asked to place the blame.

        For a run that began then, one of so many that were under way when it failed: False, too,
        if most of them did.  counted: whether that would count as a death of the endpoint.
        """
        failed_at = self._clock.monotonic()
        self._breaks.note(began_at=began_at, at=failed_at)
        if not await self._answers_since(since, failed_at):
            return False
        if under_way == 1:
            return True
        await self._clock.sleep(failed_at + TOGETHER_SECONDS - self._clock.monotonic())
        return not self._breaks.most_of(under_way, at=failed_at, counted=counted)

    async def _answers_since(self, since: float, failed_at: float) -> bool:
        if since <= self._out_at or failed_at < self._out_until:
            return False
        doubt = asyncio.get_running_loop().create_future()
        self._doubts[doubt] = failed_at
        asking = asyncio.ensure_future(self._ask())
        try:
            await asyncio.wait({doubt, asking}, return_when=asyncio.FIRST_COMPLETED)
            return (doubt.done() or asking.result()) and since > self._out_at
        finally:
            del self._doubts[doubt]
            asking.cancel()

    async def close(self) -> None:
        """Ask no further."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    @property
    def _is_asking(self) -> bool:
        return self._asking is not None and not self._asking.done()

    async def _ask(self) -> bool:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._answers())
        # Shielded: who stops waiting must not take the answer from the others.
        return await asyncio.shield(self._asking)

    async def _answers(self) -> bool:
        try:
            if self._revive and self.endpoint.embedded:
                self.endpoint, was_out = await self._revive(self.endpoint)
                if was_out:
                    self._out_at = self._clock.monotonic()
            await self._stream.probe(self.endpoint, self.dialect)
        except Exception as fault:  # noqa: BLE001 - whatever prevents an answer, there is none
            self._log("breaker_probe_failed", endpoint=self.endpoint.name, error=str(fault))
            self._out_at = self._clock.monotonic()
            self._out_until = self._out_at + OUT_SECONDS
            return False
        self._out_until = -inf
        return True
