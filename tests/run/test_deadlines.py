"""First frame, idle, total: when to stop waiting for a response."""

from __future__ import annotations

from math import inf

import pytest

from tests.fakes.scripted_stream import endpoint
from worker.errors import ErrorCode, Stalled
from worker.run.deadlines import Deadlines


def deadlines(*, first: float = 60, idle: float = 10, total: float = 0) -> Deadlines:
    place = endpoint(
        first_frame_timeout_seconds=first, idle_timeout_seconds=idle, total_timeout_seconds=total
    )
    return Deadlines(place, started_at=100)


def code_at(watched: Deadlines, at: float) -> str | None:
    try:
        watched.check(at=at)
    except Stalled as error:
        return error.code
    return None


def test_the_first_frame_has_a_deadline_of_its_own():
    """It is generous, for queueing and model loading, and ends exactly when it says."""
    watched = deadlines()
    assert watched.next_at == 160
    assert code_at(watched, 159.9) is None
    assert code_at(watched, 160) == ErrorCode.FIRST_FRAME_TIMEOUT


def test_after_a_frame_the_idle_deadline_counts():
    """From frame to frame, not from the start."""
    watched = deadlines()
    watched.progressed(1, at=150)
    assert watched.next_at == 160
    watched.progressed(2, at=155)
    assert watched.next_at == 165
    assert code_at(watched, 164.9) is None
    assert code_at(watched, 165) == ErrorCode.IDLE_TIMEOUT


def test_bytes_without_a_frame_are_no_progress():
    """A ping a second for an hour is an idle hour."""
    watched = deadlines()
    watched.progressed(0, at=159)
    assert watched.next_at == 160
    watched.progressed(3, at=159)
    watched.progressed(3, at=168)
    assert code_at(watched, 169) == ErrorCode.IDLE_TIMEOUT


def test_the_total_deadline_wins_over_progress():
    """Where it is set, a stream that never stops is stopped."""
    watched = deadlines(total=30)
    watched.progressed(1, at=125)
    assert watched.next_at == 130
    assert code_at(watched, 130) == ErrorCode.TOTAL_TIMEOUT


def test_zero_means_no_limit():
    """Each of the three can be switched off."""
    watched = deadlines(first=0, idle=0, total=0)
    assert watched.next_at == inf
    watched.progressed(1, at=1e9)
    assert watched.next_at == inf
    assert code_at(watched, 1e12) is None


def test_time_in_which_nothing_was_read_does_not_count():
    """A slow database stops the reading: every deadline moves by that time, and by no more."""
    watched = deadlines(total=50)
    watched.progressed(1, at=105)
    watched.resumed(since=112, at=1112)
    assert watched.next_at == 1115
    assert code_at(watched, 1115) == ErrorCode.IDLE_TIMEOUT
    watched.progressed(2, at=1149)
    assert watched.next_at == 1150
    assert code_at(watched, 1150) == ErrorCode.TOTAL_TIMEOUT


def test_before_the_first_frame_it_does_not_count_either():
    """The worker's memory was full of other runs."""
    watched = deadlines()
    watched.resumed(since=101, at=201)
    assert watched.next_at == 260


@pytest.mark.parametrize(
    ("watched", "frames", "words"),
    [
        (deadlines(first=5), 0, "first_frame_timeout_seconds = 5"),
        (deadlines(idle=7.5), 1, "idle_timeout_seconds = 7.5"),
        (deadlines(total=9), 0, "total_timeout_seconds = 9"),
    ],
)
def test_the_message_names_the_setting(watched, frames, words):
    """A person who reads it knows what to change."""
    watched.progressed(frames, at=100)
    with pytest.raises(Stalled, match=words):
        watched.check(at=1000)


def test_a_process_that_slept_gives_the_server_its_time_again():
    """What arrived meanwhile waits in the kernel; nobody may call that silence."""
    watched = deadlines(total=1000)
    watched.progressed(1, at=150)
    watched.woke(asked_at=152, wait_seconds=8, at=400)  # it was to be woken at 160
    assert watched.next_at == 160 + 248
    assert code_at(watched, 400) is None
    assert code_at(watched, 408) == ErrorCode.IDLE_TIMEOUT


def test_being_a_little_late_is_not_sleep():
    """Else a busy machine would never find out that a server hangs."""
    watched = deadlines()
    watched.progressed(1, at=150)
    watched.woke(asked_at=152, wait_seconds=8, at=160.9)
    watched.woke(asked_at=152, wait_seconds=None, at=500)
    assert watched.next_at == 160


def test_what_is_left_of_the_whole():
    """For those who wait elsewhere than in the stream; never less than nothing."""
    assert deadlines().total_left(at=100) is None
    watched = deadlines(total=30)
    assert [watched.total_left(at=at) for at in (100, 125, 131)] == [30, 5, 0]
    assert watched.too_long().code == ErrorCode.TOTAL_TIMEOUT
