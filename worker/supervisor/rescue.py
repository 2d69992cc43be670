"""Takes back what dead workers held; sees what this worker owns without carrying it, or carries
without owning it.

Part of every worker's loop, so that nothing waits for a human or for a special
process.  The guards are in the UPDATE itself (`Store.rescue`); this room only
decides when rescuing is fair.  After an outage of the database, after a machine
slept, or after the clock by which leases run was set, every lease may have run
out although its worker is alive: then a whole lease passes before anybody is
declared dead.  Such a time shows in the sweeps themselves: they come every
`SWEEPS_PER_LEASE`th of a lease, unless something held them up.  A process that has
just started has seen nothing yet, so it waits as long.  Two clocks are
asked: ours, which only goes forward but sleeps with this machine, and the database's.
They are asked in the transaction that rescues, for on SQLite it may have waited as
long as everybody's renewal for a process that was stopped in the middle of a write.

A worker whose process on this host is gone is dead at once (process_identity.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from math import inf
from typing import Protocol

from worker.clock import Clock
from worker.errors import ErrorCode
from worker.events import Event, Log
from worker.records import Chunk, Ending, Neighbour, Owned, Refusals, Rescued, WorkerInfo
from worker.states import PromptEvent, RunEvent
from worker.supervisor import process_identity

SWEEP_ROWS = 100
SWEEPS_PER_LEASE = 3


class RescueStore(Protocol):
    """What the rescuer needs of the store."""

    def rescue(
        self,
        worker_id: str,
        *,
        max_crashes: int,
        limit: int,
        fair: Callable[[datetime], bool],
        dead: Collection[str],
    ) -> Sequence[Rescued]:
        """Interrupt runs of other workers whose lease ran out, if it is fair once it may write;
        and those of the dead.
        """
        ...

    def neighbours(self, worker_id: str, host: str) -> Sequence[Neighbour]:
        """Other workers on this host that hold a lease and say which process they are."""
        ...

    def take_back_crashes(self, worker_id: str, run_ids: Collection[int]) -> None:
        """These runs were rescued although their worker lives: they count as no crash."""
        ...

    def owned(self, worker_id: str) -> Mapping[int, Owned]:
        """The streaming runs of one worker."""
        ...

    def strays(self, worker_id: str) -> frozenset[int]:
        """Of those, the runs whose prompt is not theirs any more."""
        ...

    def cancel_queued(self) -> int:
        """Cancel queued prompts that ask for it."""
        ...

    def commit(
        self, worker_id: str, chunks: Sequence[Chunk], endings: Sequence[Ending]
    ) -> Refusals:
        """One fenced transaction."""
        ...


class Rescuer:
    """Sweeps for one worker, in a store thread."""

    def __init__(
        self,
        store: RescueStore,
        worker: WorkerInfo,
        *,
        lease_seconds: float,
        max_crashes: int,
        clock: Clock,
        log: Log,
        has_died: Callable[[int, object], bool] = process_identity.has_died,
    ) -> None:
        self._store = store
        self._worker_id = worker.id
        self._host = worker.host
        self._has_died = has_died
        self._lease_seconds = lease_seconds
        self._max_crashes = max_crashes
        self._clock = clock
        self._log = log
        self._fair_from = inf  # until the first look
        self._looked_at = clock.monotonic()
        self._looked_at_theirs: datetime | None = None

    def sweep(self, carried: Mapping[int, int | None]) -> frozenset[int]:
        """Do all of it once; `carried` are the runs that this worker really carries, with nonces.

        Returns those of them that are not its own any more.  A stream that speaks learns so from
        its next flush; one that is silent would go on until its deadline.
        """
        self._store.cancel_queued()
        owned = self.hand_back(carried)
        strays = self._store.strays(self._worker_id) if carried else frozenset()
        lost = frozenset(
            run_id
            for run_id, nonce in carried.items()
            if not _is(owned.get(run_id), nonce) or run_id in strays
        )
        if lost:
            self._store.take_back_crashes(self._worker_id, lost)
        self._rescue()
        return lost

    def _is_fair(self, theirs: datetime) -> bool:
        """Whether whoever lives could renew its lease; `theirs` is the time of the database."""
        at = self._clock.monotonic()
        is_first = self._looked_at_theirs is None
        by_theirs = theirs - (self._looked_at_theirs or theirs)
        passed = max(at - self._looked_at, by_theirs.total_seconds())
        self._looked_at, self._looked_at_theirs = at, theirs
        # Every worker had at least two thirds of its lease left: half of one ends nobody's.
        if is_first or passed >= self._lease_seconds / 2:
            self._fair_from = at + self._lease_seconds
        return at >= self._fair_from

    def _rescue(self) -> None:
        neighbours = self._store.neighbours(self._worker_id, self._host)
        dead = [each.id for each in neighbours if self._has_died(each.pid, each.process)]
        more = True
        while more:
            rescued = self._store.rescue(
                self._worker_id,
                max_crashes=self._max_crashes,
                limit=SWEEP_ROWS,
                fair=self._is_fair,
                dead=dead,
            )
            more = len(rescued) == SWEEP_ROWS
            for worker_id in sorted({each.worker_id for each in rescued}):
                runs = [each.run_id for each in rescued if each.worker_id == worker_id]
                self._log(Event.PROMPTS_RESCUED, dead_worker_id=worker_id, runs=runs)

    def hand_back(self, carried: Mapping[int, int | None]) -> Mapping[int, Owned]:
        """A claim or an ending whose answer was lost leaves rows that nobody carries; so does a
        claim that gave an id out again.

        Returns all runs that this worker owns.
        """
        owned = self._store.owned(self._worker_id)
        orphans = {
            run_id: row
            for run_id, row in owned.items()
            if run_id not in carried or row.nonce != carried[run_id]
        }
        if not orphans:
            return owned
        endings = [
            Ending(
                run_id=run_id,
                prompt_id=row.prompt_id,
                run_event=RunEvent.INTERRUPT,
                prompt_event=PromptEvent.REQUEUE,
                error_code=ErrorCode.HANDED_BACK,
                error="the worker owned this run without carrying it and handed it back",
                charged=False,
                chars=None,
                nonce=row.nonce,
            )
            for run_id, row in orphans.items()
        ]
        self._store.commit(self._worker_id, [], endings)
        self._log(Event.PROMPTS_HANDED_BACK, runs=sorted(orphans))
        return owned


def _is(row: Owned | None, nonce: int | None) -> bool:
    """Whether the database has this very run, and not another one of the same id."""
    return row is not None and row.nonce == nonce
