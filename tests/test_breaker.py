"""The circuit breaker: no claims while an endpoint is down, and a way back in every case."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from worker.breaker import (
    FAILURES_TO_OPEN,
    PAUSE_SECONDS_MAX,
    PROBE_SECONDS_FIRST,
    PROBE_SECONDS_MAX,
    REFUSALS_BELIEVED,
    REFUSED_SECONDS_MAX,
    Breaker,
    BreakerState,
)
from worker.errors import (
    Broken,
    Busy,
    ErrorCode,
    Malformed,
    Refused,
    ServerFailed,
    ShutDown,
    Stalled,
    Truncated,
    Unreachable,
)


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(Unreachable("refused"), at=at)
    assert breaker.state is BreakerState.OPEN
    return breaker


def half_open(at: float = 0.0) -> Breaker:
    breaker = opened(at)
    breaker.probed(alive=True, at=at)
    assert breaker.state is BreakerState.HALF_OPEN
    return breaker


def test_closed_lets_everything_through():
    """No failure, no limit but the free slots."""
    assert Breaker().slots(4, [1, 2], at=0) == 4


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("refused"),
        Busy("overloaded"),
        ServerFailed("500"),
        Stalled("silent"),
        Broken("reset"),
        Truncated("empty"),
    ],
)
def test_failures_in_a_row_open_it_once(error):
    """The last of them says so, and only it."""
    breaker = Breaker()
    told = [breaker.failed(error, at=at) for at in range(FAILURES_TO_OPEN + 2)]
    assert told == [False] * (FAILURES_TO_OPEN - 1) + [True, False, False]
    assert breaker.opened_at == FAILURES_TO_OPEN - 1
    assert breaker.last_error is error
    assert breaker.slots(4, [], at=100) == 0


def test_an_answer_in_between_starts_the_count_anew():
    """Failures have to be in a row."""
    breaker = Breaker()
    for _ in range(3):
        for _ in range(FAILURES_TO_OPEN - 1):
            assert not breaker.failed(ServerFailed("500"), at=0)
        assert not breaker.answered()
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("error", [Refused("no"), Malformed("odd"), ShutDown("stop")])
def test_what_a_living_server_says_does_not_count(error):
    """A bad prompt is no outage, and neither is our own shutdown."""
    breaker = Breaker()
    assert not any(breaker.failed(error, at=0) for _ in range(50))
    assert breaker.slots(4, [], at=0) == 4


def test_probes_come_with_growing_pauses():
    """One cheap request at a time, less and less often."""
    breaker = opened(at=100)
    assert not breaker.probe_due(at=100 + PROBE_SECONDS_FIRST - 0.1)
    at, pauses = 100 + PROBE_SECONDS_FIRST, []
    for _ in range(8):
        assert breaker.probe_due(at=at)
        breaker.probed(alive=False, at=at)
        pause = 0.0
        while not breaker.probe_due(at=at + pause):
            pause += 0.5
        pauses.append(pause)
        at += pause
    assert pauses == [2, 4, 8, 16, 30, 30, 30, 30]
    assert PROBE_SECONDS_MAX == 30


def test_a_living_probe_lets_one_prompt_out_at_a_time():
    """Half open: the next only when the one before has ended."""
    breaker = half_open()
    assert not breaker.probe_due(at=1e9)
    assert breaker.slots(4, [], at=0) == 1
    assert breaker.slots(3, [11], at=0) == 0
    assert breaker.slots(4, [], at=0) == 1


def test_old_runs_do_not_stand_in_the_way_of_the_one_that_tries():
    """A stream that has been going on for hours must not keep its endpoint half open."""
    breaker = half_open()
    assert breaker.slots(3, [1], at=0) == 1
    assert breaker.slots(2, [1, 2], at=0) == 0
    assert breaker.slots(3, [2], at=0) == 0
    assert breaker.slots(4, [], at=0) == 1


def test_half_open_needs_a_free_slot_too():
    """The configured concurrency holds in every state."""
    assert half_open().slots(0, [1, 2], at=0) == 0


def test_the_first_answer_closes_it():
    """And the pauses of the probes begin small again."""
    breaker = half_open()
    assert breaker.answered()
    assert (breaker.state, breaker.opened_at) == (BreakerState.CLOSED, None)
    assert breaker.last_error is None
    assert breaker.slots(4, [1, 2, 3], at=0) == 4
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(Broken("again"), at=50)
    assert breaker.probe_due(at=50 + PROBE_SECONDS_FIRST)


def test_the_next_failure_opens_it_again():
    """One is enough now, and it has been open since it first was."""
    breaker = half_open(at=7)
    assert breaker.failed(Stalled("silent"), at=60)
    assert (breaker.state, breaker.opened_at) == (BreakerState.OPEN, 7)
    assert not breaker.probe_due(at=60)
    assert breaker.probe_due(at=60 + PROBE_SECONDS_MAX)


def test_each_time_it_becomes_half_open_the_old_runs_are_counted_anew():
    """What was on trial last time is an old run now."""
    breaker = half_open()
    breaker.slots(4, [], at=0)
    breaker.failed(Broken("reset"), at=0)
    breaker.probed(alive=True, at=0)
    assert breaker.slots(3, [5], at=0) == 1


def test_a_probe_of_a_closed_breaker_changes_nothing():
    """An answer of a run may have closed it while the probe was under way."""
    breaker = opened()
    breaker.answered()
    breaker.probed(alive=True, at=0)
    assert breaker.state is BreakerState.CLOSED


def test_retry_after_is_obeyed_in_every_state_and_opens_nothing():
    """The server said when; until then nothing goes out, afterwards everything as before."""
    for breaker in (Breaker(), half_open()):
        before = breaker.state
        assert not breaker.failed(Busy("wait", retry_after_seconds=30), at=100)
        assert breaker.waits_until == 130
        assert breaker.slots(4, [], at=129.9) == 0
        assert breaker.slots(4, [], at=130) >= 1
        assert breaker.state is before


def test_a_server_that_tells_everybody_to_wait_is_asked_by_one_prompt_at_a_time():
    """A daily quota is used up at three: not four runs a second until the morning, but one."""
    breaker = Breaker()
    wait = Busy("429", retry_after_seconds=1)
    told = [breaker.failed(wait, at=0) for _ in range(FAILURES_TO_OPEN + 1)]
    assert told == [False] * (FAILURES_TO_OPEN - 1) + [True, False]
    assert (breaker.state, breaker.opened_at) == (BreakerState.HALF_OPEN, 0)
    assert breaker.last_error is wait
    assert breaker.slots(4, [], at=0.9) == 0
    assert breaker.slots(4, [7], at=1) == 1
    assert breaker.slots(4, [7, 8], at=1) == 0
    assert not breaker.failed(wait, at=2)
    assert breaker.slots(4, [7], at=3) == 1
    breaker.answered()
    assert breaker.slots(4, [], at=3) == 4


def test_of_two_wishes_the_longer_counts():
    """A short one that comes later does not shorten it."""
    breaker = Breaker()
    breaker.failed(Busy("wait", retry_after_seconds=30), at=100)
    breaker.failed(Busy("wait", retry_after_seconds=5), at=101)
    assert breaker.waits_until == 130


def test_an_absurd_wish_is_cut():
    """A server cannot send an endpoint to sleep for a week."""
    breaker = Breaker()
    breaker.failed(Busy("wait", retry_after_seconds=1e6), at=0)
    assert breaker.waits_until == PAUSE_SECONDS_MAX


ERRORS = st.sampled_from(
    [
        Unreachable("refused"),
        Broken("reset"),
        Busy("full"),
        Busy("wait", retry_after_seconds=20),
        ServerFailed("500"),
        Refused("no"),
    ]
)


class Endpoint(RuleBasedStateMachine):
    """An endpoint goes up and down; runs start only when the breaker lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = 0.0
        self.carried: list[int] = []
        self.started = 0

    def slots(self) -> int:
        return self.breaker.slots(8 - len(self.carried), self.carried, at=self.now)

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 60.0, 4000.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def claim(self):
        for _ in range(self.slots()):
            self.started += 1
            self.carried.append(self.started)

    @precondition(lambda self: self.carried)
    @rule(which=st.integers(0, 7), error=ERRORS)
    def fail(self, which, error):
        self.carried.pop(which % len(self.carried))
        self.breaker.failed(error, at=self.now)

    @precondition(lambda self: self.carried)
    @rule()
    def answer(self):
        self.breaker.answered()

    @precondition(lambda self: self.breaker.probe_due(at=self.now))
    @rule(alive=st.booleans())
    def probe(self, alive):
        self.breaker.probed(alive=alive, at=self.now)

    @invariant()
    def nothing_starts_while_it_is_open_or_was_asked_to_wait(self):
        slots = self.slots()
        assert 0 <= slots <= 8 - len(self.carried)
        if self.breaker.state is BreakerState.OPEN or self.now < self.breaker.waits_until:
            assert slots == 0
        if self.breaker.state is BreakerState.HALF_OPEN:
            assert slots <= 1

    def teardown(self):
        """From wherever it got to, it recovers as soon as the endpoint does."""
        self.carried.clear()  # deadlines end the longest run
        self.now = max(self.now, self.breaker.waits_until)
        if self.breaker.state is BreakerState.OPEN:
            self.now += PROBE_SECONDS_MAX
            assert self.breaker.probe_due(at=self.now)
            self.breaker.probed(alive=True, at=self.now)
        assert self.slots() >= 1
        self.breaker.answered()
        assert self.slots() == 8


TestEndpoint = Endpoint.TestCase
TestEndpoint.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_few_failures_among_many_that_wait_are_no_outage() -> None:
    """Of two hundred streams that start together some may fail before the first is answered."""
    breaker = Breaker()
    for _ in range(20):
        assert not breaker.failed(ServerFailed("500"), at=1.0, waiting=180)
    assert breaker.state is BreakerState.CLOSED
    for _ in range(79):
        assert not breaker.failed(ServerFailed("500"), at=1.0, waiting=100)
    assert breaker.failed(ServerFailed("500"), at=1.0, waiting=100)
    assert breaker.state is BreakerState.OPEN


# --- refused at the door


def refusal(code: ErrorCode = ErrorCode.UNAUTHORIZED, status: int = 401) -> Refused:
    return Refused("HTTP 401: this key has expired", code=code, http_status=status)


def shut(at: float = 0.0) -> Breaker:
    breaker = Breaker()
    told = [breaker.refused(refusal(), at=at) for _ in range(REFUSALS_BELIEVED + 1)]
    assert told == [False] * REFUSALS_BELIEVED + [True]
    return breaker


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCode.UNAUTHORIZED, 401),
        (ErrorCode.QUOTA_EXHAUSTED, 429),
        (ErrorCode.NOT_FOUND, 404),
        (ErrorCode.BAD_REQUEST, 308),
    ],
)
def test_whoever_refuses_everybody_gets_no_more_prompts(code, status) -> None:
    """A key that expired, a server that has moved, are no matter of fifty thousand prompts."""
    breaker = Breaker()
    for _ in range(REFUSALS_BELIEVED):
        assert not breaker.refused(refusal(code, status), at=5)
        assert not breaker.refuses
    assert breaker.refused(refusal(code, status), at=6)
    assert breaker.refuses
    assert (breaker.state, breaker.opened_at) == (BreakerState.OPEN, 6)
    assert str(breaker.last_error) == "HTTP 401: this key has expired"
    assert not breaker.refused(refusal(code, status), at=7), "told once"


def test_a_prompt_that_was_looked_at_shows_that_the_door_is_open() -> None:
    """A request that is bad in itself came past the key."""
    breaker = Breaker()
    for code in [ErrorCode.UNAUTHORIZED] * REFUSALS_BELIEVED + [ErrorCode.BAD_REQUEST]:
        assert not breaker.refused(refusal(code), at=0)
    assert not breaker.refused(refusal(), at=0)
    breaker.answered()
    for _ in range(REFUSALS_BELIEVED):
        assert not breaker.refused(refusal(), at=0)


def test_one_prompt_at_a_time_finds_out_whether_the_door_is_open_again() -> None:
    """Less and less often, for each try is a prompt's; the first answer opens it for all."""
    breaker, at, pauses = shut(), 0.0, []
    for _ in range(12):
        before = at
        while not breaker.probe_due(at=at):
            at += 0.5
        pauses.append(at - before)
        breaker.probed(alive=True, at=at)
        assert breaker.slots(4, [], at=at) == 1
        assert breaker.refused(refusal(), at=at)
    assert pauses[:3] == [1, 2, 4]
    assert pauses[-1] == REFUSED_SECONDS_MAX
    assert breaker.opened_at == 0
    breaker.probed(alive=True, at=at)
    assert breaker.answered()
    assert not breaker.refuses
    assert breaker.slots(4, [], at=at) == 4


def test_it_is_remembered_whether_there_ever_was_an_answer() -> None:
    """A key that never worked is a typing error; one that did may work again."""
    assert not shut().has_answered
    breaker = Breaker()
    breaker.answered()
    breaker.failed(Unreachable("refused"), at=0)
    assert breaker.has_answered
