"""Group commit: many runs, one transaction at a time, one thread that does not die."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.aio import aio, turns
from tests.fakes.clock import FakeClock
from tests.fakes.scripted_store import ScriptedStore
from worker import retry
from worker.errors import (
    ErrorCode,
    ImpossibleTransition,
    LeaseLost,
    StoreBroken,
    StoreBusy,
    StoreContended,
    StoreError,
    Verdict,
)
from worker.records import Chunk, Ending, Kind, Refusals
from worker.states import PromptEvent, RunEvent, RunState
from worker.supervisor import committer as committers
from worker.supervisor.availability import Availability
from worker.supervisor.committer import Committer


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch):
    monkeypatch.setattr(retry, "DATABASE_WAIT_MAX_SECONDS", 0)


def chunk(run_id: int, seq: int = 0, text: str = "x") -> Chunk:
    return Chunk(run_id, seq, Kind.TEXT, text)


def ending(run_id: int, event: RunEvent = RunEvent.COMPLETE) -> Ending:
    prompt_event = {
        RunEvent.COMPLETE: PromptEvent.COMPLETE,
        RunEvent.INTERRUPT: PromptEvent.REQUEUE,
    }[event]
    return Ending(run_id, 0, event, prompt_event)


UNSTORABLE = StoreError("no NUL", code=ErrorCode.UNSTORABLE, verdict=Verdict.FAIL)


class Desk:
    """A committer on a store in memory, with runs 1 to 9 under way."""

    def __init__(self, gather_seconds: float) -> None:
        self.store = ScriptedStore()
        self.said: list[str] = []
        for run_id in range(1, 10):
            self.store.stream(run_id)
        self.committer = Committer(
            self.store,
            "w1",
            availability=Availability(lambda event, **_: self.said.append(event)),
            gather_seconds=gather_seconds,
        )
        self.submit = self.committer.submit

    async def held(self) -> asyncio.Future[None]:
        """Hold the thread inside a commit of run 9, so that a group can gather behind it."""
        self.store.gates["commit"] = threading.Event()
        first = self.submit(9, [chunk(9)])
        await self.store.bell.until(lambda: self.store.calls["commit"])
        return first

    def let_go(self) -> None:
        self.store.gates.pop("commit").set()


@asynccontextmanager
async def desk(gather_seconds: float = 0.0):
    it = Desk(gather_seconds)
    try:
        yield it
    finally:
        for gate in it.store.gates.values():
            gate.set()
        it.store.away = False
        await it.committer.close(patience_seconds=30)


# --- groups


@aio
async def test_a_flush_is_durable_when_its_future_is_done():
    """Not before the transaction, and not without it."""
    async with desk() as it:
        await it.submit(1, [chunk(1, 0, "hello")])
        assert it.store.text(1) == "hello"


@aio
async def test_what_gathers_during_one_commit_goes_into_the_next_together():
    """A slow disk makes larger groups, not a longer queue."""
    async with desk() as it:
        first = await it.held()
        waiting = [it.submit(n, [chunk(n)], ending(n)) for n in range(1, 6)]
        it.let_go()
        await asyncio.gather(first, *waiting)
        assert [(len(c), len(e)) for c, e in it.store.commits] == [(1, 0), (5, 5)]


@aio
async def test_a_group_has_a_size(monkeypatch):
    """One transaction is bounded; more waits for the next, in order."""
    monkeypatch.setattr(committers, "GROUP_CHARS_MAX", 10)
    async with desk() as it:
        first = await it.held()
        waiting = [it.submit(n, [chunk(n, 0, "12345")]) for n in range(1, 6)]
        it.let_go()
        await asyncio.gather(first, *waiting)
        sizes = [[each.run_id for each in chunks] for chunks, _ in it.store.commits]
        assert sizes == [[9], [1, 2], [3, 4], [5]]


@aio
async def test_with_a_time_to_gather_flushes_wait_for_each_other_and_an_ending_for_nobody():
    """Flushes can be a little late; a finished run has a slot to give back."""
    async with desk(gather_seconds=30) as it:
        waiting = [it.submit(n, [chunk(n)]) for n in range(1, 4)]
        await turns()
        assert it.store.calls["commit"] == 0
        await it.submit(4, [], ending(4))
        await asyncio.gather(*waiting)
        assert it.store.calls["commit"] == 1


@aio
async def test_the_time_to_gather_passes():
    """Without an ending the group is committed when it has gathered long enough."""
    async with desk(gather_seconds=0.001) as it:
        await it.submit(1, [chunk(1)])
        assert it.store.text(1) == "x"


@aio
async def test_a_group_that_somebody_waits_for_gathers_no_longer():
    """A stream that is faster than its buffer is not held back by our patience."""
    async with desk(gather_seconds=30) as it:
        waiting = it.submit(1, [chunk(1)])
        await turns()
        it.committer.hurry()
        await waiting
        assert it.store.text(1) == "x"


@aio
async def test_closing_does_not_wait_for_a_group_to_gather():
    """What is queued is committed at once."""
    async with desk(gather_seconds=30) as it:
        waiting = it.submit(1, [chunk(1)])
        await it.committer.close(patience_seconds=30)
        await waiting
        assert it.store.text(1) == "x"


# --- what goes wrong


@aio
async def test_an_absent_database_is_waited_for_and_the_group_is_sent_again_as_it_was():
    """Same chunks, same order; said once when it went and once when it came back."""
    async with desk() as it:
        it.store.failures["commit"].extend([StoreBusy("locked")] * 3)
        await it.submit(1, [chunk(1, 0, "a"), chunk(1, 1, "b")], ending(1))
        assert it.store.commits[0] == it.store.commits[-1]
        assert len(it.store.commits) == 4
        assert it.store.text(1) == "ab"
        assert it.said == ["database_unavailable", "database_back"]


@aio
async def test_a_lost_answer_is_sent_again_identically_and_doubles_nothing():
    """Committed, but the answer never came: the second time is quiet."""
    async with desk() as it:
        it.store.lost_answers["commit"].append(StoreBusy("connection reset"))
        await it.submit(1, [chunk(1, 0, "a")], ending(1))
        assert it.store.commits[0] == it.store.commits[1]
        assert it.store.text(1) == "a"
        assert len(it.store.endings) == 1


@aio
async def test_only_the_run_that_is_lost_is_told_so():
    """Its neighbours in the group are stored."""
    async with desk() as it:
        it.store.runs[2].status = RunState.INTERRUPTED
        first = await it.held()
        kept, lost = it.submit(1, [chunk(1)]), it.submit(2, [chunk(2)], ending(2))
        it.let_go()
        await asyncio.gather(first, kept)
        with pytest.raises(LeaseLost, match="run 2"):
            await lost
        assert it.store.text(2) == ""


@aio
async def test_one_item_that_cannot_be_stored_takes_no_other_with_it():
    """The group is tried item by item; the fault stays where it belongs."""
    async with desk() as it:
        first = await it.held()
        waiting = [it.submit(n, [chunk(n)]) for n in (1, 2, 3)]
        original = it.store.commit

        def picky(worker_id, chunks, endings):
            if any(each.run_id == 1 for each in chunks):
                raise UNSTORABLE
            return original(worker_id, chunks, endings)

        it.store.commit = picky
        it.let_go()
        results = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert results == [None, UNSTORABLE, None, None]
        assert [it.store.text(n) for n in (1, 2, 3)] == ["", "x", "x"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (RuntimeError("a bug"), "internal error while storing: RuntimeError: a bug"),
        (
            ImpossibleTransition("twice"),
            "internal error while storing: ImpossibleTransition: twice",
        ),
    ],
)
@aio
async def test_the_thread_survives_what_nobody_foresaw(fault, words):
    """It serves every run: a surprise is an answer to the one, not the end of all."""
    async with desk() as it:
        it.store.failures["commit"].append(fault)
        with pytest.raises(StoreError, match=words) as caught:
            await it.submit(1, [chunk(1)])
        assert caught.value.code is ErrorCode.INTERNAL_ERROR
        await it.submit(1, [chunk(1)])
        assert it.store.text(1) == "x"


@aio
async def test_a_broken_database_answers_everybody_and_is_not_asked_for_ever():
    """Nobody waits for what only a person can cure."""
    async with desk() as it:
        first = await it.held()
        waiting = [it.submit(n, [chunk(n)]) for n in range(1, 4)]
        it.store.failures["commit"].extend([StoreBroken("no such table")] * 10)
        it.let_go()
        results = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert [type(result) for result in results] == [StoreBroken] * 4


# --- the end


@aio
async def test_closing_stores_what_is_queued():
    """Nothing that was handed in before is left behind."""
    async with desk() as it:
        await it.held()
        waiting = [it.submit(n, [chunk(n)], ending(n)) for n in range(1, 6)]
        closing = asyncio.create_task(it.committer.close(patience_seconds=30))
        await turns()
        it.let_go()
        await closing
        await asyncio.gather(*waiting)
        assert [it.store.text(n) for n in range(1, 6)] == ["x"] * 5


@aio
async def test_what_comes_after_the_end_is_refused_at_once():
    """No future is left that nobody will ever resolve."""
    async with desk() as it:
        await it.committer.close(patience_seconds=30)
        with pytest.raises(StoreBusy, match="stopped writing"):
            await it.submit(1, [chunk(1)])


@aio
async def test_closing_with_the_database_away_ends_in_time_and_says_what_was_not_stored():
    """Patience has an end, and every future an answer."""
    async with desk() as it:
        it.store.away = True
        waiting = [it.submit(n, [chunk(n)]) for n in range(1, 4)]
        await it.committer.close(patience_seconds=0.01)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [StoreBusy] * 3


@aio
async def test_a_flush_that_nobody_waits_for_any_more_is_stored_all_the_same():
    """Its run was cancelled from outside; the words are good."""
    async with desk() as it:
        first = await it.held()
        dropped = it.submit(1, [chunk(1)])
        dropped.cancel()
        it.let_go()
        await first
        await it.submit(2, [chunk(2)])
        assert it.store.text(1) == "x"


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 3), max_size=30),
    st.lists(st.sampled_from(["ok", "busy", "lost answer"]), max_size=12),
)
def test_the_chunks_of_a_run_keep_their_order_whatever_fails(plan, luck):
    """No gap, nothing doubled, first come first stored."""

    @aio
    async def story() -> None:
        async with desk() as it:
            original = it.store.commit

            def lucky(worker_id, chunks, endings):
                fate = luck.pop() if luck else "ok"
                if fate == "busy":
                    raise StoreBusy("locked")
                lost = original(worker_id, chunks, endings)
                if fate == "lost answer":
                    raise StoreBusy("connection reset")
                return lost

            it.store.commit = lucky
            counts = {1: 0, 2: 0, 3: 0}
            waiting = []
            for run_id in plan:
                seq = counts[run_id]
                waiting.append(it.submit(run_id, [chunk(run_id, seq, f"{seq};")]))
                counts[run_id] += 1
            await asyncio.gather(*waiting)
            for run_id, count in counts.items():
                assert it.store.text(run_id) == "".join(f"{seq};" for seq in range(count))

    story()


def test_the_database_is_reported_once_whoever_notices():
    """Two threads wait for it; a person reads one line."""
    said = []
    availability = Availability(lambda event, **values: said.append((event, values)))
    availability.came_back("one")
    availability.went_away("one", StoreBusy("locked"))
    availability.went_away("other", StoreBusy("still locked"))
    availability.came_back("one")
    assert availability.away
    availability.came_back("other")
    availability.came_back("other")
    assert said == [("database_unavailable", {"error": "locked"}), ("database_back", {})]


# --- rows that a stranger holds


class HeldRows(ScriptedStore):
    """Some runs have rows that somebody has locked.

    Attributes:
        held: these runs are refused as blocked.
        contended: a commit that holds one of these runs a deadlock or a time-out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: set[int] = set()
        self.contended: set[int] = set()

    def commit(self, worker_id, chunks, endings):
        asked = {each.run_id for each in [*chunks, *endings]}
        if asked & self.contended:
            self.commits.append((list(chunks), list(endings)))
            self.bell.ring()
            raise StoreContended("a lock was not granted in time")
        free = [chunk for chunk in chunks if chunk.run_id not in self.held]
        refused = super().commit(
            worker_id, free, [end for end in endings if end.run_id not in self.held]
        )
        refused.blocked = dict.fromkeys(asked & self.held, 77)
        return refused


@asynccontextmanager
async def counter():
    """A committer whose clock stands still, on a store whose rows somebody may hold."""
    store, clock, said = HeldRows(), FakeClock(), []
    for run_id in range(1, 10):
        store.stream(run_id)

    def log(event, **values):
        said.append((event, values))
        store.bell.ring()

    committer = Committer(store, "w1", availability=Availability(log), clock=clock)
    yield store, clock, said, committer
    store.held.clear()
    store.contended.clear()
    await committer.close(patience_seconds=30)


@aio
async def test_a_run_whose_row_is_held_waits_alone_and_is_named():
    """The others of its group land with it, and it lands when the row is free."""
    async with counter() as (store, clock, said, committer):
        store.held = {1}
        held, other = committer.submit(1, [chunk(1)]), committer.submit(2, [chunk(2)])
        await other
        await store.bell.until(lambda: said)
        await clock.advance(committers.PARKED_SECONDS)
        await committer.submit(3, [chunk(3)])
        assert not held.done()
        store.held.clear()
        await clock.advance(committers.PARKED_SECONDS)
        committer.hurry()
        await held
        assert said == [("run_waits_for_row", {"run_id": 1, "prompt_id": 77})]


@aio
async def test_a_group_that_meets_a_deadlock_is_halved_until_it_is_clear_whose_it_is():
    """A time-out or a deadlock of one run is tried again each second, alone."""
    async with counter() as (store, clock, said, committer):
        store.gates["commit"] = threading.Event()
        first = committer.submit(9, [chunk(9)])
        await store.bell.until(lambda: store.calls["commit"])
        store.contended = {3}
        others = [committer.submit(run_id, [chunk(run_id)]) for run_id in (1, 2, 4, 5)]
        held = committer.submit(3, [chunk(3)])
        store.gates.pop("commit").set()
        await asyncio.gather(first, *others)
        await store.bell.until(lambda: said)
        assert not held.done()
        store.contended.clear()
        await clock.advance(committers.PARKED_SECONDS)
        committer.hurry()
        await held
        assert [event for event, _ in said] == ["run_waits_for_row"]


@aio
async def test_a_row_that_stays_held_does_not_keep_a_worker_from_ending():
    """It gives up in the end, and says what was not stored."""
    async with counter() as (store, _clock, _said, committer):
        store.held = {1}
        held = committer.submit(1, [chunk(1)])
        await store.bell.until(lambda: store.calls["commit"])
        await committer.close(patience_seconds=0.0)
        with pytest.raises(StoreBusy, match="another transaction holds the row"):
            await held


@aio
async def test_what_the_database_forgot_is_told_as_such():
    """The run is over here as well, with the reason that stands in its row."""
    async with desk() as it:
        refused = Refusals({1})
        refused.forgotten = frozenset({1})
        it.store.commit = lambda *_: refused
        with pytest.raises(LeaseLost, match="that it had acknowledged") as caught:
            await it.submit(1, [chunk(1)])
        assert caught.value.code is ErrorCode.COMMITS_FORGOTTEN
