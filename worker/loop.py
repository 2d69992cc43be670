"""Claims while there is room, keeps the lease, drains on SIGTERM.

A `Worker` is one process's share of the queue.  Its coroutine claims, one task
a run carries (`pipeline.carry`), and three threads stand beside it: the
committer, the lease keeper, and one in which claims and sweeps run one after
the other.  No transaction is open while anything is awaited.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from worker import retry
from worker.buffer import Budget, Limits
from worker.carriers import Carriers, Summary, first_of
from worker.clock import Clock
from worker.committer import Availability, CommitStore, Committer, Log
from worker.errors import (
    Cancelled,
    LeaseLost,
    ShutDown,
    SpoolError,
    StoreBusy,
    StoreError,
    Verdict,
)
from worker.lease import Lease, LeaseKeeper, LeaseStore
from worker.outage import EndpointWatch, ProbingStream
from worker.pipeline import Rooms
from worker.records import Endpoint, Run, WorkerInfo
from worker.rescue import Rescuer, RescueStore
from worker.waker import Waker, WakingStore
from worker.wire.events import Dialect

T = TypeVar("T")

HAND_BACK_SECONDS = 10.0  # after the grace: how long an absent database is waited for
CLAIM_MAX = 500  # prompts in one claim; the rest follows at once


@dataclass(frozen=True, slots=True)
class Options:
    """The settings that the loop obeys; config/spool.toml explains each."""

    lease_seconds: float = 30.0
    shutdown_grace_seconds: float = 30.0
    poll_seconds: float = 1.0
    listen: bool = False
    gather_seconds: float = 0.0
    max_attempts: int = 5
    max_crashes: int = 3
    worker_buffer_bytes: int = 67_108_864
    max_frame_bytes: int = 16_777_216
    limits: Limits = field(default_factory=Limits)


class Backlog(Protocol):
    """How much is left to do for some endpoints."""

    @property
    def ready(self) -> int:
        """Prompts that may be claimed now."""
        ...

    @property
    def later(self) -> int:
        """Prompts that wait for their moment."""
        ...

    @property
    def running(self) -> int:
        """Prompts that some worker carries."""
        ...


class Store(CommitStore, LeaseStore, RescueStore, WakingStore, Protocol):
    """What the loop needs of the store."""

    def sign_off(self, worker_id: str) -> None:
        """The worker has ended and holds nothing."""
        ...

    def claim(
        self,
        worker_id: str,
        endpoint: str,
        limit: int,
        *,
        dialect: str,
        model: str,
        max_attempts: int,
    ) -> Sequence[Run]:
        """Claim up to `limit` prompts of an endpoint."""
        ...

    def cancel_requests(self, worker_id: str) -> Collection[int]:
        """Runs of this worker whose prompts are to be cancelled."""
        ...

    def backlog(self, endpoints: Collection[str]) -> Backlog:
        """What is left to do for these endpoints."""
        ...


class Worker:
    """One process's share of the queue."""

    def __init__(
        self,
        *,
        info: WorkerInfo,
        store: Store,
        stream: ProbingStream,
        endpoints: Mapping[str, Endpoint],
        dialects: Mapping[str, Dialect],
        options: Options,
        clock: Clock,
        log: Log,
        revive: Callable[[Endpoint], Awaitable[Endpoint]] | None = None,
    ) -> None:
        """revive: brings back an embedded endpoint that does not answer, perhaps elsewhere."""
        self._info = info
        self._store = store
        self._options = options
        self._clock = clock
        self._log = log
        self._stream = stream
        self._watches = {
            name: EndpointWatch(
                endpoint, dialects[endpoint.dialect], stream, clock=clock, log=log, revive=revive
            )
            for name, endpoint in endpoints.items()
        }
        self._carriers = Carriers(clock=clock, log=log, on_end=self.wake)
        self._probes: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._give_up = threading.Event()  # ends waits for the database in the store thread
        self._rescuer = Rescuer(
            store,
            info.id,
            lease_seconds=options.lease_seconds,
            max_crashes=options.max_crashes,
            clock=clock,
            log=log,
        )
        self._wake = asyncio.Event()
        self._waker: Waker | None = None
        self._hurry = asyncio.Event()
        self._store_thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._database = Availability(log)
        self.summary = self._carriers.summary

    # --- from outside

    def wake(self) -> None:
        """There may be something to claim."""
        self._wake.set()

    def stop(self) -> None:
        """First call: claim no more, let streams run for the grace.  Second: hand back now."""
        if self._stopping:
            self._hurry.set()
        self._stopping = True
        self._give_up.set()
        self._wake.set()

    @property
    def watches(self) -> Mapping[str, EndpointWatch]:
        """Each endpoint with its circuit breaker."""
        return self._watches

    @property
    def carried(self) -> int:
        """Runs under way."""
        return len(self._carriers)

    # --- the life of a worker

    async def run(self, *, drain: bool = False) -> Summary:
        """Work until stopped, or, with `drain`, until nothing is left to do.

        Raises:
            StoreBroken: the database cannot be used as it is.
        """
        sent_at = self._clock.monotonic()
        await self._in_store(lambda: self._store.register(self._info, self._options.lease_seconds))
        keeper = LeaseKeeper(
            self._store,
            self._info,
            Lease(self._options.lease_seconds, sent_at=sent_at),
            clock=self._clock,
            log=self._log,
            on_lapse=partial(_call_in, asyncio.get_running_loop(), self._lease_lapsed),
        )
        committer = Committer(
            self._store,
            self._info.id,
            availability=self._database,
            gather_seconds=self._options.gather_seconds,
        )
        if self._options.listen:
            on_wake = partial(_call_in, asyncio.get_running_loop(), self.wake)
            self._waker = Waker(self._store, on_wake=on_wake, log=self._log)
        self._log("worker_started", worker_id=self._info.id, endpoints=sorted(self._watches))
        try:
            await self._work(self._rooms(committer), keeper.lease, drain=drain)
        except StoreBusy:
            self._log("worker_stopped_without_database")
        except SpoolError:
            self._hurry.set()  # this worker cannot work: hand back what it holds now
            raise
        finally:
            await self._shut_down(committer, keeper)
        return self.summary

    def _rooms(self, committer: Committer) -> Rooms:
        return Rooms(
            stream=self._stream,
            submit=committer.submit,
            clock=self._clock,
            limits=self._options.limits,
            budget=Budget(self._options.worker_buffer_bytes),
            max_frame_bytes=self._options.max_frame_bytes,
        )

    async def _work(self, rooms: Rooms, lease: Lease, *, drain: bool) -> None:
        sweep_at = poll_at = self._clock.monotonic()
        while not self._stopping:
            self._wake.clear()
            now = self._clock.monotonic()
            if now >= poll_at:
                poll_at = now + self._options.poll_seconds
                await self._poll()
            if now >= sweep_at and lease.valid:
                if now >= sweep_at + self._options.lease_seconds:
                    self._rescuer.disturbed()  # this process was stopped, or the machine slept
                sweep_at = now + self._options.lease_seconds / 3
                await self._in_store(partial(self._rescuer.sweep, self._carriers.run_ids))
            claimed = await self._claim(rooms) if lease.valid else 0
            if drain and not claimed and not self._carriers and await self._nothing_left():
                return
            if not claimed:
                await self._sleep(self._options.poll_seconds)

    async def _poll(self) -> None:
        """What has to be asked for: cancel requests; probes that are due."""
        for watch in self._watches.values():
            if watch.probe_due():
                probe = asyncio.create_task(watch.probe(self.wake))
                self._probes.add(probe)
                probe.add_done_callback(self._probes.discard)
        if not self._carriers:
            return
        run_ids = await self._in_store(partial(self._store.cancel_requests, self._info.id))
        self._carriers.stop(Cancelled("cancelled by its owner"), run_ids)

    async def _claim(self, rooms: Rooms) -> int:
        """Fill the free slots of every endpoint; how many prompts were claimed."""
        claimed = 0
        for name, watch in self._watches.items():
            limit = min(watch.slots(self._carriers.at(name)), CLAIM_MAX)
            if not limit or self._stopping:
                continue
            claim = partial(
                self._store.claim,
                self._info.id,
                name,
                limit,
                dialect=watch.dialect.name,
                model=watch.endpoint.model,
                max_attempts=self._options.max_attempts,
            )
            runs = await self._in_store(claim)
            for run in runs:
                self._carriers.start(run, watch, rooms)
            claimed += len(runs)
        return claimed

    async def _nothing_left(self) -> bool:
        backlog = await self._in_store(lambda: self._store.backlog(sorted(self._watches)))
        return not (backlog.ready or backlog.later or backlog.running)

    # --- the end

    def _lease_lapsed(self) -> None:
        """Abort the streams; what they hold is still offered to the fence, and charges nobody."""
        self._carriers.stop(
            LeaseLost(
                "the lease could not be renewed in time",
                verdict=Verdict.RETRY_LATER,
                charged=False,
            )
        )

    async def _shut_down(self, committer: Committer, keeper: LeaseKeeper) -> None:
        """Let streams run for the grace, then flush and hand back; leave no row behind."""
        self._stopping = True
        self._give_up.set()
        if self._carriers:
            self._log("worker_draining", runs=len(self._carriers))
            await self._carriers.ended(self._options.shutdown_grace_seconds, self._hurry.wait())
        self._carriers.stop(ShutDown("handed back: the worker was told to stop", charged=False))
        await self._carriers.ended(HAND_BACK_SECONDS)
        committer.give_up()
        await self._carriers.ended(HAND_BACK_SECONDS)
        await committer.close(patience_seconds=HAND_BACK_SECONDS)
        keeper.stop()
        if self._waker:
            await asyncio.to_thread(self._waker.stop)
        try:
            await self._in_store(lambda: self._store.sign_off(self._info.id))
        except StoreError as error:
            self._log("sign_off_failed", error=error.message)
        self._store_thread.shutdown(wait=False)
        self._log("worker_stopped", completed=self.summary.completed, failed=self.summary.failed)

    # --- waiting

    async def _in_store(self, work: Callable[[], T]) -> T:
        """Do one transaction in the store thread; wait for an absent database until stopped."""

        def away(error: SpoolError) -> None:
            self._database.went_away(error)
            # Every worker had two thirds of its lease left: a short outage ends nobody's.
            if self._clock.monotonic() - began_at > self._options.lease_seconds / 3:
                self._rescuer.disturbed()

        def patiently() -> T:
            result = retry.database(work, give_up=self._give_up, on_wait=away)
            self._database.came_back()
            return result

        began_at = self._clock.monotonic()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._store_thread, patiently)

    async def _sleep(self, seconds: float) -> None:
        """Until something may have changed, or for so long."""
        await first_of(self._wake.wait(), self._clock.sleep(seconds))


def _call_in(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(callback)
