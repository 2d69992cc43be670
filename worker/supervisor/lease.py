"""The worker's lease: one row, renewed by a thread with a connection of its own.

The thread is its own so that neither a blocked event loop nor a full pool can
starve it.  A renewal that fails is "unknown", not "lost": it is tried again, and
again.  The watchdog counts monotonic seconds from the moment the last successful
renewal was *sent*, so it is never later than the database, whatever the clocks do.

A lease that has lapsed pauses the worker and destroys nothing: it claims no prompt, and
its streams go on within the usual bounds.  While the database is away for everybody, no
other worker takes their prompts.  When a renewal succeeds again, the worker asks which
runs are still its own (`on_return`).  The fence in the store holds all the while.

A busy event loop is no reason to give up.  One that has not turned for a whole lease, and
for `STILL_SECONDS_MIN` at least, is stuck: then nothing is renewed, so that other workers
get the prompts.  Only time in which this process itself runs counts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from worker.clock import Clock
from worker.errors import StoreError, Verdict
from worker.events import Event, Log
from worker.records import WorkerInfo

RENEWALS_PER_LEASE = 3
RETRY_SECONDS_MAX = 1.0
WATCH_SECONDS_MAX = 1.0
STILL_SECONDS_MIN = 30.0  # so long an event loop may stand still, however short the lease is


class Lease:
    """What is known of the lease, by several threads.  Told the time, knows no clock."""

    def __init__(self, lease_seconds: float, *, sent_at: float) -> None:
        self.lease_seconds = lease_seconds
        self._lock = threading.Lock()
        self._sent_at = sent_at
        self._next_at = sent_at + lease_seconds / RENEWALS_PER_LEASE
        self.valid = True

    @property
    def renewed_at(self) -> float:
        """When the last successful renewal was sent."""
        return self._sent_at

    @property
    def lapses_at(self) -> float:
        """When the lease must be taken for over."""
        return self._sent_at + self.lease_seconds

    @property
    def next_at(self) -> float:
        """When the next renewal is due."""
        return self._next_at

    def renewed(self, *, sent_at: float) -> bool:
        """The renewal sent at that time succeeded; True if the lease had lapsed before."""
        with self._lock:
            had_lapsed = not self.valid
            self.valid = True
            self._sent_at = sent_at
            self._next_at = sent_at + self.lease_seconds / RENEWALS_PER_LEASE
            return had_lapsed

    def failed(self, *, at: float) -> None:
        """The renewal's fate is unknown: ask again soon."""
        self._next_at = at + min(RETRY_SECONDS_MAX, self.lease_seconds / 10)

    def lapsed(self, *, at: float) -> bool:
        """True once, when the watchdog finds that the lease is over."""
        with self._lock:
            if self.valid and at >= self.lapses_at:
                self.valid = False
                return True
            return False


class Stuck(Exception):
    """The event loop does not turn any more."""


class LeaseStore(Protocol):
    """What the keeper needs of the store."""

    def renew(self, worker_id: str, lease_seconds: float) -> bool:
        """False if the row is gone or signed off."""
        ...

    def register(self, worker: WorkerInfo, lease_seconds: float) -> None:
        """Write the row with a fresh lease."""
        ...


class LeaseKeeper:
    """The thread that renews, and the watchdog that says when the lease is over."""

    def __init__(
        self,
        store: LeaseStore,
        worker: WorkerInfo,
        lease: Lease,
        *,
        clock: Clock,
        log: Log,
        on_return: Callable[[], object],
        on_broken: Callable[[StoreError], object],
        turn: Callable[[Callable[[], None]], object],
    ) -> None:
        """Start both threads.

        Args:
            store: where the worker's row is.
            worker: what the row says.
            lease: the lease as this process knows it.
            clock: for monotonic seconds.
            log: where events go.
            on_return: called in a thread of the keeper when a lease that had lapsed is renewed.
            on_broken: called in a thread of the keeper with an error that only a person can cure.
            turn: has something called by the event loop, when the loop comes round to it.
        """
        self._store = store
        self._worker = worker
        self.lease = lease
        self._clock = clock
        self._log = log
        self._on_return = on_return
        self._on_broken = on_broken
        self._turn = turn
        self._turned = threading.Event()
        self._still_seconds = 0.0
        self._watched_at = clock.monotonic()
        self._stopping = threading.Event()
        self._failing = False
        # The watchdog has a thread of its own: a renewal may hang in a dead connection.
        self.threads = [
            threading.Thread(target=self._renew_for_ever, name="lease", daemon=True),
            threading.Thread(target=self._watch_for_ever, name="lease-watchdog", daemon=True),
        ]
        self._ask_to_turn()
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; the lease itself is signed off by the loop."""
        self._stopping.set()
        self.threads[1].join()
        self.threads[0].join(timeout=RETRY_SECONDS_MAX)

    def _renew_for_ever(self) -> None:
        while not self._stopping.wait(max(0.0, self.lease.next_at - self._clock.monotonic())):
            self.renew_once()

    def _watch_for_ever(self) -> None:
        while not self._stopping.wait(self.watch_in_seconds()):
            self.watch_once()

    def watch_in_seconds(self) -> float:
        """How long the watchdog may sleep: never past the end of the lease."""
        pause_seconds = min(WATCH_SECONDS_MAX, self.lease.lease_seconds / 20)
        left_seconds = self.lease.lapses_at - self._clock.monotonic()
        return min(pause_seconds, left_seconds) if left_seconds > 0 else pause_seconds

    def renew_once(self) -> None:
        """Send one renewal and take note of its fate."""
        sent_at = self._clock.monotonic()
        try:
            if not self._renew():
                return  # this very worker has signed off meanwhile
        except Exception as error:  # noqa: BLE001 - without this thread the worker could not live
            self.lease.failed(at=self._clock.monotonic())
            self._failed(error)
            return
        had_lapsed = self.lease.renewed(sent_at=sent_at)
        if self._failing or had_lapsed:
            self._failing = False
            self._log(Event.LEASE_RENEWED_AGAIN)
        if had_lapsed:
            self._on_return()

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            self._log(Event.LEASE_RENEWAL_FAILED, error=str(error))
        if isinstance(error, StoreError) and error.verdict is Verdict.STOP:
            self._on_broken(error)

    def _renew(self) -> bool:
        if self._still_seconds > max(self.lease.lease_seconds, STILL_SECONDS_MIN):
            raise Stuck(f"the event loop has not turned for {self._still_seconds:.0f} s")
        known = self._store.renew(self._worker.id, self.lease.lease_seconds)
        if not known and self._stopping.is_set():
            return False
        if not known:
            # Somebody removed the row or signed it off.  The fence guards what was done; go on.
            self._store.register(self._worker, self.lease.lease_seconds)
        return True

    def watch_once(self) -> None:
        """Say once that the lease is over, and see whether the event loop turns."""
        now = self._clock.monotonic()
        # A process that was stopped looks late, and its event loop had no chance to turn.
        passed_seconds = min(now - self._watched_at, WATCH_SECONDS_MAX)
        self._watched_at = now
        if self._turned.is_set():
            self._still_seconds = 0.0
            self._ask_to_turn()
        else:
            self._still_seconds += passed_seconds
        if self.lease.lapsed(at=now):
            self._log(Event.LEASE_LAPSED, lease_seconds=self.lease.lease_seconds)

    def _ask_to_turn(self) -> None:
        self._turned.clear()
        self._turn(self._turned.set)
