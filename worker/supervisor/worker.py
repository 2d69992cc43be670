"""Claims while there is room, keeps the lease, drains on SIGTERM.

A `Worker` is one process's share of the queue.  Its coroutine claims, one task
a run carries (`pipeline.carry`), and threads stand beside it: the committer's,
the two of the lease keeper, the waker's, and one in which claims and sweeps run
one after the other.  No transaction is open while anything is awaited.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from worker import retry
from worker.clock import Clock
from worker.endpoints.brake import Room
from worker.endpoints.canary import ProbingStream
from worker.endpoints.monitor import EndpointMonitor
from worker.endpoints.telling import Telling, never_worked
from worker.errors import Cancelled, LeaseLost, ShutDown, StoreBusy, StoreError
from worker.events import Event, Log
from worker.records import Endpoint, Run, WorkerInfo
from worker.run.buffer import Budget
from worker.run.context import RunContext
from worker.run.continuation import Continuations
from worker.supervisor.active_runs import ActiveRuns, Summary, first_of
from worker.supervisor.availability import Availability
from worker.supervisor.committer import Committer
from worker.supervisor.lease import Lease, LeaseKeeper
from worker.supervisor.notifier import Notifier
from worker.supervisor.options import Options, StorePort, WorkerHealth
from worker.supervisor.rescue import SWEEPS_PER_LEASE, Rescuer
from worker.wire.events import Dialect

T = TypeVar("T")

HAND_BACK_SECONDS = 10.0  # after the grace: how long an absent database is waited for
CLAIM_MAX = 500  # prompts in one claim; the rest follows at once
LOOK_SECONDS_MAX = 1.0  # between two looks for cancel requests and canaries that are due
LOOK_SECONDS_MIN = 0.25
_STORE_THREAD = "store"


class Worker:
    """One process's share of the queue."""

    def __init__(
        self,
        *,
        info: WorkerInfo,
        store: StorePort,
        stream: ProbingStream,
        endpoints: Mapping[str, Endpoint],
        dialects: Mapping[str, Dialect],
        options: Options,
        clock: Clock,
        log: Log,
        revive: Callable[[Endpoint], Awaitable[tuple[Endpoint, bool]]] | None = None,
    ) -> None:
        """revive: brings back an embedded endpoint that does not answer, perhaps elsewhere; and
        says whether it had died.
        """
        self._info = info
        self._store = store
        self._options = options
        self._clock = clock
        self._log = log
        self._stream = stream
        self._watches = {
            name: EndpointMonitor(
                endpoint, dialects[endpoint.dialect], stream, clock=clock, log=log, revive=revive
            )
            for name, endpoint in endpoints.items()
        }
        self._telling = Telling(store, info.id, self._watches, clock=clock)
        self._carriers = ActiveRuns(
            clock=clock, log=log, on_room=self.wake, max_runs=options.max_runs
        )
        self._probes: set[asyncio.Task[None]] = set()
        self._stopping = threading.Event()  # also ends waits for the database
        self._rescuer = Rescuer(
            store,
            info,
            lease_seconds=options.lease_seconds,
            max_crashes=options.max_crashes,
            clock=clock,
            log=log,
        )
        self._lease: Lease | None = None
        self._wake = asyncio.Event()
        self._must_ask = False  # which runs are still this worker's, after a lapse of its lease
        self._waker: Notifier | None = None
        self._hurry = asyncio.Event()
        self._store_thread = ThreadPoolExecutor(1, thread_name_prefix=_STORE_THREAD)
        self._threads: tuple[threading.Thread, ...] = ()
        self._database = Availability(log)
        self.summary = self._carriers.summary

    # --- from outside

    def wake(self) -> None:
        """There may be something to claim."""
        self._wake.set()

    def stop(self) -> None:
        """First call: claim no more, let streams run for the grace.  Second: hand back now."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()
        self._wake.set()

    @property
    def watches(self) -> Mapping[str, EndpointMonitor]:
        """Each endpoint with its circuit breaker."""
        return self._watches

    @property
    def carried(self) -> int:
        """Runs under way."""
        return len(self._carriers)

    def health(self) -> WorkerHealth:
        """How this worker is; may be asked from any thread."""
        now, lease = self._clock.monotonic(), self._lease
        return WorkerHealth(
            renewed_seconds_ago=None if lease is None else now - lease.renewed_at,
            lease_valid=lease is not None and lease.valid,
            database_away=self._database.away,
            stopping=self._stopping.is_set(),
            runs=len(self._carriers),
        )

    # --- the life of a worker

    async def run(self, *, drain: bool = False) -> Summary:
        """Work until stopped, or, with `drain`, until nothing is left to do.

        Raises:
            StoreBroken: the database cannot be used as it is.
            Refused: with `drain`, an endpoint has never answered anybody.
        """
        try:
            sent_at = await self._in_store(self._register)
        except StoreBusy:
            self._log(Event.WORKER_STOPPED_WITHOUT_DATABASE)
            return self.summary
        in_loop = asyncio.get_running_loop().call_soon_threadsafe
        self._lease = Lease(self._options.lease_seconds, sent_at=sent_at)
        keeper = LeaseKeeper(
            self._store,
            self._info,
            self._lease,
            clock=self._clock,
            log=self._log,
            on_return=partial(in_loop, self._lease_returned),
            on_broken=lambda error: in_loop(self._broke, error),
            turn=in_loop,
        )
        committer = Committer(
            self._store,
            self._info.id,
            availability=self._database,
            gather_seconds=self._options.gather_seconds,
            clock=self._clock,
        )
        if self._options.listen:
            on_wake = partial(in_loop, self.wake)
            self._waker = Notifier(self._store, on_wake=on_wake, log=self._log)
        self._log(Event.WORKER_STARTED, worker_id=self._info.id, endpoints=sorted(self._watches))
        try:
            self._threads = (committer.thread, *keeper.threads)
            await self._work(self._rooms(committer), keeper.lease, drain=drain)
        except StoreBusy:
            pass  # told to stop while the database was away: the end says what became of it
        except BaseException:
            self._hurry.set()  # this worker cannot work: hand back what it holds now
            raise
        finally:
            await self._shut_down(committer, keeper)
        return self.summary

    def _register(self) -> float:
        """Write the worker's row; when that was sent."""
        sent_at = self._clock.monotonic()
        self._store.register(self._info, self._options.lease_seconds)
        return sent_at

    def _rooms(self, committer: Committer) -> RunContext:
        return RunContext(
            stream=self._stream,
            submit=committer.submit,
            hurry=committer.hurry,
            clock=self._clock,
            limits=self._options.limits,
            budget=Budget(self._options.worker_buffer_bytes),
            max_frame_bytes=self._options.max_frame_bytes,
            planner=Continuations(self._store, self._in_store, self._stream, clock=self._clock),
        )

    async def _work(self, rooms: RunContext, lease: Lease, *, drain: bool) -> None:
        options = self._options
        look_seconds = max(LOOK_SECONDS_MIN, min(options.limits.flush_seconds, LOOK_SECONDS_MAX))
        look_at = sweep_at = claim_at = self._clock.monotonic()
        await self._telling.hear(self._in_store, at_start=True)
        while not self._stopping.is_set():
            now = self._clock.monotonic()
            if self._carriers.broken is not None:
                raise self._carriers.broken
            if now >= look_at:
                look_at = now + look_seconds
                await self._look()
            if now >= sweep_at or self._must_ask:
                self._must_ask = False
                sweep_at = now + options.lease_seconds / SWEEPS_PER_LEASE
                if lease.valid:
                    await self._sweep()
            if now >= claim_at or self._wake.is_set():
                self._wake.clear()
                claimed = await self._claim(rooms) if lease.valid else 0
                if drain and not claimed and not self._carriers and await self._nothing_left():
                    return
                claim_at = now if claimed else self._claim_at(now + options.poll_seconds)
            await self._sleep(max(0.0, min(look_at, sweep_at, claim_at) - self._clock.monotonic()))

    async def _sweep(self) -> None:
        sweep = partial(self._rescuer.sweep, self._carriers.nonces)
        lost = await self._in_store(sweep)
        self._carriers.stop(LeaseLost("the run is not this worker's any more"), lost)

    def _lease_returned(self) -> None:
        """The lease had lapsed: ask at once which runs are still this worker's."""
        self._must_ask = True
        self.wake()

    def _broke(self, error: StoreError) -> None:
        """The lease cannot be renewed until a person helps: end with that reason."""
        self._carriers.broken = self._carriers.broken or error
        self.wake()

    def _claim_at(self, poll_at: float) -> float:
        """When to claim again: at the next poll, or when an endpoint's `Retry-After` is over."""
        now = self._clock.monotonic()
        pauses = (watch.breaker.waits_until for watch in self._watches.values())
        return min((at for at in pauses if now < at < poll_at), default=poll_at)

    async def _look(self) -> None:
        """What nobody sends, and has to be looked after every second or so."""
        if not all(each.is_alive() for each in self._threads):
            raise StoreError("a thread of this worker that stores or renews has died")
        self._send_canaries()
        await self._telling.look(self._in_store)
        await self._obey_cancel_requests()

    def _send_canaries(self) -> None:
        for watch in self._watches.values():
            if watch.canary_due():
                probe = asyncio.create_task(watch.probe(self.wake))
                self._probes.add(probe)
                probe.add_done_callback(self._probes.discard)

    async def _obey_cancel_requests(self) -> None:
        if not self._carriers:
            return
        run_ids = await self._in_store(partial(self._store.cancel_requests, self._info.id))
        self._carriers.stop(Cancelled("cancelled by its owner"), run_ids)

    async def _claim(self, rooms: RunContext) -> int:
        """Fill the free slots of every endpoint; how many prompts were claimed."""
        claimed = 0
        for watch in self._watches.values():
            room = watch.room()
            if not room.limit or self._stopping.is_set():
                continue
            runs = await self._in_store(partial(self._claim_for, watch, room))
            known = [run.id for run in runs if not self._carriers.start(run, watch, rooms)]
            if known:  # ids come again after the database went back: the old runs are lost there
                self._carriers.stop(LeaseLost("the database gave its id to another run"), known)
                await self._sweep()
            if self._stopping.is_set():  # told so while the database answered
                self._carriers.stop(_told_to_stop(), [run.id for run in runs])
            claimed += len(runs)
        return claimed

    def _claim_for(self, watch: EndpointMonitor, room: Room) -> Sequence[Run]:
        return self._store.claim(
            self._info.id,
            watch.endpoint.name,
            min(room.limit, CLAIM_MAX),
            dialect=watch.dialect.name,
            model=watch.endpoint.model,
            max_attempts=self._options.max_attempts,
            max_crashes=self._options.max_crashes,
            suspects=room.suspects,
            without=room.without,
        )

    async def _nothing_left(self) -> bool:
        """Whether draining is over.

        Raises:
            Refused: what is left is for an endpoint that has never answered anybody.
        """
        hopeless = {name for name, watch in self._watches.items() if watch.breaker.never_worked}
        if await self._is_left(self._watches.keys() - hopeless):
            return False
        for name in sorted(hopeless):
            if await self._is_left({name}):
                raise never_worked(self._watches[name])
        return True

    async def _is_left(self, endpoints: Collection[str]) -> bool:
        backlog = await self._in_store(lambda: self._store.backlog(sorted(endpoints)))
        return bool(backlog.ready or backlog.later or backlog.running)

    # --- the end

    async def _shut_down(self, committer: Committer, keeper: LeaseKeeper) -> None:
        """Let streams run for the grace, then flush and hand back; leave no row behind."""
        self._stopping.set()
        if self._carriers:
            self._log(Event.WORKER_DRAINING, runs=len(self._carriers))
            self._probes.add(asyncio.create_task(self._say_leaving()))
            await self._carriers.ended(self._options.shutdown_grace_seconds, self._hurry.wait())
        self._carriers.stop(_told_to_stop())
        await self._carriers.ended(HAND_BACK_SECONDS)
        committer.give_up()
        await self._carriers.ended(HAND_BACK_SECONDS)
        await committer.close(patience_seconds=HAND_BACK_SECONDS)
        await self._stop_asking()
        keeper.stop()
        if self._waker:
            await asyncio.to_thread(self._waker.stop)
        try:
            await self._take_leave()
        except StoreError as error:
            self._log(Event.SIGN_OFF_FAILED, error=error.message)
        await asyncio.to_thread(self._store_thread.shutdown)
        summary = self.summary
        self._log(Event.WORKER_STOPPED, completed=summary.completed, failed=summary.failed)

    async def _say_leaving(self) -> None:
        """Who kills this worker from now on ends a shutdown, and causes no crash."""
        with suppress(StoreError):  # the end says whether the database is away
            await self._in_store(partial(self._store.leave, self._info.id))

    async def _stop_asking(self) -> None:
        for probe in self._probes:
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        for watch in self._watches.values():
            await watch.canaries.close()

    async def _take_leave(self) -> None:
        """A stumble of the database must leave no row behind; its absence is not waited out."""
        enough = threading.Event()
        if self._database.away:
            enough.set()
        leaving = asyncio.ensure_future(self._in_store(self._leave, give_up=enough))
        await first_of(asyncio.wait({leaving}), self._clock.sleep(HAND_BACK_SECONDS))
        enough.set()
        await leaving

    def _leave(self) -> None:
        """Whatever this worker still owns, by a lost answer or a late one, is nobody's crash."""
        self._rescuer.hand_back({})
        self._telling.share()
        self._store.sign_off(self._info.id)

    # --- waiting

    async def _in_store(
        self, work: Callable[[], T], *, give_up: threading.Event | None = None
    ) -> T:
        """Do one transaction in the store thread; wait for an absent database until stopped."""

        def patiently() -> T:
            on_wait = partial(self._database.went_away, _STORE_THREAD)
            result = retry.database(work, give_up=give_up or self._stopping, on_wait=on_wait)
            self._database.came_back(_STORE_THREAD)
            return result

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._store_thread, patiently)

    async def _sleep(self, seconds: float) -> None:
        """Until something may have changed, or for so long."""
        await first_of(self._wake.wait(), self._clock.sleep(seconds))


def _told_to_stop() -> ShutDown:
    return ShutDown("handed back: the worker was told to stop", charged=False)
