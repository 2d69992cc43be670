"""A run has one way to the database: in order, one flush at a time, nothing twice."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.aio import aio, turns
from tests.fakes.scripted_commits import ScriptedCommits
from tests.fakes.scripted_stream import run
from worker.errors import (
    Broken,
    StoreBusy,
)
from worker.records import Ending, Kind
from worker.run.buffer import Budget, Limits
from worker.run.writer import RunWriter
from worker.states import PromptEvent, RunEvent
from worker.wire.events import Delta, Done, Fault


def ending(run_id: int) -> Ending:
    return Ending(run_id, 0, RunEvent.COMPLETE, PromptEvent.COMPLETE)


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
