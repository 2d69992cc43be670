"""What a run under way is made of: the rooms it is handed, its control, its answer, its opening.

HTTP and SQL are not known here: the stream, the committer and the clock are handed
in, as the narrow Protocols that a run needs of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol

from worker import retry
from worker.clock import Clock, overslept
from worker.errors import FrameTooLarge, OutputTooLarge, Refused, SpoolError, Truncated, Unfinished
from worker.records import Ending, Endpoint, Request, Run
from worker.run.attribution import Evidence, Failure, Finding
from worker.run.buffer import Budget, Buffer, Limits
from worker.run.continuation import Plan, from_the_beginning
from worker.run.deadlines import Deadlines
from worker.run.writer import RunWriter, Submit
from worker.wire.events import Decoder, Dialect

# Longer than reads gather by default, with thousands of streams as well (half of flush_seconds);
# shorter than what `deadlines` takes for sleep.
LAST_LOOK_SECONDS = 0.75


class ReaderPort(Protocol):
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


class StreamPort(Protocol):
    """The way to the server."""

    def open(
        self, request: Request, endpoint: Endpoint, dialect: Dialect
    ) -> AbstractAsyncContextManager[ReaderPort]:
        """Send the request; the response is closed when the context is left."""
        ...


class Planner(Protocol):
    """Finds out how a run begins."""

    async def plan(self, run: Run, endpoint: Endpoint, dialect: Dialect) -> Plan:
        """Whether it goes on where an earlier run was cut, and how it is asked to."""
        ...


class NoPlanner:
    """Every run begins at the beginning."""

    async def plan(self, run: Run, endpoint: Endpoint, dialect: Dialect) -> Plan:
        """That it does."""
        del endpoint, dialect
        return from_the_beginning(run)


@dataclass(frozen=True, slots=True)
class RunContext:
    """What every run of a worker shares.

    Attributes:
        rejected: per endpoint, the error with which it turned a request away that it accepts in a
            simpler form (`Dialect.simpler`); later requests are made simple at once.
        hurry: lets what was submitted gather no longer.
        planner: says whether a run goes on where an earlier one was cut.
    """

    stream: StreamPort
    submit: Submit
    clock: Clock
    limits: Limits
    budget: Budget
    max_frame_bytes: int
    rejected: dict[str, SpoolError] = field(default_factory=dict)
    hurry: Callable[[], None] = lambda: None
    planner: Planner = field(default_factory=NoPlanner)


class RunHandle:
    """How the loop reaches into a run that is under way, and the other way round.

    Attributes:
        begun_at: when the first frame was read; heard_at: when the last one was.
        failed_at: when it was clear that no done frame will come.
        max_runs: runs of its prompt in a row that may end without evidence and progress.
    """

    def __init__(
        self,
        run: Run,
        *,
        sent_at: float = 0.0,
        judge: Judge | None = None,
        on_answer: Callable[[RunHandle], None] = lambda _: None,
        max_runs: int = 20,
    ) -> None:
        """judge: what is known of the endpoint around a failure, which tells whose fault it is.
        on_answer: told of the first frame.
        """
        self.run = run
        self.sent_at = sent_at
        self.max_runs = max_runs
        self.reason: SpoolError | None = None
        self.finishing = False
        self.begun_at: float | None = None
        self.heard_at: float | None = None
        self.failed_at: float | None = None
        self._judge = judge
        self._on_answer = on_answer
        self._frames = 0
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

    def heard(self, frames: int, *, at: float) -> None:
        """The server has sent so many frames by now; the first of them is news."""
        if frames > self._frames:
            self._frames, self.heard_at = frames, at
        if frames and self.begun_at is None:
            self.begun_at = at
            self._on_answer(self)

    @property
    def is_waiting(self) -> bool:
        """Whether the server has not sent a frame yet."""
        return self.begun_at is None

    async def finding(self, failure: Failure) -> Finding:
        """What is known of the endpoint; nothing, if we are told to stop before that is clear."""
        if self._judge is None:
            return Finding(Evidence.NONE)
        asking = asyncio.ensure_future(self._judge(self, failure))
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({asking, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else Finding(Evidence.STOPPED)
        finally:
            asking.cancel()
            stopped.cancel()


Judge = Callable[[RunHandle, Failure], Coroutine[Any, Any, Finding]]


@dataclass(slots=True)
class Answer:
    """What is known of the response so far; the ending is written from it.

    Attributes:
        asked: the run whose request was sent, if that is another.
        endpoint: where it is sent.
    """

    run: Run
    asked: Run | None = None
    endpoint: Endpoint | None = None
    reader: ReaderPort | None = None
    decoder: Decoder | None = None

    @property
    def begun(self) -> bool:
        """Whether the server sent any frame of an answer."""
        return self.decoder is not None and self.decoder.frames > 0


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


@asynccontextmanager
async def opened(
    plan: Plan, endpoint: Endpoint, dialect: Dialect, rooms: RunContext, deadlines: Deadlines
) -> AsyncIterator[ReaderPort]:
    """Connect, with a few tries; once more in a simpler form if the server rejects an extra.

    A server that refuses to go on with an earlier text is asked for the whole answer instead.
    Raises Stalled if the server has not begun to answer when the deadline of the whole passes.
    """
    request = _request(plan, endpoint, dialect, rooms)

    async with AsyncExitStack() as stack:

        async def attempt() -> ReaderPort:
            asked_at = rooms.clock.monotonic()
            left_seconds = deadlines.total_left(at=asked_at)
            try:
                async with asyncio.timeout(left_seconds):
                    opening = rooms.stream.open(request, endpoint, dialect)
                    return await stack.enter_async_context(opening)
            except TimeoutError as error:
                said = deadlines.too_long()
                if overslept(left_seconds, rooms.clock.monotonic() - asked_at):
                    said = said.but(charged=False)  # we may have slept through the answer
                raise said from error

        try:
            reader = await retry.connecting(attempt, rooms.clock)
        except Refused as error:
            simpler = dialect.simpler(request, error)
            if simpler is not None:
                request = simpler
            elif plan.is_refused(error):
                request = _request(plan, endpoint, dialect, rooms)
            else:
                raise dialect.explained(request, error) from error
            reader = await retry.connecting(attempt, rooms.clock)
            if simpler is not None:
                rooms.rejected[endpoint.name] = error
        yield reader


def _request(plan: Plan, endpoint: Endpoint, dialect: Dialect, rooms: RunContext) -> Request:
    request = dialect.request(endpoint, plan.asked)
    if known := rooms.rejected.get(endpoint.name):
        return dialect.simpler(request, known) or request
    return request


def begin_decoding(
    answer: Answer, reader: ReaderPort, endpoint: Endpoint, dialect: Dialect, rooms: RunContext
) -> Decoder:
    """A fresh decoder for the response; the answer knows both from now on."""
    answer.reader = reader
    answer.decoder = dialect.decoder(
        endpoint,
        max_frame_bytes=rooms.max_frame_bytes,
        content_type=reader.content_type,
        run=answer.asked or answer.run,
    )
    return answer.decoder


def as_ended(error: SpoolError, decoder: Decoder | None) -> SpoolError:
    """The error, or that a server which gave a finish reason does not send its done frame."""
    reason = decoder.finish_reason if decoder else None
    if type(error) is not Truncated or reason is None:
        return error
    return Unfinished(
        f"the stream ended cleanly with the finish reason {reason!r}, but its done frame never"
        " came; if the server never sends one, set accept_finish_without_done = true"
    )


def check_size(buffer: Buffer, decoder: Decoder, endpoint: Endpoint) -> None:
    """Raise OutputTooLarge or FrameTooLarge if a run produced, or holds, more than it may."""
    if buffer.hold(decoder.held_bytes):
        raise FrameTooLarge(
            "unfinished frames of all streams together take half of worker_buffer_bytes, and this"
            " one is among the longest; raise that setting, or lower concurrency",
        )
    if buffer.produced_bytes > endpoint.max_output_bytes:
        raise OutputTooLarge(
            f"the answer is longer than max_output_bytes = {endpoint.max_output_bytes}: limit it"
            " with max_tokens, or raise that setting of the endpoint"
        )


async def read_in_time(
    reader: ReaderPort, wait_seconds: float | None, deadlines: Deadlines, clock: Clock
) -> bytes | None:
    """What arrives in time; with a last look before a deadline is called missed.

    Whoever was stopped as long as the deadline wakes up to a timer that is due and to bytes that
    the kernel kept meanwhile, and the timer comes first.
    """
    data = await reader.read(wait_seconds)
    if data == b"" and clock.monotonic() >= deadlines.next_at:
        return await reader.read(LAST_LOOK_SECONDS)
    return data


def seconds_to_wait(writer: RunWriter, deadlines: Deadlines, *, at: float) -> float | None:
    """Seconds to wait for bytes before a flush or a deadline needs attention; None: for ever."""
    due_at = writer.due_at(at=at)
    next_at = deadlines.next_at if due_at is None else min(due_at, deadlines.next_at)
    return None if next_at == inf else max(0.0, next_at - at)
