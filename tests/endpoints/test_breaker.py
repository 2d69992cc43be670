"""When claims stop, when canaries go out, and how the doors open again."""

from __future__ import annotations

import pytest

from worker.endpoints.breaker import (
    CANARY_SECONDS_MAX,
    FAILURES_TO_OPEN,
    NEVER_WORKED_CANARIES,
    REFUSED_SECONDS_MAX,
    Breaker,
    BreakerState,
    Ramp,
)
from worker.errors import Busy, Refused, ServerFailed, Unreachable
from worker.run.attribution import PAUSE_SECONDS_MAX

DOWN = Unreachable("refused", charged=False)
REFUSED = Refused("HTTP 401")


def opened(error=DOWN, *, refuses=False) -> Breaker:
    breaker = Breaker()
    assert breaker.open(error, at=0.0, refuses=refuses)
    return breaker


def test_failures_in_a_row_open_it():
    """One less does not, and an answer between begins anew."""
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN - 1):
        assert not breaker.failed(DOWN, at=1.0)
    breaker.answered()
    for _ in range(FAILURES_TO_OPEN - 1):
        assert not breaker.failed(DOWN, at=1.0)
    assert breaker.failed(DOWN, at=1.0)
    assert breaker.state is BreakerState.OPEN
    assert breaker.slots(9, [], at=1.0) == 0
    assert breaker.last_error is DOWN


def test_as_many_have_to_fail_as_still_wait():
    """Of hundreds that start together a few may fail before the first is answered."""
    breaker = Breaker()
    for number in range(49):
        assert not breaker.failed(DOWN, at=1.0, waiting=99 - number)
    assert breaker.failed(DOWN, at=1.0, waiting=50)


def test_a_server_that_answers_others_is_not_down():
    """It has no room for more, and says so."""
    breaker = Breaker()
    for _ in range(99):
        assert not breaker.failed(Busy("429"), at=1.0, answers_others=True)
    assert breaker.state is BreakerState.CLOSED


def test_canaries_go_out_at_growing_distances():
    """Half a minute apart at most, if the endpoint is only down."""
    breaker = opened()
    at, waits = 0.0, []
    for _ in range(8):
        waits.append(breaker.asks_at - at)
        at = breaker.asks_at
        assert breaker.canary_due(at=at)
        breaker.refused_again(at=at)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    assert waits[-1] == CANARY_SECONDS_MAX
    breaker.answered()
    breaker.open(DOWN, at=at)
    assert breaker.asks_at == at + 1


def test_where_a_person_has_to_look_they_go_out_less_often():
    """Nobody tops up an account every half minute."""
    breaker = opened(REFUSED, refuses=True)
    for _ in range(20):
        at = breaker.asks_at
        breaker.refused_again(at=at)
    assert breaker.asks_at - at == REFUSED_SECONDS_MAX


def test_what_costs_tokens_is_minutes_apart():
    """As the canaries of the last hour say."""
    breaker = opened()
    breaker.refused_again(at=1.0, least_seconds=120)
    assert breaker.asks_at == 121


def test_news_from_elsewhere_ends_the_wait():
    """Another worker was answered."""
    breaker = opened(REFUSED, refuses=True)
    breaker.refused_again(at=1.0)
    breaker.ask_now(at=1.5)
    assert breaker.canary_due(at=1.5)


@pytest.mark.parametrize(("asked", "granted"), [(7.0, 7.0), (10**6, PAUSE_SECONDS_MAX)])
def test_a_server_is_given_the_time_it_asks_for(asked, granted):
    """In every state; its canary waits as well."""
    breaker = Breaker()
    breaker.failed(Busy("wait", retry_after_seconds=asked), at=10.0)
    assert breaker.waits_until == 10 + granted
    assert breaker.slots(9, [], at=9.9 + granted) == 0
    assert breaker.slots(9, [], at=10 + granted) == 9
    breaker.open(DOWN, at=10.0)
    assert breaker.asks_at == 10 + granted


def test_half_open_lets_one_go_first():
    """Runs from before do not count; the first frame opens the doors."""
    breaker = Breaker()
    breaker.half_open(at=1.0, error=DOWN)
    assert breaker.slots(9, [1, 2], at=1.0) == 1
    assert breaker.slots(9, [1, 2, 3], at=1.0) == 0
    assert breaker.slots(9, [2], at=1.0) == 1
    assert breaker.answered(under_way=2)
    assert breaker.slots(9, [2, 3], at=1.0) == 1


def test_one_that_went_first_in_vain_makes_the_distance_grow():
    """Else prompts would go out each second where there is no canary."""
    breaker = opened()
    for seconds in (2, 4, 8):
        breaker.half_open(at=0.0)
        assert breaker.failed(DOWN, at=0.0)
        assert breaker.asks_at == seconds


def test_failures_of_one_moment_are_one_round():
    """A pause grows with how often it was tried, not with how many there were."""
    breaker = Breaker()
    for _ in range(4):
        breaker.failed(DOWN, at=5.0, sent_at=1.0)
    assert breaker.rounds == 1
    breaker.failed(DOWN, at=9.0, sent_at=6.0)
    assert breaker.rounds == 2
    breaker.answered()
    assert breaker.rounds == 0


def test_never_worked_is_told_from_down_now():
    """By a refusal at once; by faults of the server after a few canaries; never after an answer."""
    assert opened(REFUSED, refuses=True).never_worked
    assert not opened(DOWN).never_worked
    breaker = opened(ServerFailed("500"), refuses=True)
    assert not breaker.never_worked
    for at in range(NEVER_WORKED_CANARIES):
        breaker.refused_again(at=float(at))
    assert breaker.never_worked
    breaker.answered()
    breaker.open(REFUSED, at=1.0, refuses=True)
    assert not breaker.never_worked


def test_the_ramp_doubles_with_each_round_of_answers():
    """Also where answers take an hour: each makes room for two more beside itself."""
    ramp = Ramp()
    assert ramp.slots(500, 0) == 500
    ramp.begin(0)
    under_way, sizes = 0, []
    for _ in range(6):
        sizes.append(ramp.slots(500, under_way))
        under_way += sizes[-1]
        assert ramp.grows(500)
        for _ in range(sizes[-1]):
            ramp.answered()
    assert sizes == [1, 2, 4, 8, 16, 32]
    assert not ramp.grows(64)


def test_where_it_had_no_room_the_ramp_slows_down():
    """Half as many, not fewer than it carries; once for those that were sent together."""
    ramp = Ramp()
    assert ramp.narrow(streaming=4, under_way=32, sent_at=1.0, at=5.0)
    assert (ramp.most, ramp.narrowed) == (16, True)
    assert not ramp.narrow(streaming=4, under_way=30, sent_at=1.0, at=5.1)
    assert ramp.narrow(streaming=4, under_way=16, sent_at=5.2, at=9.0)
    assert ramp.narrow(streaming=4, under_way=5, sent_at=9.1, at=12.0)
    assert ramp.most == 4
    for _ in range(11):
        ramp.answered()
    assert ramp.most == 5
