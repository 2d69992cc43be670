"""One endpoint as its worker knows it: who is under way, what it answers, and what that proves.

`finding` is asked once for each run that ended without its done frame, and says what is known of
the endpoint around that moment; `attribution.attribute` draws the conclusion.  A state is settled
by a canary, or by any run that was sent later and is answered.  An event is settled by the runs
beside it.  Who gets no verdict within `VERDICT_SECONDS` ends without one, and uses up no attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

from worker.clock import Clock
from worker.endpoints import canary
from worker.endpoints.brake import Brake, Room
from worker.endpoints.breaker import Breaker, BreakerState
from worker.endpoints.canaries import Canaries, Revive
from worker.endpoints.canary import Kind, ProbingStream, Reply
from worker.endpoints.cuts import Cut, Cuts
from worker.endpoints.published import SharedState
from worker.endpoints.refusals import CANARY, Refusals
from worker.endpoints.runs import LOOK_SECONDS, VERDICT_SECONDS, Runs
from worker.errors import Busy, ErrorCode, Refused, ServerFailed, SpoolError, Unfinished
from worker.events import Event, Log
from worker.records import Endpoint
from worker.run.attribution import Evidence, Failure, Finding, Nature
from worker.run.context import Outcome, RunHandle
from worker.wire.events import Dialect

_AT_ONCE_SECONDS = 1.0  # a 408 so early is about the connection that was kept, not about room
_REQUEST_TIMEOUT = 408


class EndpointMonitor:
    """One endpoint, its breaker, its canaries, and the runs under way at it."""

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
        """revive: brings back an endpoint that this worker itself runs (`Canaries`)."""
        self.dialect = dialect
        self.breaker = Breaker()
        self.brake = Brake()
        self.cuts = Cuts()
        self.said = SharedState(endpoint)
        self.canaries = Canaries(
            endpoint,
            dialect,
            stream,
            clock=clock,
            log=log,
            revive=revive,
        )
        self._clock = clock
        self._log = log
        self._runs = Runs(clock)
        # By model: when the latest that was answered was sent.
        self._alive_at: dict[str, float] = {}
        self._done_at = -inf  # when the latest run that ended on its done frame was sent
        self._answered_at = -inf
        self._down_at = -inf
        self._refusals = Refusals()
        self._doubts: set[asyncio.Future[None]] = set()
        self._told_open = self._told_narrow = False

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint, where it is now."""
        return self.canaries.endpoint

    # --- runs come and go

    def room(self) -> Room:
        """How much may be claimed now; a canary takes the place of a prompt."""
        at, under_way = self._clock.monotonic(), self._runs.under_way
        carried = [control.run.id for control in under_way]
        free = max(0, self.endpoint.concurrency - len(carried) - self.canaries.under_way)
        limit = self.breaker.slots(free, carried, at=at)
        if not limit:
            return Room(0)
        suspects = self.cuts.room_for_suspects(under_way, self.endpoint.concurrency, at=at)
        held = {control.run.batch_id for control in under_way}
        without, one = self.brake.claimable(held, at=at)
        return Room(1 if one else limit, min(suspects, limit), without)

    def began(self, control: RunHandle) -> None:
        """A run is sent."""
        self._runs.began(control)

    def answered(self, control: RunHandle) -> bool:
        """A run got its first frame; True if claims may go on because of it."""
        self._runs.waits_no_more(control)
        self._refusals.answered(control.run.prompt_id)
        if self.brake.answered(control.run.batch_id):
            self._log(Event.BATCH_RELEASED, endpoint=self.endpoint.name, batch=control.run.batch_id)
        return self._is_alive(control.run.model, control.sent_at)

    def ended(self, control: RunHandle, outcome: Outcome | None) -> None:
        """A run has ended, and its end is stored; None: it was given up."""
        self._runs.ended(control)
        if outcome is None or outcome.error is not None:
            return
        self._done_at = max(self._done_at, control.sent_at)
        if not outcome.answered:
            self.answered(control)
        self.cuts.completed(control)

    def _is_alive(self, model: str, sent_at: float, *, by_canary: bool = False) -> bool:
        self._answered_at = self._clock.monotonic()
        self._alive_at[model] = max(self._alive_at.get(model, -inf), sent_at)
        closed = self.breaker.answered(under_way=len(self._runs.under_way))
        self.said.answers(model, by_canary=by_canary)
        if closed and self._told_open:
            self._told_open = False
            self._log(Event.BREAKER_CLOSED, endpoint=self.endpoint.name)
        for doubt in self._doubts:
            if not doubt.done():
                doubt.set_result(None)
        return closed or self.breaker.ramp.grows(self.endpoint.concurrency)

    # --- whose fault?

    async def finding(self, control: RunHandle, failure: Failure) -> Finding:
        """What is known of the endpoint around the failure of a run."""
        self._runs.waits_no_more(control)
        match failure.nature:
            case Nature.PATIENCE:
                return self._asked_for_patience(control, failure.error)
            case Nature.UNREACHABLE:
                await self.canaries.brought_back()
                self._failed(control, failure.error)
                return Finding(Evidence.DOWN, failures=self._rounds)
            case Nature.EVENT:
                return await self._after_event(control, failure.error)
            case Nature.STATE:
                return await self._after_state(control, failure)
        return Finding(Evidence.NONE)

    @property
    def _rounds(self) -> int:  # who waits for an open breaker need not wait for himself as well
        return self.breaker.rounds if self.breaker.state is BreakerState.CLOSED else 1

    def _failed_at(self, control: RunHandle) -> float:
        return self._clock.monotonic() if control.failed_at is None else control.failed_at

    def _failed(self, control: RunHandle, error: SpoolError) -> None:
        if control.begun_at is not None and error.retry_after_seconds is None:
            return
        opened = self.breaker.failed(
            error,
            at=self._clock.monotonic(),
            sent_at=control.sent_at,
            waiting=self._runs.waiting,
            answers_others=isinstance(error, Busy) and self._runs.any_streams(),
        )
        if opened:
            self._tell_open(error)

    def open(self, error: SpoolError, *, refuses: bool) -> None:
        """Nobody is answered, or everybody is refused."""
        at = self._clock.monotonic()
        self._down_at = at
        if self.breaker.open(error, at=at, refuses=refuses):
            self._tell_open(error)
        if refuses:
            self.said.refuses(error, since=self._clock.now())

    def _tell_open(self, error: SpoolError) -> None:
        """Once, however often it is found out that it is still so."""
        if not self._told_open:
            self._told_open = True
            self._log(Event.BREAKER_OPENED, endpoint=self.endpoint.name, error=error.message)

    def _asked_for_patience(self, control: RunHandle, error: SpoolError) -> Finding:
        self._failed(control, error)
        waited = self._clock.monotonic() - control.sent_at
        is_stale = error.http_status == _REQUEST_TIMEOUT and waited < _AT_ONCE_SECONDS
        if self._runs.any_streams() and not is_stale:  # how much room there is, streams show
            self._narrow(control)
        return Finding(Evidence.CROWDED, failures=self._rounds)

    def _narrow(self, control: RunHandle) -> None:
        """It had no room for this one: fewer at a time."""
        runs = self._runs.alive()
        narrower = self.breaker.ramp.narrow(
            streaming=sum(not each.is_waiting for each in runs),
            under_way=len(runs),
            sent_at=control.sent_at,
            at=self._clock.monotonic(),
        )
        if narrower and not self._told_narrow:
            self._told_narrow = True
            most = self.breaker.ramp.most
            self._log(Event.ENDPOINT_CROWDED, endpoint=self.endpoint.name, streams=most)

    # --- events: a cut, a silence, a crash

    async def _after_event(self, control: RunHandle, error: SpoolError) -> Finding:
        at = self._failed_at(control)
        if error.code is ErrorCode.FIRST_FRAME_TIMEOUT:
            return self._after_first_silence(control, error, at)
        self._failed(control, error)
        cut = self.cuts.note(control, at=at)
        if await self.canaries.brought_back():
            evidence = Evidence.DOWN
        else:
            evidence = await self._runs.verdict(control, cut, error, at)
        return self._found(control, cut, evidence, at)

    def _found(self, control: RunHandle, cut: Cut, evidence: Evidence, at: float) -> Finding:
        had_answered = self._answered_at > self._down_at
        if evidence is not Evidence.WELL:
            self.cuts.halve(cut)
            if not self._runs.alive():
                self._one_goes_first(at)
        return Finding(
            evidence,
            failures=self._rounds,
            had_answered=had_answered,
            cut_id=cut.cut_id,
            shares_age=self.cuts.shared_age(at - control.sent_at) is not None,
            outlived=self.cuts.outlived(control),
            alone=self.cuts.is_alone(control, cut),
        )

    def _one_goes_first(self, at: float) -> None:  # everybody was cut: it is the canary
        if self.breaker.state is BreakerState.CLOSED and self._answered_at <= at:
            self.breaker.half_open(at=at)

    def _after_first_silence(self, control: RunHandle, error: SpoolError, at: float) -> Finding:
        """It never began: by its own fault, or because it stood in line, or nobody knows."""
        if self._alive_at.get(control.run.model, -inf) > control.sent_at:
            return Finding(Evidence.WELL)
        if any(not each.is_waiting for each in self._runs.beside(control, at)):
            self._narrow(control)
            return Finding(Evidence.CROWDED, failures=self._rounds)
        self._failed(control, error)
        cut = self.cuts.note(control, at=at)
        return Finding(Evidence.NONE, failures=self._rounds, cut_id=cut.cut_id)

    # --- states: a refusal, a page, nonsense, a 5xx

    async def _after_state(self, control: RunHandle, failure: Failure) -> Finding:
        at, error = self._failed_at(control), failure.error
        had_answered = self._answered_at > self._down_at
        if failure.sent:
            evidence = await self._settled(control, error, at)
        else:
            evidence = self._writable(control.run.model, error)
        if control.begun_at is None:
            since = inf if evidence is Evidence.DOWN else control.sent_at
            self._refusals.note(control.run.prompt_id, error, since=since)
        if evidence is Evidence.DOWN and had_answered and isinstance(error, ServerFailed):
            return self._found(control, self.cuts.note(control, at=at), evidence, at)
        if evidence is Evidence.NONE:
            self._failed(control, error)
        if evidence is not Evidence.DOWN and control.begun_at is None:
            self._refused_beside_answers(control, error)
        return Finding(
            evidence,
            failures=self._rounds,
            had_answered=had_answered,
            disproved=self._refusals.is_disproved(error),
        )

    def _refused_beside_answers(self, control: RunHandle, error: SpoolError) -> None:
        run, code = control.run, str(error.code)
        at = self._clock.monotonic()
        if self.brake.refused(run.batch_id, run.prompt_id, code, error.message, at=at):
            self._log(
                Event.BATCH_HELD,
                endpoint=self.endpoint.name,
                batch=run.batch_id,
                error_code=code,
                error=error.message,
            )

    def _writable(self, model: str, error: SpoolError) -> Evidence:
        """Whether a request can be written at all, with the endpoint's own options."""
        try:
            canary.request(self.endpoint, self.dialect, model)
        except Refused:
            self.open(error, refuses=True)
            return Evidence.DOWN
        return Evidence.WELL

    async def _settled(self, control: RunHandle, error: SpoolError, at: float) -> Evidence:
        """Ask for one token, unless somebody is answered anyway."""
        while (left := at + VERDICT_SECONDS - self._clock.monotonic()) > 0:
            if self._answered_later(control, error):
                return Evidence.WELL
            if self.breaker.state is BreakerState.OPEN:
                return Evidence.DOWN
            if self._runs.later_waits(control):
                await self._until_answered(min(left, LOOK_SECONDS))
            elif (asking := self._canary(control.run.model, error)) is None:
                return Evidence.NONE
            else:
                await self._until_answered(left, asking)
                if asking.done() and not self._answered_later(control, error):
                    return await self._meaning(asking.result(), error, control.run.model, at)
        return Evidence.NONE

    def _answered_later(self, control: RunHandle, error: SpoolError) -> bool:
        """Whether something was answered since then, or since it was refused so before."""
        if isinstance(error, Unfinished):
            return self._done_at > control.sent_at
        since = self._refusals.since(control.run.prompt_id, error, sent_at=control.sent_at)
        return self._alive_at.get(control.run.model, -inf) > since

    async def _until_answered(
        self, seconds: float, asking: asyncio.Task[Reply] | None = None
    ) -> None:
        """Until anybody is answered, or that canary has come back, or for so long."""
        doubt = asyncio.get_running_loop().create_future()
        self._doubts.add(doubt)
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        waits: set[asyncio.Future[None] | asyncio.Task[Reply]] = {doubt, sleep}
        try:
            await asyncio.wait(
                waits | ({asking} if asking else set()), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            self._doubts.discard(doubt)
            sleep.cancel()

    async def _meaning(self, reply: Reply, error: SpoolError, model: str, at: float) -> Evidence:
        """What a canary's answer says about a failure; opens the breaker if it says so."""
        if reply.kind is Kind.ANSWERED:
            if not reply.is_generation:
                return Evidence.NONE
            if not (isinstance(error, Unfinished) and isinstance(reply.error, Unfinished)):
                return Evidence.WELL
            self.open(error, refuses=True)
            return Evidence.DOWN
        if not self._counts(reply, error, model):
            return Evidence.NONE
        self._refusals.note(CANARY, reply.error or error, since=inf)
        if model != self.endpoint.model and reply.kind is Kind.REFUSED:
            asking = self._canary(self.endpoint.model, error)
            if asking is not None and (await asyncio.shield(asking)).kind is Kind.ANSWERED:
                return Evidence.WELL  # the prompt has chosen its model itself
        if self._answered_at <= at:
            self.open(reply.error or error, refuses=reply.kind is Kind.REFUSED)
        return Evidence.DOWN

    def _counts(self, reply: Reply, error: SpoolError, model: str) -> bool:
        """Whether a canary that was not answered is evidence against the endpoint."""
        if reply.kind is Kind.BUSY:
            return False
        if reply.kind is Kind.UNANSWERED:
            return not self._runs.heard_since(reply.sent_at)  # it may be busy with what it sends
        return self.canaries.counts(reply, error, model)

    # --- canaries

    def canary_due(self) -> bool:
        """Whether the breaker wants a canary sent now."""
        at = self._clock.monotonic()
        return self.breaker.canary_due(at=at) and not self.canaries.under_way

    async def probe(self, wake: Callable[[], None]) -> None:
        """Send the canary that is due while the breaker is open; `wake` the claims if it helps."""
        model, shut_by = self.endpoint.model, self.breaker.last_error
        asking = self._canary(model, shut_by, is_due=True)
        if asking is None:
            return
        reply = await asyncio.shield(asking)
        at = self._clock.monotonic()
        if self.breaker.state is BreakerState.OPEN:
            useless = reply.kind is Kind.REFUSED and self.canaries.is_useless(model)
            there = reply.kind is Kind.ANSWERED and not reply.is_generation
            if not (useless or there):
                if reply.kind is Kind.REFUSED and reply.error is not None:
                    self.open(reply.error, refuses=True)
                least_seconds = self.canaries.least_seconds(at=at)
                self.breaker.refused_again(at=at, least_seconds=least_seconds)
                return
            self.breaker.half_open(at=at)
        wake()

    def _canary(
        self, model: str, error: SpoolError | None, *, is_due: bool = False
    ) -> asyncio.Task[Reply] | None:
        return self.canaries.ask(model, error, self._canary_answered, is_due=is_due)

    def _canary_answered(self, model: str, reply: Reply) -> None:
        self._refusals.answered(CANARY)
        shut_by = self.breaker.last_error
        if not (isinstance(shut_by, Unfinished) and isinstance(reply.error, Unfinished)):
            self._is_alive(model, reply.sent_at, by_canary=True)
