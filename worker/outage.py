"""One endpoint as its worker knows it: free slots, breaker, probes, and blame.

Whether a failed attempt is the prompt's fault cannot be read from the failure
alone: a reset connection may be a poisonous prompt or a server that restarts.
So after such a failure the endpoint is asked, with one cheap request.  If it
does not answer either, it is an outage, and nobody's attempt is used up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from worker.breaker import Breaker
from worker.clock import Clock
from worker.committer import Log
from worker.errors import SpoolError
from worker.pipeline import Outcome, Stream
from worker.records import Endpoint
from worker.wire.events import Dialect

ALIVE_SECONDS = 0.5  # for so long one answer to "is it alive?" serves every run that asks


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
        revive: Callable[[Endpoint], Awaitable[Endpoint]] | None = None,
    ) -> None:
        """revive: brings back an endpoint that this worker itself runs, perhaps elsewhere."""
        self.endpoint = endpoint
        self.dialect = dialect
        self.breaker = Breaker()
        self._stream = stream
        self._clock = clock
        self._log = log
        self._revive = revive
        self._probing = False
        self._asked_at = -ALIVE_SECONDS
        self._was_alive = True

    def slots(self, carried: int) -> int:
        """How many prompts may be claimed while `carried` runs are under way."""
        free = max(0, self.endpoint.concurrency - carried)
        return self.breaker.slots(free, carried, at=self._clock.monotonic())

    def learn(self, outcome: Outcome) -> None:
        """Tell the breaker how a run went."""
        if outcome.answered:
            if self.breaker.answered():
                self._log("breaker_closed", endpoint=self.endpoint.name)
        elif outcome.error and self.breaker.failed(outcome.error, at=self._clock.monotonic()):
            self._log("breaker_opened", endpoint=self.endpoint.name, error=outcome.error.message)

    def probe_due(self) -> bool:
        """Whether the breaker wants the endpoint asked now."""
        return not self._probing and self.breaker.probe_due(at=self._clock.monotonic())

    async def probe(self, wake: Callable[[], None]) -> None:
        """Ask whether the endpoint is back; `wake` the claims if it is."""
        self._probing = True
        try:
            alive = await self._answers()
            self.breaker.probed(alive=alive, at=self._clock.monotonic())
            if alive:
                wake()
        finally:
            self._probing = False

    async def alive(self) -> bool:
        """Whether the endpoint answers at all; asked after a failure, to place the blame."""
        if self._clock.monotonic() - self._asked_at >= ALIVE_SECONDS:
            self._was_alive = await self._answers()
            self._asked_at = self._clock.monotonic()
        return self._was_alive

    async def _answers(self) -> bool:
        try:
            if self._revive and self.endpoint.embedded:
                self.endpoint = await self._revive(self.endpoint)
            await self._stream.probe(self.endpoint, self.dialect)
        except SpoolError as error:
            self._log("breaker_probe_failed", endpoint=self.endpoint.name, error=error.message)
            return False
        return True
