"""One claimed run, from its first byte to its last durable word.

`carry` is the sentence of the program: claim (the loop has done that), stream,
decode, buffer, flush, finish.  It knows no library that touches the world: the
stream, the committer and the clock are handed to it.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Protocol

from worker import retry
from worker.buffer import Budget, Limits
from worker.clock import Clock
from worker.committer import RunWriter, Submit
from worker.deadlines import Deadlines
from worker.errors import (
    ErrorCode,
    LeaseLost,
    Refused,
    ServerFailed,
    SpoolError,
    StoreError,
    StreamError,
    Truncated,
    Verdict,
    WireError,
)
from worker.records import Ending, Endpoint, Request, Run, Usage
from worker.states import PromptEvent, RunEvent
from worker.wire.events import Decoder, Dialect, Done


class Reader(Protocol):
    """A response whose headers have arrived."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def content_type(self) -> str | None:
        """What the server calls the body."""
        ...

    @property
    def request_id(self) -> str | None:
        """What the server calls the request."""
        ...

    async def read(self, wait_seconds: float | None) -> bytes | None:
        """What arrived; `b""` if nothing did in time; None at the end of the body."""
        ...

    async def drain(self) -> None:
        """After the done frame: let the connection be kept."""
        ...

    def redact(self, text: str) -> str:
        """The text without the secrets of the endpoint."""
        ...


class Stream(Protocol):
    """The way to the server."""

    def open(
        self, request: Request, endpoint: Endpoint, dialect: Dialect
    ) -> AbstractAsyncContextManager[Reader]:
        """Send the request; the response is closed when the context is left."""
        ...


@dataclass(frozen=True, slots=True)
class Rooms:
    """What every run of a worker shares.

    Attributes:
        rejected: per endpoint, the error with which it turned a request away that it accepts in a
            simpler form (`Dialect.simpler`); later requests are made simple at once.
    """

    stream: Stream
    submit: Submit
    clock: Clock
    limits: Limits
    budget: Budget
    max_frame_bytes: int
    rejected: dict[str, SpoolError] = field(default_factory=dict)


class Control:
    """How the loop reaches into a run that is under way, and the other way round."""

    def __init__(
        self, alive: Callable[[], Awaitable[bool]], *, on_answer: Callable[[], None] | None = None
    ) -> None:
        """alive: whether the endpoint answers at all, asked after a failure: an outage is not
        the prompt's fault and is not charged to it.  on_answer: told of the first frame.
        """
        self.reason: SpoolError | None = None
        self.finishing = False
        self._alive = alive
        self._on_answer = on_answer
        self._task: asyncio.Task[object] | None = None
        self._stopped = asyncio.Event()

    def begin(self) -> None:
        """The run moves, and can be reached from now on; ends at once if it was stopped before."""
        if self.reason is not None:
            raise asyncio.CancelledError
        self._task = asyncio.current_task()

    def stop(self, reason: SpoolError) -> None:
        """Close the stream and end the run for this reason; nothing if it is ending already."""
        self._stopped.set()
        if self.reason is None and not self.finishing:
            self.reason = reason
            if self._task is not None:
                self._task.cancel()

    def heard(self, frames: int) -> None:
        """The server has sent so many frames by now; the first of them is news."""
        if frames and self._on_answer is not None:
            self._on_answer()
            self._on_answer = None

    async def is_outage(self) -> bool:
        """Whether the endpoint answers nobody; taken for true if we are told to stop meanwhile."""
        asking = asyncio.ensure_future(self._alive())
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({asking, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return not asking.done() or asking.cancelled() or not asking.result()
        finally:
            asking.cancel()
            stopped.cancel()


@dataclass(slots=True)
class Answer:
    """What is known of the response so far; the ending is written from it."""

    run: Run
    reader: Reader | None = None
    decoder: Decoder | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        ending: what was stored; None if nothing could be: the run was lost, or the database away.
        error: why there was no done frame; None for a completed run.
        answered: whether the server sent any frame of an answer.
    """

    ending: Ending | None
    error: SpoolError | None
    answered: bool


async def carry(
    run: Run, endpoint: Endpoint, dialect: Dialect, rooms: Rooms, control: Control
) -> Outcome:
    """Carry one claimed run from its first byte to its last durable word."""
    clock, answer = rooms.clock, Answer(run)
    deadlines = Deadlines(endpoint, started_at=clock.monotonic())
    stored: asyncio.Task[Outcome] | None = None
    with RunWriter(
        run, rooms.submit, rooms.limits, rooms.budget, on_failure=control.stop
    ) as writer:
        try:
            control.begin()
            async with _opened(run, endpoint, dialect, rooms) as reader:
                decoder = _decoder(answer, reader, endpoint, dialect, rooms)
                done = None
                while done is None:
                    asked_at = clock.monotonic()
                    wait_seconds = _until(writer, deadlines, at=asked_at)
                    data = await reader.read(wait_seconds)  # stream
                    events = decoder.close() if data is None else decoder.feed(data)  # decode
                    control.heard(decoder.frames)
                    now = clock.monotonic()
                    done = writer.keep(events, at=now)  # buffer
                    deadlines.woke(asked_at=asked_at, wait_seconds=wait_seconds, at=now)
                    deadlines.progressed(decoder.frames, at=now)
                    if done is None:
                        deadlines.check(at=now)
                        if await writer.flush_if_due(at=now):  # flush
                            deadlines.resumed(since=now, at=clock.monotonic())
                control.finishing = True
                stored = asyncio.create_task(_finish(done, answer, writer, clock))  # finish
                await reader.drain()
        except asyncio.CancelledError:
            if control.reason is None:
                raise
            error = control.reason
        except Exception as caught:  # noqa: BLE001 - a fault of ours must not cost the text
            error = as_error(caught)
        if stored is not None:
            return await stored  # whatever came after the done frame undoes nothing
        control.finishing = True
        return await _end_early(error, answer, writer, rooms, control)


def as_error(fault: Exception) -> SpoolError:
    """What nobody foresaw is a fault of this program: charged, so that it has an end."""
    if isinstance(fault, SpoolError):
        return fault
    frames = traceback.extract_tb(fault.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return WireError(
        f"internal error: {type(fault).__name__}: {fault}{place}", code=ErrorCode.INTERNAL_ERROR
    )


@asynccontextmanager
async def _opened(
    run: Run, endpoint: Endpoint, dialect: Dialect, rooms: Rooms
) -> AsyncIterator[Reader]:
    """Connect, with a few tries; once more in a simpler form if the server rejects an extra."""
    request = dialect.request(endpoint, run)
    if known := rooms.rejected.get(endpoint.name):
        request = dialect.simpler(request, known) or request

    async with AsyncExitStack() as stack:

        async def attempt() -> Reader:
            return await stack.enter_async_context(rooms.stream.open(request, endpoint, dialect))

        try:
            reader = await retry.connecting(attempt, rooms.clock)
        except Refused as error:
            simpler = dialect.simpler(request, error)
            if simpler is None:
                raise
            request = simpler
            reader = await retry.connecting(attempt, rooms.clock)
            rooms.rejected[endpoint.name] = error
        yield reader


def _decoder(
    answer: Answer, reader: Reader, endpoint: Endpoint, dialect: Dialect, rooms: Rooms
) -> Decoder:
    answer.reader = reader
    answer.decoder = dialect.decoder(
        endpoint, max_frame_bytes=rooms.max_frame_bytes, content_type=reader.content_type
    )
    return answer.decoder


def _until(writer: RunWriter, deadlines: Deadlines, *, at: float) -> float | None:
    """Seconds to wait for bytes before a flush or a deadline needs attention; None: for ever."""
    due_at = writer.due_at(at=at)
    next_at = deadlines.next_at if due_at is None else min(due_at, deadlines.next_at)
    return None if next_at == inf else max(0.0, next_at - at)


async def _finish(done: Done, answer: Answer, writer: RunWriter, clock: Clock) -> Outcome:
    """The done frame arrived: last chunks, usage and both states, in one transaction."""
    empty = not (writer.buffer.chunks or writer.buffer.waiting_bytes)
    ending = Ending(
        run_id=answer.run.id,
        prompt_id=answer.run.prompt_id,
        run_event=RunEvent.COMPLETE,
        prompt_event=PromptEvent.COMPLETE,
        done_frame=done.done_frame,
        error_code=ErrorCode.NOTHING_GENERATED if empty else None,
        error="the done frame arrived, but no output came before it" if empty else None,
    )
    ending = _with_facts(ending, answer, writer, clock)
    ending = replace(ending, finish_reason=done.finish_reason, usage=done.usage)
    return await _store(ending, None, answer, writer, clock)


async def _end_early(
    error: SpoolError, answer: Answer, writer: RunWriter, rooms: Rooms, control: Control
) -> Outcome:
    """No done frame: keep the text and let the error's verdict decide about the prompt."""
    if answer.reader:  # a server that reports an error in its stream may echo the key it was sent
        error.message = answer.reader.redact(error.message)
    clock = rooms.clock
    done = _tail(answer, writer, at=clock.monotonic())
    if done and isinstance(error, StreamError):
        return await _finish(done, answer, writer, clock)
    if isinstance(error, StoreError):
        return await _without_text(error, answer, writer, clock)
    if error.verdict is Verdict.YIELD:
        return Outcome(None, error, _answered(answer))
    if error.charged and await _is_nobodys_fault(error, control):
        error.charged = False
    ending = _with_facts(retry.ending(answer.run, error, clock), answer, writer, clock)
    return await _store(ending, error, answer, writer, clock)


def _tail(answer: Answer, writer: RunWriter, *, at: float) -> Done | None:
    """What the decoder still holds; a done frame that only lacked its newline is one (P4)."""
    if answer.decoder is None:
        return None
    try:
        return writer.keep(answer.decoder.close(), at=at)
    except SpoolError:
        return None  # the reason for ending early is known already, and is the better one


async def _is_nobodys_fault(error: SpoolError, control: Control) -> bool:
    """Whether no prompt can be blamed: the settings are wrong, or the endpoint is out."""
    if error.verdict is Verdict.STOP:
        return True
    may_be_outage = isinstance(error, StreamError | ServerFailed | Truncated)
    return may_be_outage and await control.is_outage()


async def _store(
    ending: Ending, error: SpoolError | None, answer: Answer, writer: RunWriter, clock: Clock
) -> Outcome:
    try:
        ending = await writer.finish(ending)
    except LeaseLost as failure:
        return Outcome(None, failure, _answered(answer))
    except StoreError as failure:
        return await _without_text(failure, answer, writer, clock)
    return Outcome(ending, error, _answered(answer))


async def _without_text(
    failure: StoreError, answer: Answer, writer: RunWriter, clock: Clock
) -> Outcome:
    """The database takes nothing, or, if the error has a code, only the text of this run not."""
    writer.abandon()
    if failure.code is None:
        return Outcome(None, failure, _answered(answer))
    ending = retry.ending(answer.run, failure, clock)
    try:
        ending = await writer.finish(ending)
    except (StoreError, LeaseLost) as again:
        return Outcome(None, again, _answered(answer))
    return Outcome(ending, failure, _answered(answer))


def _answered(answer: Answer) -> bool:
    return answer.decoder is not None and answer.decoder.frames > 0


def _with_facts(ending: Ending, answer: Answer, writer: RunWriter, clock: Clock) -> Ending:
    """Add what the run produced, however it ended."""
    decoder, reader = answer.decoder, answer.reader
    first_at = writer.buffer.first_text_at
    return replace(
        ending,
        finish_reason=decoder.finish_reason if decoder else None,
        usage=decoder.usage if decoder else Usage(),
        http_status=ending.http_status or (reader.status if reader else None),
        request_id=ending.request_id or (reader.request_id if reader else None),
        first_text_seconds_ago=None if first_at is None else clock.monotonic() - first_at,
    )
