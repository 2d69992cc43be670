"""What a run under way is made of: its control, its answer, and how long it waits."""

from __future__ import annotations

import asyncio
from math import inf
from types import SimpleNamespace

import pytest

from tests.fakes.aio import aio
from tests.fakes.scripted_stream import run
from worker.errors import Broken, Cancelled, ShutDown, Truncated, Unfinished
from worker.run.attribution import Evidence, Failure, Finding, Nature
from worker.run.context import (
    LAST_LOOK_SECONDS,
    Answer,
    RunHandle,
    as_ended,
    read_in_time,
    seconds_to_wait,
)


@pytest.mark.parametrize(
    ("due_at", "deadline_at", "expected"),
    [
        (None, inf, None),
        (12.0, inf, 2.0),
        (None, 15.0, 5.0),
        (12.0, 11.0, 1.0),
        (9.0, 15.0, 0.0),
    ],
)
def test_a_read_waits_until_a_flush_or_a_deadline(
    due_at: float | None, deadline_at: float, expected: float | None
) -> None:
    """Whatever comes first ends the wait; with neither, it lasts as long as the server likes."""
    writer = SimpleNamespace(due_at=lambda at: due_at)
    assert seconds_to_wait(writer, SimpleNamespace(next_at=deadline_at), at=10.0) == expected


@pytest.mark.parametrize(
    ("at", "reads", "expected", "waits"),
    [
        (15.0, [b"", b"late"], b"late", [5.0, LAST_LOOK_SECONDS]),
        (15.0, [b"", b""], b"", [5.0, LAST_LOOK_SECONDS]),
        (15.0, [None], None, [5.0]),
        (14.9, [b""], b"", [5.0]),
        (99.0, [b"soon"], b"soon", [5.0]),
    ],
)
@aio
async def test_a_deadline_is_not_called_missed_before_a_last_look(at, reads, expected, waits):
    """A process that was stopped for as long wakes up to its timer first, and then to the bytes."""
    asked = []

    async def read(wait_seconds):
        asked.append(wait_seconds)
        return reads.pop(0)

    clock, deadlines = SimpleNamespace(monotonic=lambda: at), SimpleNamespace(next_at=15.0)
    assert await read_in_time(SimpleNamespace(read=read), 5.0, deadlines, clock) == expected
    assert asked == waits


@aio
async def test_the_first_reason_to_stop_counts() -> None:
    """A shutdown after a cancellation does not turn it into a retry."""
    control = RunHandle(run(), judge=alive)
    first = Cancelled("no longer wanted")
    control.stop(first)
    control.stop(ShutDown("told to stop"))
    assert control.reason is first
    with pytest.raises(asyncio.CancelledError):
        control.begin()


@aio
async def test_a_run_that_is_ending_is_not_stopped() -> None:
    """The ending decides; a late reason changes nothing and cancels nothing."""
    control = RunHandle(run(), judge=alive)
    control.begin()
    control.finishing = True
    control.stop(Cancelled("too late"))
    assert control.reason is None
    await asyncio.sleep(0)


@aio
async def test_only_the_first_frame_is_news() -> None:
    """The breaker is told once that the endpoint answers, not once a read."""
    told: list[bool] = []
    control = RunHandle(run(), judge=alive, on_answer=lambda _: told.append(True))
    for at, frames in enumerate((0, 0, 3, 9, 9)):
        control.heard(frames, at=at)
    assert told == [True]
    assert control.heard_at == 3, "a read without a frame is no sign of life"


@aio
async def test_whoever_is_stopped_does_not_wait_for_a_verdict() -> None:
    """To find out whose fault it is may take long; a stop ends it, and uses up no attempt."""

    async def never(*_: object) -> Finding:
        await asyncio.Event().wait()
        raise AssertionError

    failure = Failure(Broken("reset"), Nature.EVENT)
    control = RunHandle(run(), judge=never)
    asking = asyncio.ensure_future(control.finding(failure))
    await asyncio.sleep(0)
    control.stop(ShutDown("told to stop"))
    assert (await asking).evidence is Evidence.STOPPED
    assert (await RunHandle(run(), judge=alive).finding(failure)).evidence is Evidence.WELL


@pytest.mark.parametrize(
    ("error", "reason", "kind"),
    [
        (Truncated("cut"), "stop", Unfinished),
        (Truncated("cut"), None, Truncated),
        (Broken("reset"), "stop", Broken),
    ],
)
def test_only_a_clean_end_after_a_finish_reason_is_unfinished(error, reason, kind) -> None:
    """A connection that breaks may have lost the done frame; a clean end has none to lose."""
    ended = as_ended(error, SimpleNamespace(finish_reason=reason))
    assert type(ended) is kind
    assert as_ended(error, None) is error


def test_an_answer_has_begun_with_its_first_frame() -> None:
    """Headers alone are no answer."""
    answer = Answer(run=SimpleNamespace())
    assert not answer.begun
    answer.decoder = SimpleNamespace(frames=0)
    assert not answer.begun
    answer.decoder = SimpleNamespace(frames=1)
    assert answer.begun


async def alive(*_: object) -> Finding:
    """The endpoint answers."""
    return Finding(Evidence.WELL)
