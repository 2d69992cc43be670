"""Taking back what dead workers held, when that is fair, and what this one does not carry."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.fakes.clock import FakeClock
from worker.errors import ErrorCode, StoreBusy
from worker.records import Ending, Neighbour, Owned, Refusals, Rescued, WorkerInfo
from worker.states import PromptEvent, PromptState, RunEvent
from worker.supervisor.rescue import SWEEP_ROWS, Rescuer

LEASE = 30.0


class Store:
    """Hands out rescued runs, takes endings, and has a clock of its own."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.ahead_seconds = 0.0
        self.mine: dict[int, int] = {}
        self.taken_away: frozenset[int] = frozenset()
        self.dead: list[Rescued] = []
        self.next_door: list[Neighbour] = []
        self.buried: list[str] = []
        self.calls: list[str] = []
        self.endings: list[Ending] = []
        self.errors: list[Exception] = []
        self.taken_back: list[frozenset[int]] = []
        self.slow = lambda: None
        self.locked = lambda: None  # happens before the rescue holds the write lock

    def rescue(self, worker_id, *, max_crashes: int, limit: int, fair, dead) -> list[Rescued]:
        assert (worker_id, max_crashes) == ("w1", 3)
        self.locked()
        self.buried += dead
        if not fair(self.clock.now() + timedelta(seconds=self.ahead_seconds)):
            return []
        self.calls.append("rescue")
        rescued, self.dead = self.dead[:limit], self.dead[limit:]
        return rescued

    def neighbours(self, worker_id: str, host: str) -> list[Neighbour]:
        assert (worker_id, host) == ("w1", "here")
        return self.next_door

    def take_back_crashes(self, worker_id: str, run_ids) -> None:
        assert worker_id == "w1"
        self.taken_back.append(frozenset(run_ids))

    def owned(self, worker_id: str) -> dict[int, Owned]:
        self.calls.append("owned")
        return {run_id: Owned(prompt_id, 5) for run_id, prompt_id in self.mine.items()}

    def strays(self, worker_id: str) -> frozenset[int]:
        return self.taken_away

    def cancel_queued(self) -> int:
        self.slow()
        if self.errors:
            raise self.errors.pop(0)
        self.calls.append("cancel_queued")
        return 0

    def commit(self, worker_id, chunks, endings):
        assert (worker_id, chunks) == ("w1", [])
        self.endings += endings
        return Refusals()


class Sweeps:
    """A rescuer in its surroundings."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Store(self.clock)
        self.said: list[tuple[str, dict[str, object]]] = []
        self.gone: list[tuple[int, object]] = []
        self.rescuer = Rescuer(
            self.store,
            WorkerInfo("w1", "here", 1, "0"),
            lease_seconds=LEASE,
            max_crashes=3,
            clock=self.clock,
            log=lambda event, **values: self.said.append((event, values)),
            has_died=lambda pid, process: (pid, process) in self.gone,
        )

    def settled(self) -> Sweeps:
        """It has seen the database for a whole lease."""
        assert [self.rescues(), *(self.rescues_after(LEASE / 3) for _ in range(3))] == [
            *(False, False, False),
            True,
        ]
        return self

    def rescues(self, carried=()) -> bool:
        self.store.calls.clear()
        self.rescuer.sweep(dict.fromkeys(carried, 5))
        return "rescue" in self.store.calls

    def rescues_after(self, seconds: float) -> bool:
        self.clock.move(seconds)
        return self.rescues()


def test_the_first_sweep_of_a_process_is_never_fair():
    """The clock may have been set forward just before; it has seen nobody renew yet."""
    it = Sweeps()
    assert not it.rescues()
    assert [it.rescues_after(seconds) for seconds in (10, 10, 9.9, 0.1)] == [
        *(False, False, False),
        True,
    ]


def test_a_sweep_cancels_hands_back_and_rescues():
    """Every worker does it, so nothing waits for a human or for a special process."""
    it = Sweeps().settled()
    assert it.rescues()
    assert it.store.calls == ["cancel_queued", "owned", "rescue"]
    assert it.said == []


def test_the_dead_are_reported_by_worker():
    """One line for each worker that is gone, with its runs."""
    it = Sweeps().settled()
    it.store.dead = [
        Rescued(1, 11, "w8", PromptState.QUEUED),
        Rescued(2, 12, "w9", PromptState.FAILED),
        Rescued(3, 13, "w8", PromptState.QUEUED),
    ]
    it.rescues()
    assert it.said == [
        ("prompts_rescued", {"dead_worker_id": "w8", "runs": [1, 3]}),
        ("prompts_rescued", {"dead_worker_id": "w9", "runs": [2]}),
    ]


def test_a_rescue_that_waited_for_the_lock_gives_the_living_a_whole_lease():
    """Their renewals waited for the same lock: a process was stopped in the middle of a write."""
    it = Sweeps().settled()
    it.store.locked = lambda: it.clock.move(LEASE * 1.5)
    assert not it.rescues()
    it.store.locked = lambda: None
    assert [it.rescues_after(LEASE / 3) for _ in range(3)] == [False, False, True]


def test_many_are_rescued_in_short_transactions():
    """A thousand runs of a dead worker do not lock a thousand rows at once."""
    it = Sweeps().settled()
    it.store.dead = [Rescued(n, n, "w9", PromptState.QUEUED) for n in range(2 * SWEEP_ROWS + 1)]
    it.rescues()
    assert it.store.calls.count("rescue") == 3
    assert it.store.dead == []


def test_what_is_owned_and_not_carried_is_handed_back_uncharged():
    """The answer to a claim or to an ending was lost: nobody's fault."""
    it = Sweeps()
    it.store.mine = {1: 101, 2: 102, 3: 103}
    it.rescues(carried={2})
    assert [(end.run_id, end.prompt_id) for end in it.store.endings] == [(1, 101), (3, 103)]
    for end in it.store.endings:
        assert (end.run_event, end.prompt_event) == (RunEvent.INTERRUPT, PromptEvent.REQUEUE)
        assert (end.error_code, end.charged) == (ErrorCode.HANDED_BACK, False)
        assert end.chars is None, "how far it came only the store can tell"
    assert it.said == [("prompts_handed_back", {"runs": [1, 3]})]


def test_what_is_carried_and_not_owned_is_told():
    """Its prompt was deleted, or is somebody else's: a silent stream would not learn it."""
    it = Sweeps()
    it.store.mine = {1: 101, 2: 102}
    it.store.taken_away = frozenset({2, 7})
    assert it.rescuer.sweep({1: 5, 2: 5, 3: 5}) == {2, 3}
    assert it.store.taken_back == [{2, 3}], "its worker lives: they count as no crash"
    assert it.store.endings == []
    it.store.mine = {4: 104}
    assert it.rescuer.sweep({3: 5}) == {3}
    assert [end.run_id for end in it.store.endings] == [4]


def test_sweeps_in_their_rhythm_rescue_each_time():
    """A third of a lease apart, and a little late now and then."""
    it = Sweeps().settled()
    assert all(it.rescues_after(seconds) for seconds in (0, 10, 11, 10.5, 14))


@pytest.mark.parametrize("late", [15.0, 20.0, 3600.0])
def test_after_something_held_the_sweeps_up_the_living_get_a_whole_lease(late):
    """Stopped, starved, or without a database: the others may have been, too."""
    it = Sweeps().settled()
    outcomes = [it.rescues_after(seconds) for seconds in (late, 10, 10, 9.9, 0.1, 10)]
    assert outcomes == [False, False, False, False, True, True]


def test_leases_that_ran_out_at_one_stroke_are_noticed_by_their_own_clock():
    """This machine slept, and its monotonic clock with it; or the clock of the database was set.

    Whoever lives renews within a third of a lease, and loses nothing.
    """
    it = Sweeps().settled()
    it.store.ahead_seconds = 3600
    assert not it.rescues_after(1)
    assert [it.rescues_after(10) for _ in range(3)] == [False, False, True]


def test_a_clock_that_was_set_back_hurts_nobody():
    """Time servers correct clocks in both directions."""
    it = Sweeps().settled()
    it.store.ahead_seconds = -3600
    assert it.rescues_after(10)


def test_an_outage_in_the_middle_of_a_sweep_counts_as_well():
    """The sweep hung in the database for longer than anybody's lease."""
    it = Sweeps().settled()
    it.clock.move(10)
    it.store.slow = lambda: it.clock.move(60)
    assert not it.rescues()


def test_an_outage_that_a_retried_sweep_sat_out_counts_as_well():
    """Each try fails, until one does not: what counts is the time since the last good one."""
    it = Sweeps().settled()
    for _ in range(8):
        it.clock.move(5)
        it.store.errors = [StoreBusy("away")]
        with pytest.raises(StoreBusy):
            it.rescues()
    assert not it.rescues_after(0.1)
    assert it.rescues_after(0) is False


def test_a_worker_that_waited_for_the_database_to_begin_rescues_nobody_at_once():
    """It was made before the outage was over; the others are still coming back."""
    it = Sweeps()
    assert not it.rescues_after(60)


def test_a_worker_that_leaves_hands_back_everything_it_still_owns():
    """Nothing of it is left for a rescue, which would count a crash."""
    it = Sweeps()
    it.store.mine = {1: 101}
    it.rescuer.hand_back({})
    assert [end.run_id for end in it.store.endings] == [1]
    assert it.store.calls == ["owned"]


def test_a_process_that_is_gone_from_this_host_needs_no_patience():
    """Its worker is dead for certain; the others get their whole lease."""
    it = Sweeps()
    it.store.next_door = [Neighbour("w8", 8, {"a": "b"}), Neighbour("w9", 9, {"a": "b"})]
    it.gone = [(9, {"a": "b"})]
    assert not it.rescues()
    assert it.store.buried == ["w9"]
