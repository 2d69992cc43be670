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

A run whose rows a stranger's transaction holds is parked, and tried again each second;
the others of its group land in the same transaction.  A group that meets a deadlock or a
time-out is halved until it is clear whose rows are not free.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Protocol

from worker import retry
from worker.clock import Clock, SystemClock
from worker.errors import (
    ErrorCode,
    LeaseLost,
    SpoolError,
    StoreBusy,
    StoreContended,
    StoreError,
    Verdict,
)
from worker.records import Chunk, Ending, Refusals
from worker.supervisor.availability import Availability

GROUP_CHARS_MAX = 8 * 1024 * 1024  # one transaction; more waits for the next
PARKED_SECONDS = 1.0  # between two tries of what a stranger's transaction keeps out
_THREAD = "committer"


class CommitStore(Protocol):
    """What the committer needs of the store."""

    def commit(
        self, worker_id: str, chunks: Sequence[Chunk], endings: Sequence[Ending]
    ) -> Refusals:
        """One fenced transaction; returns the runs that are lost."""
        ...


@dataclass(slots=True)
class _Item:
    run_id: int
    chunks: Sequence[Chunk]
    ending: Ending | None
    landed: asyncio.Future[None]
    was_parked: bool = False


class Committer:
    """One thread that writes for all runs of a worker."""

    def __init__(
        self,
        store: CommitStore,
        worker_id: str,
        *,
        availability: Availability,
        gather_seconds: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        """gather_seconds: how long a group may grow before it is committed (0: not at all)."""
        self._store = store
        self._worker_id = worker_id
        self._availability = availability
        self._gather_seconds = gather_seconds
        self._clock = clock or SystemClock()
        self._parked: list[_Item] = []
        self._again_at = inf  # when the parked are tried again
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
        with self._ready:
            self._ready.notify()

    def _work(self) -> None:
        while group := self._gather():
            self._commit(group)

    def _gather(self) -> list[_Item]:
        """Wait for work; an empty list means that it is time to end."""
        with self._ready:
            while not self._queue and not self._closing and not self._is_due():
                self._ready.wait(self._parked_seconds())
            if self._gather_seconds and not self._closing and not self._urgent:
                self._ready.wait_for(
                    lambda: self._closing or self._urgent, timeout=self._gather_seconds
                )
            if self._closing and not self._queue and not self._give_up.is_set():
                self._ready.wait_for(
                    lambda: self._is_due() or self._give_up.is_set(), self._parked_seconds()
                )
            self._urgent = False
            group: list[_Item] = []
            if self._closing or self._is_due():
                group, self._parked, self._again_at = self._parked, [], inf
            chars = 0
            while self._queue and chars < GROUP_CHARS_MAX:
                item = self._queue.popleft()
                chars += sum(len(chunk.text) for chunk in item.chunks)
                group.append(item)
            self._ended = not group
            return group

    def _is_due(self) -> bool:
        return self._clock.monotonic() >= self._again_at

    def _parked_seconds(self) -> float | None:
        """How long to wait for the next try of what is parked; None if nothing is."""
        if not self._parked:
            return None if not self._closing else 0.0
        return min(max(0.0, self._again_at - self._clock.monotonic()), PARKED_SECONDS)

    def _commit(self, group: list[_Item]) -> None:
        try:
            refused = retry.database(
                partial(self._store_group, group),
                give_up=self._give_up,
                on_wait=partial(self._availability.went_away, _THREAD),
            )
        except Exception as fault:  # noqa: BLE001 - this thread serves every run and must not die
            self._failed(group, _as_store_error(fault))
            return
        self._availability.came_back(_THREAD)
        if isinstance(refused, StoreContended):
            self._part(group, refused)
            return
        outcomes: list[tuple[_Item, SpoolError | None]] = []
        for item in group:
            if item.run_id in refused.blocked:
                self._park(item, refused.blocked[item.run_id])
            elif item.run_id in refused:
                outcomes.append((item, _lost(item.run_id, refused)))
            else:
                outcomes.append((item, None))
        self._resolve(outcomes)

    def _store_group(self, group: list[_Item]) -> Refusals | StoreContended:
        """One transaction; that rows are not free is an answer, and no reason to send all again."""
        chunks = [chunk for item in group for chunk in item.chunks]
        endings = [item.ending for item in group if item.ending]
        try:
            return self._store.commit(self._worker_id, chunks, endings)
        except StoreContended as error:
            return error

    def _part(self, group: list[_Item], error: StoreContended) -> None:
        """Store each half by itself, so that only those wait whose rows are not free."""
        if len(group) == 1:
            self._park(group[0], group[0].ending.prompt_id if group[0].ending else None, error)
            return
        half = len(group) // 2
        self._commit(group[:half])
        self._commit(group[half:])

    def _park(self, item: _Item, prompt_id: int | None, error: SpoolError | None = None) -> None:
        """Try it again in a second; said once a run."""
        if self._give_up.is_set():
            held = StoreBusy("another transaction holds the row of the run or of its prompt")
            self._resolve([(item, error or held)])
            return
        with self._ready:
            self._parked.append(item)
            self._again_at = self._clock.monotonic() + PARKED_SECONDS
        if not item.was_parked:
            item.was_parked = True
            self._availability.waits_for_row(item.run_id, prompt_id)

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


def _lost(run_id: int, refused: Refusals) -> LeaseLost:
    if run_id in refused.forgotten:
        return LeaseLost(
            f"the database lost text of run {run_id} that it had acknowledged; the prompt is"
            " queued again, and no attempt is used up",
            code=ErrorCode.COMMITS_FORGOTTEN,
        )
    return LeaseLost(f"run {run_id} is not this worker's any more; nothing more is written to it")
