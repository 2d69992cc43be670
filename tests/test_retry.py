"""What is tried again, where, for how long, and who pays."""

from __future__ import annotations

import threading

import pytest

from tests.fakes.aio import aio
from tests.fakes.clock import FakeClock
from worker import retry
from worker.errors import (
    Broken,
    Busy,
    ErrorCode,
    Refused,
    StoreBroken,
    StoreBusy,
    StoreError,
    Unreachable,
    Verdict,
)


class Attempts:
    """Fails as told, then succeeds."""

    def __init__(self, *errors: Exception, clock: FakeClock | None = None, seconds: float = 0):
        self.errors = list(errors)
        self.made = 0
        self.clock = clock
        self.seconds = seconds

    def __call__(self) -> str:
        self.made += 1
        if self.clock:
            self.clock.move(self.seconds)
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    async def later(self) -> str:
        return self()


# --- connecting


@aio
async def test_connecting_is_tried_three_times_with_jittered_pauses():
    """Nothing was sent, so nothing can be doubled; the pauses come from the clock."""
    clock = FakeClock(autojump_seconds=0, seed=1)
    attempts = Attempts(Unreachable("one"), Unreachable("two"))
    assert await retry.connecting(attempts.later, clock) == "done"
    expected = FakeClock(seed=1)
    assert clock.slept == [0.25 * expected.random(), 0.5 * expected.random()]


@aio
async def test_the_last_error_of_connecting_is_raised_as_it_is():
    """No wrapper hides its verdict."""
    last = Unreachable("three")
    attempts = Attempts(Unreachable("one"), Unreachable("two"), last)
    with pytest.raises(Unreachable) as caught:
        await retry.connecting(attempts.later, FakeClock(autojump_seconds=0))
    assert caught.value is last
    assert attempts.made == retry.CONNECT_TRIES


@aio
async def test_connecting_takes_no_more_than_its_total_time():
    """A host that swallows packets is not asked three times ten seconds and more."""
    clock = FakeClock(autojump_seconds=0)
    attempts = Attempts(*[Unreachable("silence")] * 3, clock=clock, seconds=12)
    with pytest.raises(Unreachable):
        await retry.connecting(attempts.later, clock)
    assert attempts.made == 2


@pytest.mark.parametrize("error", [Broken("b"), Busy("b"), Refused("r"), RuntimeError("bug")])
@aio
async def test_only_what_sent_nothing_is_tried_again_in_place(error):
    """Everything else is for the queue, or for nobody."""
    attempts = Attempts(error)
    with pytest.raises(type(error)):
        await retry.connecting(attempts.later, FakeClock())
    assert attempts.made == 1


# --- the database


@pytest.fixture
def _no_waits(monkeypatch):
    monkeypatch.setattr(retry, "DATABASE_WAIT_MAX_SECONDS", 0)


@pytest.mark.usefixtures("_no_waits")
def test_an_absent_database_is_waited_for_without_end():
    """There is no number of failures after which text would be thrown away."""
    told = []
    attempts = Attempts(*[StoreBusy(f"away {n}") for n in range(200)])
    assert retry.database(attempts, on_wait=told.append) == "done"
    assert [error.message for error in told] == [f"away {n}" for n in range(200)]


@pytest.mark.parametrize(
    "error",
    [
        StoreBroken("no table"),
        StoreError("no NUL", code=ErrorCode.UNSTORABLE, verdict=Verdict.FAIL),
        Unreachable("not the database"),
        RuntimeError("bug"),
    ],
)
def test_what_waiting_cannot_cure_is_raised_at_once(error):
    """Schema, permissions, values, bugs."""
    attempts = Attempts(error)
    with pytest.raises(type(error)):
        retry.database(attempts)
    assert attempts.made == 1


@pytest.mark.usefixtures("_no_waits")
def test_told_to_give_up_the_next_failure_is_raised():
    """But one more try is always made: the database may be back."""
    give_up = threading.Event()
    give_up.set()
    attempts = Attempts(StoreBusy("away"))
    told = []
    with pytest.raises(StoreBusy):
        retry.database(attempts, give_up=give_up, on_wait=told.append)
    assert (attempts.made, told) == (1, [])
    assert retry.database(attempts, give_up=give_up) == "done"


def test_giving_up_ends_a_wait_that_is_under_way():
    """A shutdown does not sit out a back-off of seconds."""
    give_up = threading.Event()
    attempts = Attempts(*[StoreBusy("away")] * 3)
    with pytest.raises(StoreBusy):
        retry.database(attempts, give_up=give_up, on_wait=lambda _: give_up.set())
    assert attempts.made == 2
