"""Group commit: many runs, one transaction at a time, one thread that does not die."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.aio import aio, turns
from tests.fakes.scripted_commits import ScriptedCommits
from tests.fakes.scripted_store import ScriptedStore
from tests.fakes.scripted_stream import run
from worker import committer as committers
from worker import retry
from worker.buffer import Budget, Limits
from worker.committer import Availability, Committer, RunWriter
from worker.errors import (
    Broken,
    ErrorCode,
    ImpossibleTransition,
    LeaseLost,
    StoreBroken,
    StoreBusy,
    StoreError,
    Verdict,
)
from worker.records import Chunk, Ending, Kind
from worker.states import PromptEvent, RunEvent, RunState
from worker.wire.events import Delta, Done, Fault


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


# --- one run's way to the committer


class Way:
    """A RunWriter on a committer that lands by hand."""

    def __init__(self, *, held: bool = True) -> None:
        self.commits = ScriptedCommits(held=held)
        self.budget = Budget(10_000)
        self.failures: list[Exception] = []
        self.hurried: list[int] = []
        self.writer = RunWriter(
            run(),
            self.commits,
            Limits(flush_seconds=1, flush_bytes=100, stream_bytes=300),
            self.budget,
            on_failure=self.failures.append,
            hurry=lambda: self.hurried.append(len(self.commits.submitted)),
        )


@aio
async def test_events_are_kept_up_to_the_terminal_one():
    """Output before a fault is output; what follows a done frame is ignored."""
    way = Way()
    done = Done("stop", None)
    assert way.writer.keep([Delta(Kind.TEXT, "a")], at=0) is None
    assert way.writer.keep([Delta(Kind.TEXT, "b"), done, Delta(Kind.TEXT, "!")], at=0) is done
    with pytest.raises(Broken):
        way.writer.keep([Delta(Kind.TEXT, "c"), Fault(Broken("reset"))], at=0)
    assert way.writer.buffer.chars == 3


@aio
async def test_only_a_full_buffer_is_in_a_hurry():
    """Reading waits for its flush; any other flush may wait for its neighbours."""
    way = Way()
    way.writer.keep([Delta(Kind.TEXT, "a" * 100)], at=5)
    assert not await way.writer.flush_if_due(at=5)
    assert way.hurried == []
    way.writer.keep([Delta(Kind.TEXT, "b" * 200)], at=5)
    reading = asyncio.create_task(way.writer.flush_if_due(at=5))
    await turns()
    assert way.hurried == [1]
    way.commits.land_all()
    assert await reading


@aio
async def test_a_run_has_at_most_one_flush_under_way():
    """Newer text waits behind it, and says when to look again."""
    way = Way()
    assert way.writer.due_at(at=5) is None
    way.writer.keep([Delta(Kind.TEXT, "a" * 100)], at=5)
    assert way.writer.due_at(at=5) == 6
    assert not await way.writer.flush_if_due(at=5)
    way.writer.keep([Delta(Kind.TEXT, "b" * 100)], at=5)
    assert not await way.writer.flush_if_due(at=50)
    assert len(way.commits.submitted) == 1
    assert way.writer.due_at(at=50) == 51
    way.commits.land_all()
    await turns()
    assert way.writer.due_at(at=50) == 6


@aio
async def test_with_a_full_buffer_reading_waits_for_the_flush():
    """And it is told that it had to."""
    way = Way()
    way.writer.keep([Delta(Kind.TEXT, "a" * 300)], at=0)
    waiting = asyncio.create_task(way.writer.flush_if_due(at=0))
    await turns()
    assert not waiting.done()
    way.commits.land_all()
    assert await waiting


@aio
async def test_who_stops_waiting_for_a_flush_does_not_stop_the_flush():
    """A cancelled run must not tear its own words out of the group."""
    way = Way()
    way.writer.keep([Delta(Kind.TEXT, "a" * 300)], at=0)
    waiting = asyncio.create_task(way.writer.flush_if_due(at=0))
    await turns()
    waiting.cancel()
    await turns()
    way.commits.land_all()
    assert len(way.commits.text) == 300


@aio
async def test_a_failed_flush_goes_first_into_the_next():
    """What is stored of a run never has a hole."""
    way = Way()
    way.writer.keep([Delta(Kind.TEXT, "a" * 100)], at=0)
    await way.writer.flush_if_due(at=0)
    way.commits.land(way.commits.submitted[0], StoreBusy("away"))
    await turns()
    assert [type(error) for error in way.failures] == [StoreBusy]
    assert way.budget.used_bytes == 100
    way.writer.keep([Delta(Kind.TEXT, "b" * 100)], at=1)
    await way.writer.flush_if_due(at=1)
    assert way.commits.submitted[1].text == "a" * 100 + "b" * 100
    way.commits.land_all()
    await turns()
    assert way.budget.used_bytes == 0
    stored = await way.writer.finish(ending(1))
    assert (stored.chars, stored.chunks) == (200, 2)


@aio
async def test_the_end_of_a_run_counts_what_it_produced():
    """Characters and chunks as they are stored, in the ending itself."""
    way = Way(held=False)
    way.writer.keep([Delta(Kind.THINKING, "hm"), Delta(Kind.TEXT, "a" * 100)], at=0)
    await way.writer.flush_if_due(at=0)
    await turns()
    way.writer.keep([Delta(Kind.TEXT, "b")], at=0)
    stored = await way.writer.finish(ending(1))
    assert (stored.chars, stored.chunks) == (101, 3)
    assert way.commits.endings == [stored]


@aio
async def test_the_first_flush_says_what_was_asked_and_the_ending_says_it_again():
    """Text is never stored without it; a run that stored nothing still says what it asked."""
    way = Way(held=False)
    asked = run().request_hash()
    way.writer.keep([Delta(Kind.TEXT, "a" * 100)], at=0)
    await way.writer.flush_if_due(at=0)
    await turns()
    way.writer.keep([Delta(Kind.TEXT, "b" * 100)], at=0)
    await way.writer.flush_if_due(at=0)
    await turns()
    sent = [chunk.request_hash for each in way.commits.submitted for chunk in each.chunks]
    assert sent == [asked, None]
    assert (await way.writer.finish(ending(1))).request_hash == asked
    assert (await Way(held=False).writer.finish(ending(1))).request_hash == asked


@aio
async def test_the_end_of_a_run_says_whether_it_called_tools():
    """Whichever flush their pieces were in."""
    way = Way(held=False)
    way.writer.keep([Delta(Kind.TOOL_CALLS, "{" * 100)], at=0)
    await way.writer.flush_if_due(at=0)
    await turns()
    way.writer.keep([Delta(Kind.TEXT, "b")], at=0)
    assert (await way.writer.finish(ending(1))).calls_tools
    assert not (await Way(held=False).writer.finish(ending(1))).calls_tools


@aio
async def test_leaving_drops_what_nobody_will_store():
    """The budget of the worker is whole again, whatever happened."""
    way = Way()
    with way.writer as writer:
        writer.keep([Delta(Kind.TEXT, "a" * 100)], at=0)
        await writer.flush_if_due(at=0)
        writer.keep([Delta(Kind.TEXT, "b" * 100)], at=0)
    assert way.budget.used_bytes == 0
    way.commits.land_all()
    await turns()
    assert way.budget.used_bytes == 0


@aio
async def test_a_flush_that_fails_in_an_unknown_way_is_no_failure_of_the_lease():
    """Futures of the committer raise what the tree knows; others are left to who awaits them."""
    way = Way()
    way.writer.keep([Delta(Kind.TEXT, "a" * 300)], at=0)
    waiting = asyncio.create_task(way.writer.flush_if_due(at=0))
    await turns()
    way.commits.land(way.commits.submitted[0], RuntimeError("bug"))
    with pytest.raises(RuntimeError):
        await waiting
    assert way.failures == []
