"""Group commit: the flushes and endings of all runs, one transaction at a time.

Runs hand their chunks to `Committer.submit` and go on reading; one thread takes
everything that has gathered, and commits it in one transaction.  While that
transaction is under way the next group gathers, so a slow disk makes larger
groups, not a longer queue.  The queue is bounded by its users: a run has at
most one flush under way (`RunWriter`), and its socket is read no further when
its buffer is full.

When the database is away the thread keeps the group and tries again (`retry`),
for as long as the worker lives; a group is sent again as it was, which is safe
because chunks are idempotent by `(run_id, seq)` and endings by their run.  When
it refuses a group for good, each of its items is tried alone, so that one text
that cannot be stored takes no other with it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, Self

from msgspec.structs import replace

from worker import retry
from worker.buffer import Budget, Buffer, Limits
from worker.errors import ErrorCode, LeaseLost, SpoolError, StoreBusy, StoreError, Verdict
from worker.records import Chunk, Ending, Kind, Run
from worker.wire.events import Delta, Done, Event, Extra, Fault

GROUP_CHARS_MAX = 8 * 1024 * 1024  # one transaction; more waits for the next
_THREAD = "committer"


class CommitStore(Protocol):
    """What the committer needs of the store."""

    def commit(
        self, worker_id: str, chunks: Sequence[Chunk], endings: Sequence[Ending]
    ) -> frozenset[int]:
        """One fenced transaction; returns the runs that are lost."""
        ...


class Log(Protocol):
    """Where events go; see worker/log.py for their names."""

    def __call__(self, event: str, **values: object) -> None:
        """Record one event."""
        ...


class Availability:
    """Says once that the database went away, and once that it is back; for all threads.

    Each thread speaks for itself alone: a full disk takes no text, while a look for requests to
    cancel, which only reads, goes through.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._waiting: set[str] = set()

    def went_away(self, thread: str, error: SpoolError) -> None:
        """A transaction of this thread has to wait."""
        with self._lock:
            was_away = self.away
            self._waiting.add(thread)
        if not was_away:
            self._log("database_unavailable", error=error.message)

    @property
    def away(self) -> bool:
        """Whether the last transaction of any thread had to wait."""
        return bool(self._waiting)

    def came_back(self, thread: str) -> None:
        """A transaction of this thread went through."""
        if thread not in self._waiting:
            return
        with self._lock:
            self._waiting.discard(thread)
            is_back = not self.away
        if is_back:
            self._log("database_back")


@dataclass(slots=True)
class _Item:
    run_id: int
    chunks: Sequence[Chunk]
    ending: Ending | None
    landed: asyncio.Future[None]


class Committer:
    """One thread that writes for all runs of a worker."""

    def __init__(
        self,
        store: CommitStore,
        worker_id: str,
        *,
        availability: Availability,
        gather_seconds: float = 0.0,
    ) -> None:
        """gather_seconds: how long a group may grow before it is committed (0: not at all)."""
        self._store = store
        self._worker_id = worker_id
        self._availability = availability
        self._gather_seconds = gather_seconds
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Item] = deque()
        self._ready = threading.Condition()
        self._closing = False
        self._ended = False
        self._urgent = False
        self._give_up = threading.Event()
        self.thread = threading.Thread(target=self._work, name=_THREAD, daemon=True)
        self.thread.start()

    def submit(
        self, run_id: int, chunks: Sequence[Chunk], ending: Ending | None = None
    ) -> asyncio.Future[None]:
        """Queue a flush; the future is done once it is durable.

        The future raises LeaseLost if the run is not this worker's any more (nothing of it
        was written), or the StoreError for which the thread gave up.  A StoreError with a
        `code` is about this item alone.
        """
        item = _Item(run_id, chunks, ending, self._loop.create_future())
        with self._ready:
            if self._ended:
                item.landed.set_exception(StoreBusy("the worker has stopped writing"))
                return item.landed
            self._queue.append(item)
            self._urgent = self._urgent or ending is not None
            self._ready.notify()
        return item.landed

    def hurry(self) -> None:
        """Somebody waits: let what is queued gather no longer."""
        with self._ready:
            self._urgent = True
            self._ready.notify()

    async def close(self, *, patience_seconds: float) -> None:
        """Commit what is queued, then end the thread; give up when the database stays away."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        await asyncio.to_thread(self.thread.join, patience_seconds)
        self.give_up()
        await asyncio.to_thread(self.thread.join)

    def give_up(self) -> None:
        """Wait for an absent database no longer: what cannot be stored now fails."""
        self._give_up.set()

    def _work(self) -> None:
        while group := self._gather():
            self._commit(group)

    def _gather(self) -> list[_Item]:
        """Wait for work; an empty list means that it is time to end."""
        with self._ready:
            while not self._queue and not self._closing:
                self._ready.wait()
            if self._gather_seconds and not self._closing and not self._urgent:
                self._ready.wait_for(
                    lambda: self._closing or self._urgent, timeout=self._gather_seconds
                )
            self._urgent = False
            self._ended = not self._queue
            group: list[_Item] = []
            chars = 0
            while self._queue and chars < GROUP_CHARS_MAX:
                item = self._queue.popleft()
                chars += sum(len(chunk.text) for chunk in item.chunks)
                group.append(item)
            return group

    def _commit(self, group: list[_Item]) -> None:
        try:
            lost = retry.database(
                lambda: self._store.commit(
                    self._worker_id,
                    [chunk for item in group for chunk in item.chunks],
                    [item.ending for item in group if item.ending],
                ),
                give_up=self._give_up,
                on_wait=partial(self._availability.went_away, _THREAD),
            )
        except Exception as fault:  # noqa: BLE001 - this thread serves every run and must not die
            self._failed(group, _as_store_error(fault))
            return
        self._availability.came_back(_THREAD)
        outcomes: list[tuple[_Item, SpoolError | None]] = [
            (item, _lease_lost(item.run_id) if item.run_id in lost else None) for item in group
        ]
        self._resolve(outcomes)

    def _failed(self, group: list[_Item], error: StoreError) -> None:
        """One item that the database refuses must not take the others with it."""
        if error.verdict is not Verdict.RETRY_HERE and len(group) > 1:
            for item in group:
                self._commit([item])
            return
        self._resolve([(item, error) for item in group])

    def _resolve(self, outcomes: list[tuple[_Item, SpoolError | None]]) -> None:
        def deliver() -> None:
            for item, error in outcomes:
                if item.landed.done():
                    continue
                if error is None:
                    item.landed.set_result(None)
                else:
                    item.landed.set_exception(error)

        self._loop.call_soon_threadsafe(deliver)


def _as_store_error(fault: Exception) -> StoreError:
    """What a run is told; anything but a StoreError is a fault of this program."""
    if isinstance(fault, StoreError):
        return fault
    error = StoreError(
        f"internal error while storing: {type(fault).__name__}: {fault}",
        code=ErrorCode.INTERNAL_ERROR,
    )
    error.__cause__ = fault
    return error


def _lease_lost(run_id: int) -> LeaseLost:
    return LeaseLost(f"run {run_id} is not this worker's any more; nothing more is written to it")


class Submit(Protocol):
    """The way from a run to the committer."""

    def __call__(
        self, run_id: int, chunks: Sequence[Chunk], ending: Ending | None = None
    ) -> asyncio.Future[None]:
        """Queue chunks, and perhaps the ending, of one run."""
        ...


class RunWriter:
    """One run's way to the database: a buffer, and at most one flush under way.

    A flush that fails keeps its chunks: they are sent again, before anything newer, so
    what is stored of a run never has a hole.  Leaving the context drops the rest.
    """

    def __init__(
        self,
        run: Run,
        submit: Submit,
        limits: Limits,
        budget: Budget,
        *,
        on_failure: Callable[[SpoolError], None],
        hurry: Callable[[], None] = lambda: None,
    ) -> None:
        """on_failure: told when a flush cannot land, so that the stream is closed at once.
        hurry: called when reading has to wait for a flush.
        """
        self._run = run
        self._submit = submit
        self._limits = limits
        self._on_failure = on_failure
        self._hurry = hurry
        self._flight: asyncio.Future[None] | None = None
        self._unstored: list[Chunk] = []  # taken from the buffer and not known to be durable
        self._stored = 0
        self._request_hash: str | None = None  # known from the first flush on
        self._calls_tools = False
        self._finishing = False
        self._flush_again = False
        self.buffer = Buffer(run.id, limits, budget)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._finishing:  # `finish` may outlive the context, and cleans up itself
            self.abandon()

    def keep(self, events: Sequence[Event], *, at: float) -> Done | None:
        """Keep output until it is flushed; the done frame, if it is among the events.

        Raises:
            SpoolError: what a Fault carries; the output before it is kept.
        """
        for event in events:
            match event:
                case Delta(kind, text):
                    self.buffer.add(kind, text, at=at)
                case Extra(kind, data):
                    self.buffer.add_extra(kind, data, at=at)
                case Done():
                    return event
                case Fault(error):
                    raise error
        return None

    def due_at(self, *, at: float) -> float | None:
        """When to come back for a flush, seen from the time `at`; None while nothing waits.

        While a flush is under way that is never now: the next one has to wait for it.
        """
        due_at = self.buffer.due_at
        if due_at is None or self._flight is None:
            return due_at
        return max(due_at, at + self._limits.flush_seconds)

    async def flush_if_due(self, *, at: float) -> bool:
        """Start a flush if one is due; True if reading had to wait because the buffer was full."""
        if self._flight is None and (self.buffer.due(at=at) or self.buffer.full):
            self._start()
        if not self.buffer.full or self._flight is None:
            return False
        self._hurry()
        await asyncio.shield(self._flight)
        return True

    def flush(self) -> None:
        """Start a flush of what waits, now or as soon as the one under way has landed."""
        self._flush_again = self._flight is not None
        if self._flight is None and self.buffer.waiting_bytes:
            self._start()

    def _start(self) -> None:
        self._flight = self._submit(self._run.id, self._take())
        self._flight.add_done_callback(self._landed)

    def _take(self) -> list[Chunk]:
        taken = self.buffer.take()
        if taken and self._request_hash is None:
            self._request_hash = self._run.request_hash()
            taken[0] = dataclasses.replace(taken[0], request_hash=self._request_hash)
        self._calls_tools |= any(chunk.kind is Kind.TOOL_CALLS for chunk in taken)
        self._unstored += taken
        return list(self._unstored)

    def _landed(self, flight: asyncio.Future[None]) -> None:
        self._flight = None
        error = flight.exception()
        if error is None:
            self._settle()
            if self._flush_again and not self._finishing:
                self.flush()
        elif isinstance(error, SpoolError):
            self._on_failure(error)

    def _settle(self) -> None:
        self._stored += len(self._unstored)
        self._unstored = []
        self.buffer.landed()

    async def finish(self, ending: Ending) -> Ending:
        """Store the last chunks and the ending in one transaction, after any flush under way.

        Returns the ending as it was stored, with the length of what the run produced.

        Raises:
            LeaseLost: the run is not this worker's any more; nothing was written.
            StoreError: the database refused, or stayed away until the worker had to end.
        """
        self._finishing = True
        try:
            if self._flight is not None:
                await asyncio.wait({self._flight})
            chunks = self._take()
            stored = self._stored + len(chunks)
            ending = replace(
                ending,
                chars=self.buffer.chars,
                chunks=stored,
                request_hash=self._request_hash or self._run.request_hash(),
                calls_tools=self._calls_tools,
            )
            await self._submit(self._run.id, chunks, ending)
            self._settle()
            return ending
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Drop what is not stored yet: the run is lost, or its text can never be stored."""
        self._unstored = []
        self.buffer.discard()
