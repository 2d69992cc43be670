"""The lease: renewed in time, unknown is not lost, and given up before another can own it."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.patience import HANG_SECONDS
from worker.errors import StoreBroken, StoreBusy, StoreError
from worker.records import WorkerInfo
from worker.supervisor.lease import STILL_SECONDS_MIN, Lease, LeaseKeeper

WORKER = WorkerInfo("w1", "host", 1, "0")

# --- what is known of it


def test_it_is_renewed_three_times_while_it_lasts():
    """Two renewals may fail before anybody notices."""
    lease = Lease(30, sent_at=100)
    assert (lease.next_at, lease.lapses_at, lease.valid) == (110, 130, True)
    assert not lease.renewed(sent_at=110)
    assert (lease.next_at, lease.lapses_at) == (120, 140)


def test_it_counts_from_when_the_renewal_was_sent():
    """The answer may take long; the database's own clock started at the earliest then."""
    lease = Lease(30, sent_at=100)
    lease.renewed(sent_at=105)
    assert lease.renewed_at == 105
    assert not lease.lapsed(at=134.9)
    assert lease.lapsed(at=135)


def test_a_failed_renewal_is_unknown_and_asked_again_soon():
    """The lease holds as long as it would have held."""
    lease = Lease(30, sent_at=100)
    lease.failed(at=112)
    assert (lease.next_at, lease.lapses_at, lease.valid) == (113, 130, True)
    short = Lease(3, sent_at=100)
    short.failed(at=101)
    assert short.next_at == pytest.approx(101.3)


def test_it_lapses_once():
    """It is reported once, not at every look of the watchdog."""
    lease = Lease(30, sent_at=100)
    assert [lease.lapsed(at=at) for at in (129, 130, 131)] == [False, True, False]
    assert not lease.valid


def test_after_it_lapsed_a_renewal_makes_it_valid_again():
    """And says that it had lapsed; the next lapse counts anew."""
    lease = Lease(30, sent_at=100)
    lease.lapsed(at=130)
    assert lease.renewed(sent_at=140)
    assert lease.valid
    assert lease.lapsed(at=170)


# --- the keeper


class Store:
    """Renews as a test tells it to."""

    def __init__(self) -> None:
        self.known = True
        self.error: Exception | None = None
        self.calls: list[str] = []
        self.called = threading.Event()
        self.slow: threading.Event | None = None

    def renew(self, worker_id: str, lease_seconds: float) -> bool:
        self.calls.append("renew")
        self.called.set()
        if self.slow:
            assert self.slow.wait(HANG_SECONDS)
        if self.error:
            raise self.error
        return self.known

    def register(self, worker: WorkerInfo, lease_seconds: float) -> None:
        self.calls.append("register")
        self.known = True


class Kept:
    """A keeper whose threads sleep for hours, driven by hand."""

    def __init__(
        self, lease_seconds: float, *, sent_at: float | None = None, hangs: bool = False
    ) -> None:
        self.clock = FakeClock()
        self.store = Store()
        self.store.slow = threading.Event() if hangs else None
        self.said: list[str] = []
        self.returns = 0
        self.broken: list[StoreError] = []
        self.turns = True  # whether the event loop does
        self.lapsed = threading.Event()
        sent_at = self.clock.monotonic() if sent_at is None else sent_at
        self.lease = Lease(lease_seconds, sent_at=sent_at)
        self.keeper = LeaseKeeper(
            self.store,
            WORKER,
            self.lease,
            clock=self.clock,
            log=self.log,
            on_return=self.come_back,
            on_broken=self.broken.append,
            turn=lambda turned: turned() if self.turns else None,
        )

    def log(self, event: str, **_: object) -> None:
        self.said.append(event)
        if event == "lease_lapsed":
            self.lapsed.set()

    def come_back(self) -> None:
        self.returns += 1

    def watch(self, seconds: int) -> None:
        """Let so much time pass, as the watchdog sees it."""
        for _ in range(seconds):
            self.clock.move(1)
            self.keeper.watch_once()


@contextmanager
def kept(lease_seconds: float = 36_000, **given):
    it = Kept(lease_seconds, **given)
    try:
        yield it
    finally:
        if it.store.slow:
            it.store.slow.set()
        it.keeper.stop()


def test_a_renewal_moves_the_lease():
    """From the moment at which it was sent."""
    with kept() as it:
        it.clock.move(100)
        it.keeper.renew_once()
        assert it.lease.lapses_at == it.clock.monotonic() + 36_000
        assert (it.store.calls, it.said) == (["renew"], [])


def test_a_lease_outlasts_any_generation():
    """Half an hour at 30 s, and every third renewal fails at first: it is never over for a moment."""
    with kept() as it:
        renewals = 0
        for _ in range(60 * 30):
            it.clock.move(36_000 / 30)
            if it.clock.monotonic() >= it.lease.next_at:
                renewals += 1
                it.store.error = None if renewals % 3 else StoreBusy("away")
                it.keeper.renew_once()
            it.keeper.watch_once()
            assert it.clock.monotonic() < it.lease.lapses_at
        assert renewals > 60 * 3
        assert "lease_lapsed" not in it.said


@pytest.mark.parametrize("lease_seconds", [3, 90])
def test_an_event_loop_that_does_not_turn_for_a_lease_loses_it_and_a_busy_one_does_not(
    lease_seconds,
):
    """An endless loop in the wrong place must not keep its prompts from everybody else."""
    allowed = int(max(lease_seconds, STILL_SECONDS_MIN))
    with kept() as it:
        it.lease.lease_seconds = lease_seconds
        it.turns = False
        it.keeper.watch_once()  # the last turn that was asked for has come
        it.watch(allowed)
        it.keeper.renew_once()
        assert (it.store.calls, it.said) == (["renew"], ["lease_lapsed", "lease_renewed_again"])
        it.watch(1)
        it.store.calls.clear()
        it.said.clear()
        it.keeper.renew_once()
        assert (it.store.calls, it.said) == ([], ["lease_renewal_failed"])
        it.turns = True
        it.keeper._turned.set()
        it.watch(1)
        it.keeper.renew_once()
        assert it.store.calls == ["renew"]


def test_time_in_which_the_process_was_stopped_is_not_held_against_its_event_loop():
    """A laptop that wakes up renews at once, instead of finding itself stuck."""
    with kept() as it:
        it.turns = False
        it.keeper.watch_once()
        it.clock.move(3600)
        it.keeper.watch_once()
        it.keeper.renew_once()
        assert it.store.calls == ["renew"]


def test_what_only_a_person_can_cure_is_handed_to_the_worker():
    """A right that was taken away, a table that is gone: a worker that cannot renew must end."""
    with kept() as it:
        it.store.error = StoreBusy("away")
        it.keeper.renew_once()
        assert it.broken == []
        it.store.error = StoreBroken("permission denied")
        it.keeper.renew_once()
        assert [str(error) for error in it.broken] == ["permission denied"]


def test_failures_are_said_once_and_so_is_the_recovery():
    """A person reads two lines of an outage, not two hundred."""
    with kept() as it:
        it.store.error = StoreBusy("away")
        for _ in range(5):
            it.clock.move(1)
            it.keeper.renew_once()
        assert it.lease.next_at == it.clock.monotonic() + 1
        it.store.error = None
        it.keeper.renew_once()
        it.keeper.renew_once()
        assert it.said == ["lease_renewal_failed", "lease_renewed_again"]
        assert it.returns == 0


def test_a_surprise_does_not_end_the_renewals():
    """An exception that nobody foresaw is a failed renewal, not the silent end of the thread."""
    with kept() as it:
        it.store.error = RuntimeError("a bug")
        it.keeper.renew_once()
        assert it.said == ["lease_renewal_failed"]
        assert it.lease.valid


def test_a_row_that_somebody_removed_is_written_anew():
    """So is one that somebody signed off: the fence guards the runs, and the worker goes on."""
    with kept() as it:
        it.store.known = False
        it.keeper.renew_once()
        assert it.store.calls == ["renew", "register"]
        assert it.lease.valid


def test_a_worker_that_signed_off_is_not_brought_back_by_a_late_renewal():
    """The renewal hung while the worker ended; its row stays signed off."""
    with kept() as it:
        it.keeper.stop()
        it.store.known = False
        it.keeper.renew_once()
        assert it.store.calls == ["renew"]


def test_a_lapse_is_reported_once_and_so_is_the_return():
    """Though no renewal ever failed: it hung.  After it, the worker asks what is still its own."""
    with kept() as it:
        it.clock.move(35_999)
        it.keeper.watch_once()
        assert it.said == []
        it.clock.move(1)
        it.keeper.watch_once()
        it.keeper.watch_once()
        assert (it.returns, it.said, it.lease.valid) == (0, ["lease_lapsed"], False)
        it.keeper.renew_once()
        it.keeper.renew_once()
        assert it.returns == 1
        assert it.said == ["lease_lapsed", "lease_renewed_again"]
        assert it.lease.valid


def test_the_watchdog_never_sleeps_past_the_end_of_the_lease():
    """Another worker may take the prompts at that very moment."""
    with kept(30) as it:
        assert it.keeper.watch_in_seconds() == 1.0
        it.clock.move(29.75)
        assert it.keeper.watch_in_seconds() == 0.25
        it.clock.move(10)
        assert it.keeper.watch_in_seconds() == 1.0
    with kept(3) as it:
        assert it.keeper.watch_in_seconds() == pytest.approx(0.15)


def test_the_threads_renew_and_watch_by_themselves():
    """A renewal that hangs in a dead connection keeps nobody from noticing the end."""
    with kept(0.01, sent_at=0, hangs=True) as it:
        assert it.store.called.wait(HANG_SECONDS)
        assert it.lapsed.wait(HANG_SECONDS)
        assert it.said == ["lease_lapsed"]


def test_stopping_does_not_wait_for_a_renewal_that_hangs(monkeypatch):
    """Its thread is a daemon; the worker has to end in time."""
    monkeypatch.setattr("worker.supervisor.lease.RETRY_SECONDS_MAX", 0.01)
    with kept(36_000, sent_at=-36_000, hangs=True) as it:
        assert it.store.called.wait(HANG_SECONDS)
        it.keeper.stop()
        assert it.store.slow is not None
        assert not it.store.slow.is_set()
