"""Takes back what dead workers held, and what this worker owns without carrying it.

Part of every worker's loop, so that nothing waits for a human or for a special
process.  The guards are in the UPDATE itself (`Store.rescue`); this room only
decides when rescuing is fair.  After an outage of the database, or after this
machine slept, every lease may have run out although its worker is alive: then
a whole lease passes before anybody is declared dead.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from worker.clock import Clock
from worker.committer import Log
from worker.errors import ErrorCode
from worker.records import Chunk, Ending, Rescued
from worker.states import PromptEvent, RunEvent

SWEEP_ROWS = 100


class RescueStore(Protocol):
    """What the rescuer needs of the store."""

    def rescue(self, *, max_crashes: int, limit: int = 100) -> Sequence[Rescued]:
        """Interrupt runs of workers whose lease ran out."""
        ...

    def owned(self, worker_id: str) -> dict[int, int]:
        """Run id -> prompt id of the streaming runs of one worker."""
        ...

    def cancel_queued(self) -> int:
        """Cancel queued prompts that ask for it."""
        ...

    def commit(
        self, worker_id: str, chunks: Sequence[Chunk], endings: Sequence[Ending]
    ) -> frozenset[int]:
        """One fenced transaction."""
        ...


class Rescuer:
    """Sweeps for one worker; every method but `disturbed` runs in a store thread."""

    def __init__(
        self,
        store: RescueStore,
        worker_id: str,
        *,
        lease_seconds: float,
        max_crashes: int,
        clock: Clock,
        log: Log,
    ) -> None:
        self._store = store
        self._worker_id = worker_id
        self._lease_seconds = lease_seconds
        self._max_crashes = max_crashes
        self._clock = clock
        self._log = log
        self._fair_from = clock.monotonic()

    def disturbed(self) -> None:
        """The database was away or time jumped: give living workers one lease to come back."""
        self._fair_from = self._clock.monotonic() + self._lease_seconds

    def sweep(self, carried: Collection[int]) -> None:
        """Do all of it once; `carried` are the runs that this worker really carries."""
        self._store.cancel_queued()
        self._hand_back_orphans(carried)
        if self._clock.monotonic() >= self._fair_from:
            self._rescue()

    def _rescue(self) -> None:
        more = True
        while more:
            rescued = self._store.rescue(max_crashes=self._max_crashes, limit=SWEEP_ROWS)
            more = len(rescued) == SWEEP_ROWS
            for worker_id in sorted({each.worker_id for each in rescued}):
                runs = [each.run_id for each in rescued if each.worker_id == worker_id]
                self._log("prompts_rescued", dead_worker_id=worker_id, runs=runs)

    def _hand_back_orphans(self, carried: Collection[int]) -> None:
        """A claim or an ending whose answer was lost leaves rows that nobody carries."""
        owned = self._store.owned(self._worker_id)
        orphans = {run_id: owned[run_id] for run_id in owned if run_id not in carried}
        if not orphans:
            return
        endings = [
            Ending(
                run_id=run_id,
                prompt_id=prompt_id,
                run_event=RunEvent.INTERRUPT,
                prompt_event=PromptEvent.REQUEUE,
                error_code=ErrorCode.ORPHANED,
                error="the worker owned this run without carrying it and handed it back",
                charged=False,
            )
            for run_id, prompt_id in orphans.items()
        ]
        self._store.commit(self._worker_id, [], endings)
        self._log("prompts_orphaned", runs=sorted(orphans))
