"""What is tried again, where, for how long, and who pays."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.aio import aio
from tests.fakes.clock import FakeClock
from tests.fakes.scripted_stream import run
from worker import retry
from worker.errors import (
    Broken,
    Busy,
    Cancelled,
    ErrorCode,
    LeaseLost,
    Refused,
    ServerFailed,
    SettingsError,
    ShutDown,
    Stalled,
    StoreBroken,
    StoreBusy,
    StoreError,
    Unreachable,
    Verdict,
)
from worker.states import PromptEvent, RunEvent


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


# --- later


def test_a_shutdown_and_a_lost_lease_hand_back_without_delay():
    """The prompt did nothing wrong and need not wait."""
    for error in (ShutDown("stop"), LeaseLost("gone"), Broken("x", code=ErrorCode.ORPHANED)):
        assert retry.later_delay(run(attempt=9), error, FakeClock()) == 0


@pytest.mark.parametrize(("asked", "granted"), [(0, 0), (17, 17), (86_400, 3600)])
def test_retry_after_wins_over_our_own_back_off(asked, granted):
    """Obeyed as it is, up to an hour."""
    error = Busy("wait", retry_after_seconds=asked)
    assert retry.later_delay(run(attempt=10), error, FakeClock()) == granted


def test_a_server_that_always_says_wait_a_second_is_asked_less_and_less_often():
    """A thousand runs would be over in a quarter of an hour, and the prompt with them."""
    error = Busy("wait", charged=False, retry_after_seconds=1)
    delays = [retry.later_delay(run(attempt=n), error, FakeClock(seed=n)) for n in range(1, 1000)]
    assert delays[:10] == [1] * 10
    assert min(delays) == 1
    assert sum(delays) > 24 * 3600


def test_what_is_not_charged_backs_off_by_the_number_of_runs():
    """An outage charges nothing, but its prompts should not come back every second."""
    failed = run(attempt=7, attempts=1)
    error = Unreachable("refused", charged=False)
    assert retry.later_delay(failed, error, FakeClock(seed=1)) == 64 * FakeClock(seed=1).random()


@given(attempt=st.integers(1, 10_000), seed=st.integers(0, 1000))
def test_the_back_off_is_exponential_with_full_jitter_and_a_cap(attempt, seed):
    """1, 2, 4, ... at most 300 seconds, times a number between 0 and 1."""
    tried = run(attempt=attempt, attempts=attempt)
    delay = retry.later_delay(tried, Stalled("idle"), FakeClock(seed=seed))
    most = min(2.0 ** min(attempt - 1, 20), retry.LATER_WAIT_MAX_SECONDS)
    assert delay == most * FakeClock(seed=seed).random()


def test_runs_that_were_not_charged_do_not_lengthen_the_back_off():
    """A prompt whose workers were killed seven times has failed once: it waits a second at most."""
    often_killed = run(attempt=8, attempts=1)
    assert retry.later_delay(often_killed, Stalled("idle"), FakeClock()) <= 1.0
    asked_to_wait = retry.later_delay(often_killed, Busy("wait", charged=False), FakeClock())
    assert asked_to_wait > 1.0  # where nothing is charged, only the runs can be counted


def test_a_prompt_that_may_kill_servers_leaves_them_to_the_others_for_long():
    """By all its runs, and three times as long: the innocent need the time to be done.

    What is forgiven waits as after any outage.
    """
    error = Broken("reset", code=ErrorCode.ENDPOINT_DIED)
    delay = retry.later_delay(run(attempt=7, attempts=2), error, FakeClock(seed=1))
    assert delay == 3 * 64 * FakeClock(seed=1).random()
    error.charged = False
    delay = retry.later_delay(run(attempt=7, attempts=2), error, FakeClock(seed=1))
    assert delay == 64 * FakeClock(seed=1).random()


# --- endings


@pytest.mark.parametrize(
    ("error", "run_event", "prompt_event", "code"),
    [
        (Broken("x"), RunEvent.INTERRUPT, PromptEvent.REQUEUE, ErrorCode.CONNECTION_LOST),
        (Unreachable("x"), RunEvent.INTERRUPT, PromptEvent.REQUEUE, ErrorCode.UNREACHABLE),
        (Refused("x"), RunEvent.FAIL, PromptEvent.FAIL, ErrorCode.BAD_REQUEST),
        (Cancelled("x"), RunEvent.CANCEL, PromptEvent.CANCEL, ErrorCode.CANCELLED),
        (ShutDown("x"), RunEvent.INTERRUPT, PromptEvent.REQUEUE, ErrorCode.SHUTDOWN),
        (SettingsError("x"), RunEvent.INTERRUPT, PromptEvent.REQUEUE, ErrorCode.INTERNAL_ERROR),
        (
            ServerFailed("x", verdict=Verdict.FAIL),
            RunEvent.FAIL,
            PromptEvent.FAIL,
            ErrorCode.SERVER_ERROR,
        ),
    ],
)
def test_each_verdict_becomes_an_ending(error, run_event, prompt_event, code):
    """The verdict decides, not the class, and there is always a code to count by."""
    ending = retry.ending(run(), error, FakeClock())
    assert (ending.run_event, ending.prompt_event) == (run_event, prompt_event)
    assert (ending.error_code, ending.error) == (code, "x")
    assert not ending.done_frame


def test_the_last_charged_attempt_fails_the_prompt():
    """And the message says how many there were."""
    ending = retry.ending(run(attempts=5, max_attempts=5), Broken("reset"), FakeClock())
    assert (ending.run_event, ending.prompt_event) == (RunEvent.INTERRUPT, PromptEvent.FAIL)
    assert ending.error == "gave up after 5 attempts; the last one: reset"
    assert ending.delay_seconds == 0


def test_what_is_not_charged_does_not_use_up_the_last_attempt():
    """An outage at the fifth attempt is an outage."""
    error = Broken("reset", charged=False)
    ending = retry.ending(run(attempts=5, max_attempts=5), error, FakeClock())
    assert (ending.prompt_event, ending.charged) == (PromptEvent.REQUEUE, False)


def test_runs_that_charge_nothing_are_not_without_end():
    """A prompt that a server turns away a thousand times is failed, with a reason."""
    error = Busy("full", charged=False)
    ending = retry.ending(run(attempt=retry.RUNS_MAX), error, FakeClock())
    assert ending.prompt_event is PromptEvent.FAIL
    assert "gave up after 1000 runs" in ending.error
    before = retry.ending(run(attempt=retry.RUNS_MAX - 1), error, FakeClock())
    assert before.prompt_event is PromptEvent.REQUEUE


def test_whoever_is_queued_again_by_hand_has_as_many_runs_as_before():
    """`spool retry` begins anew, though the number of the run goes on."""
    error = Busy("full", charged=False)
    again = retry.ending(run(attempt=retry.RUNS_MAX + 1), error, FakeClock())
    assert again.prompt_event is PromptEvent.REQUEUE
    last = retry.ending(run(attempt=2 * retry.RUNS_MAX), error, FakeClock())
    assert last.prompt_event is PromptEvent.FAIL


@pytest.mark.parametrize(
    "error",
    [
        ShutDown("stop", charged=False),
        LeaseLost("gone", verdict=Verdict.RETRY_LATER, charged=False),
    ],
)
def test_what_we_did_ourselves_is_never_the_last_run(error):
    """A worker that is told to stop hands back, whichever run it is."""
    ending = retry.ending(run(attempt=retry.RUNS_MAX), error, FakeClock())
    assert (ending.prompt_event, ending.delay_seconds) == (PromptEvent.REQUEUE, 0)


def test_what_the_server_said_of_itself_is_kept():
    """Status and request id, for its operators."""
    error = ServerFailed("oops", http_status=502, request_id="r-9")
    ending = retry.ending(run(), error, FakeClock())
    assert (ending.http_status, ending.request_id) == (502, "r-9")
