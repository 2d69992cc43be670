"""The canaries of one endpoint: when one is sent, how it is spelled, and when its refusal counts.

One at a time for each model; whoever asks meanwhile waits for the same answer.  A refusal counts
if this canary was answered before, or if it is what the run itself was refused with.  Else the
canary is spelled simpler; if that is refused in other words, too, it is of no use for this model.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from worker.clock import Clock
from worker.endpoints import canary
from worker.endpoints.canary import Kind, ProbingStream, Reply
from worker.errors import SpoolError
from worker.events import Event, Log
from worker.records import Endpoint
from worker.run.attribution import same_sentence
from worker.wire.events import Dialect

HOUR_SECONDS = 3600.0
FREE_AN_HOUR = 10  # so many may cost tokens before they are minutes apart
APART_SECONDS = 120.0

Revive = Callable[[Endpoint], Awaitable[tuple[Endpoint, bool]]]
OnAnswer = Callable[[str, Reply], None]


class Canaries:
    """The canaries of one endpoint.

    Attributes:
        endpoint: where it is now; one that this worker runs itself may have moved.
        total: canaries sent so far.
        answered: models of which a canary was ever answered.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        dialect: Dialect,
        stream: ProbingStream,
        *,
        clock: Clock,
        log: Log,
        revive: Revive | None = None,
    ) -> None:
        """revive: brings back an endpoint that this worker itself runs, perhaps elsewhere; and says
        whether it had died.
        """
        self.endpoint = endpoint
        self.total = 0
        self.answered: set[str] = set()
        self._dialect = dialect
        self._stream = stream
        self._clock = clock
        self._log = log
        self._revive = revive
        self._simple: set[str] = set()  # models for which it has to be spelled so
        self._useless: set[str] = set()
        self._costly: deque[float] = deque(maxlen=FREE_AN_HOUR)
        self._asking: dict[str, asyncio.Task[Reply]] = {}
        self._reviving: asyncio.Task[bool] | None = None

    @property
    def under_way(self) -> int:
        """Canaries that wait for their answer; each takes a slot."""
        return sum(not task.done() for task in self._asking.values())

    def is_useless(self, model: str) -> bool:
        """Whether its refusal says nothing, however it is spelled."""
        return model in self._useless

    def counts(self, reply: Reply, error: SpoolError | None, model: str) -> bool:
        """Whether this refusal is evidence against the endpoint."""
        return model in self.answered or says_the_same(reply.error, error)

    def least_seconds(self, *, at: float) -> float:
        """How long the next one has to wait, because of what the others have cost."""
        full = len(self._costly) == FREE_AN_HOUR and self._costly[0] > at - HOUR_SECONDS
        return max(0.0, self._costly[-1] + APART_SECONDS - at) if full else 0.0

    def ask(
        self,
        model: str,
        error: SpoolError | None,
        on_answer: OnAnswer,
        *,
        is_due: bool = False,
    ) -> asyncio.Task[Reply] | None:
        """The canary that is under way, or a new one; None if there is none that would count.

        error: the refusal in question.  is_due: the endpoint is waited for, so it is sent anyway.
        on_answer: told the model and the answer, also if nobody waits for it any more.
        """
        asking = self._asking.get(model)
        if asking is not None and not asking.done():
            return asking
        may_ask = model not in self._useless and not self.least_seconds(at=self._clock.monotonic())
        if not (may_ask or is_due):
            return None
        self._asking[model] = asyncio.ensure_future(self._ask(model, error, on_answer))
        return self._asking[model]

    async def _ask(self, model: str, error: SpoolError | None, on_answer: OnAnswer) -> Reply:
        await self.brought_back()
        simple = model in self._simple
        while True:
            reply = await self._send(model, simple=simple)
            if reply.kind is not Kind.REFUSED or self.counts(reply, error, model):
                break
            if simple:
                self._useless.add(model)
                self._log(Event.CANARY_USELESS, endpoint=self.endpoint.name, error=str(reply.error))
                break
            simple = True
        if reply.kind is Kind.ANSWERED and reply.is_generation:
            self.answered.add(model)
            self._useless.discard(model)
            if simple:
                self._simple.add(model)
            on_answer(model, reply)
        return reply

    async def _send(self, model: str, *, simple: bool) -> Reply:
        reply = await canary.send(
            self._stream, self.endpoint, self._dialect, model, self._clock, simple=simple
        )
        self.total += 1
        if reply.cost_tokens:
            self._costly.append(self._clock.monotonic())
        self._log(
            Event.CANARY_SENT,
            endpoint=self.endpoint.name,
            outcome=reply.kind.name.lower(),
            error=None if reply.error is None else reply.error.message,
        )
        return reply

    async def brought_back(self) -> bool:
        """Bring back an endpoint that this worker runs itself; True if it had died."""
        if self._revive is None or not self.endpoint.embedded:
            return False
        if self._reviving is None or self._reviving.done():
            self._reviving = asyncio.ensure_future(self._bring_back(self._revive))
        return await asyncio.shield(self._reviving)

    async def _bring_back(self, revive: Revive) -> bool:
        try:
            self.endpoint, was_out = await revive(self.endpoint)
        except Exception as fault:  # noqa: BLE001 - whatever prevents it, it is not there
            self._log(Event.REVIVAL_FAILED, endpoint=self.endpoint.name, error=str(fault))
            return True
        return was_out

    async def close(self) -> None:
        """Ask no further."""
        tasks = [*self._asking.values(), *([self._reviving] if self._reviving else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def says_the_same(one: SpoolError | None, other: SpoolError | None) -> bool:
    """Whether two refusals are one: status and sentence."""
    if one is None or other is None or one.http_status != other.http_status:
        return False
    return same_sentence(one.message, other.message)
