"""One endpoint as its worker knows it: slots, breaker, probes, and who is to blame."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from math import inf

import pytest

from tests.fakes.aio import aio, turns
from tests.fakes.clock import FakeClock
from tests.fakes.scripted_stream import CHAT, ScriptedStream, endpoint, run
from worker.breaker import FAILURES_TO_OPEN, REFUSALS_BELIEVED, BreakerState
from worker.carriage import Outcome
from worker.errors import Broken, Busy, ErrorCode, Refused, ServerFailed, Unreachable
from worker.outage import KEPT_SECONDS, OUT_SECONDS, Breaks, EndpointWatch

COMPLETED = Outcome(None, None, answered=True)


class Watched:
    """A watch on an endpoint that answers probes as told."""

    def __init__(self, revive=None, **changes: object) -> None:
        self.clock = FakeClock()
        self.stream = ScriptedStream(self.clock)
        self.said: list[tuple[str, dict[str, object]]] = []
        self.woken = 0
        self.watch = EndpointWatch(
            endpoint(**changes),
            CHAT,
            self.stream,
            clock=self.clock,
            log=lambda event, **values: self.said.append((event, values)),
            revive=revive,
        )

    def wake(self) -> None:
        self.woken += 1

    def fail(self, error=None, times: int = 1, *, answered: bool = False) -> None:
        for _ in range(times):
            self.watch.learn(
                Outcome(None, error or Unreachable("refused"), answered),
                began_at=self.clock.monotonic(),
                failed_at=self.clock.monotonic(),
            )

    async def alive(self, *, since: float = inf) -> bool:
        """Asked for a run that has only just begun, if nothing else is said."""
        return await self.watch.alive(since=since)

    def open(self) -> None:
        self.fail(times=FAILURES_TO_OPEN)
        assert self.watch.breaker.state is BreakerState.OPEN


# --- streams that break off together


@pytest.mark.parametrize(
    ("breaks", "under_way", "most"),
    [
        ([(0, 100), (50, 100)], 2, True),
        ([(0, 100), (50, 100)], 3, True),
        ([(0, 100), (50, 100)], 4, False),  # half of them: the others live
        ([(0, 100)], 2, False),
        ([(0, 99.5), (50, 100.5)], 2, True),
        ([(0, 99.4), (50, 100)], 2, False),  # too long before
        ([(0, 100), (1, 100)], 2, False),  # cut for their age
        ([(40, 100), (40, 100)], 2, True),  # too young for that
        ([(39.9, 100), (40, 100)], 2, False),
        ([(0, 100), (0.5, 100), (50, 100)], 3, True),
        ([(0, 10), (5, 10), (0, 100), (50, 100)], 4, False),  # what was long ago is forgotten
    ],
)
def test_most_streams_of_different_ages_break_off_together(breaks, under_way, most):
    """Then it is no fault of theirs, though the endpoint answers again."""
    lately = Breaks()
    for began_at, at in breaks:
        lately.note(began_at=began_at, at=at)
    assert lately.most_of(under_way, at=100, counted=True) is most


def test_youth_is_an_excuse_only_for_deaths_that_are_counted():
    """Nothing else would ever end what is cut off at one age each time: by a deadline, by a 500."""
    lately = Breaks()
    for began_at in (70, 70.5):
        lately.note(began_at=began_at, at=100)
    assert lately.most_of(2, at=100, counted=True)
    assert not lately.most_of(2, at=100, counted=False)
    lately.note(began_at=72, at=100)
    assert lately.most_of(3, at=100, counted=False)


def test_what_broke_off_long_ago_is_forgotten():
    """An endpoint that loses streams all night takes no more memory for it."""
    lately = Breaks()
    for at in range(10_000):
        lately.note(began_at=0, at=at)
    assert len(lately._broke_at) == len(lately._ages) <= 2 * KEPT_SECONDS + 2


@aio
async def test_a_question_may_take_longer_than_streams_break_off_together():
    """Another one that breaks off meanwhile does not make the first ones forgotten."""
    it = Watched()
    it.stream.probing = asyncio.Event()
    asked = []
    for began_at in (0.0, 10.0, 20.0):
        asking = it.watch.alive(since=inf, began_at=began_at, under_way=3)
        asked.append(asyncio.ensure_future(asking))
    await turns()
    await it.clock.advance(5.0)
    late = asyncio.ensure_future(it.watch.alive(since=inf, began_at=900.0, under_way=4))
    await turns()
    it.stream.probing.set()
    await turns()
    await it.clock.advance(1.0)
    assert [await each for each in asked] == [False] * 3
    assert await late


@pytest.mark.parametrize(("seconds", "alive"), [(0.2, [False] * 3), (0.6, [True] * 3)])
@aio
async def test_whoever_breaks_off_waits_a_moment_for_the_others(seconds, alive):
    """The first to notice cannot know yet that it is not alone."""
    it = Watched()
    asked = []
    for began_at in (0.0, 10.0, 20.0):
        asking = it.watch.alive(since=inf, began_at=began_at, under_way=3)
        asked.append(asyncio.ensure_future(asking))
        await turns()
        await it.clock.advance(seconds)
    await it.clock.advance(1.0)
    assert [await each for each in asked] == alive


@aio
async def test_a_stream_that_is_alone_waits_for_nobody():
    """It is judged by the answer of its endpoint."""
    it = Watched()
    assert await it.watch.alive(since=inf, began_at=0.0, under_way=1)
    assert it.clock.slept == []


# --- slots


def test_slots_are_what_is_left_of_the_concurrency():
    """And never less than none, should an endpoint come back smaller."""
    it = Watched(concurrency=3)
    assert [it.watch.slots(range(carried)) for carried in (0, 2, 3, 5)] == [3, 1, 0, 0]


def test_an_endpoint_that_fails_gets_no_more_prompts():
    """Opening is told, with the reason."""
    it = Watched()
    it.open()
    assert it.watch.slots([]) == 0
    assert it.said == [("breaker_opened", {"endpoint": "default", "error": "refused"})]


def test_an_endpoint_that_stays_out_is_told_once():
    """Its front page answers, its model does not: a prompt every half minute finds out, silently."""
    it = Watched()
    it.open()
    for _ in range(5):
        it.watch.breaker.probed(alive=True, at=it.clock.monotonic())
        it.fail(ServerFailed("500"))
        assert it.watch.breaker.state is BreakerState.OPEN
    it.watch.answered(began_at=it.clock.monotonic())
    it.open()
    words = [event for event, _ in it.said]
    assert words == ["breaker_opened", "breaker_closed", "breaker_opened"]


def test_the_first_frame_of_a_run_closes_it():
    """Not its end, which may be hours away."""
    it = Watched()
    it.open()
    assert it.watch.answered(began_at=it.clock.monotonic())
    assert not it.watch.answered(began_at=it.clock.monotonic())
    assert it.said[-1] == ("breaker_closed", {"endpoint": "default"})
    assert it.watch.slots([]) == 4


def test_a_stream_that_breaks_after_its_first_frame_is_no_sign_of_life():
    """It lived once; when it broke, the endpoint may have been out for long."""
    it = Watched()
    it.open()
    it.fail(Broken("reset"), answered=True)
    assert it.watch.breaker.state is BreakerState.OPEN


def test_a_stream_that_breaks_after_its_first_frame_is_no_failure_to_begin_either():
    """Long answers end badly now and then, also where every request is answered."""
    it = Watched()
    it.fail(Broken("reset"), times=50, answered=True)
    assert it.watch.slots([]) == 4


def test_a_completed_run_without_a_frame_is_an_answer():
    """Zero text, but a done frame."""
    it = Watched()
    it.open()
    it.watch.learn(Outcome(None, None, answered=False), began_at=it.clock.monotonic())
    assert it.watch.breaker.state is BreakerState.CLOSED


def test_a_completed_run_was_told_at_its_first_frame():
    """A server that finishes old streams and takes no new ones is not back."""
    it = Watched()
    it.open()
    it.watch.learn(COMPLETED, began_at=it.clock.monotonic())
    assert it.watch.breaker.state is BreakerState.OPEN


def test_retry_after_in_the_middle_of_an_answer_is_obeyed_too():
    """ "Overloaded, wait 30 seconds" is a wish for all requests."""
    it = Watched()
    it.fail(Busy("overloaded", retry_after_seconds=30), answered=True)
    assert it.watch.slots([]) == 0
    it.clock.move(30)
    assert it.watch.slots([]) == 4


def test_a_refused_prompt_says_nothing_against_the_endpoint():
    """Somebody answered."""
    it = Watched()
    it.fail(Refused("bad request"), times=50)
    assert it.watch.slots([]) == 4


# --- probes


@aio
async def test_a_probe_that_is_answered_wakes_the_claims():
    """One prompt goes out then."""
    it = Watched()
    it.open()
    assert not it.watch.probe_due()
    it.clock.move(1)
    assert it.watch.probe_due()
    await it.watch.probe(it.wake)
    assert (it.woken, it.stream.probes) == (1, 1)
    assert it.watch.slots([]) == 1
    assert not it.watch.probe_due()


@aio
async def test_a_probe_that_fails_wakes_nobody_and_is_told():
    """The next one comes later."""
    it = Watched()
    it.open()
    it.clock.move(1)
    it.stream.alive = ServerFailed("502")
    await it.watch.probe(it.wake)
    assert it.woken == 0
    assert it.said[-1] == ("breaker_probe_failed", {"endpoint": "default", "error": "502"})
    assert not it.watch.probe_due()
    it.clock.move(2)
    assert it.watch.probe_due()


@aio
async def test_one_probe_at_a_time():
    """An endpoint in trouble is not crowded by those who ask how it is."""
    it = Watched()
    it.open()
    it.clock.move(1)
    it.stream.probing = asyncio.Event()
    probe = asyncio.create_task(it.watch.probe(it.wake))
    await turns()
    it.clock.move(100)
    assert not it.watch.probe_due()
    it.stream.probing.set()
    await probe
    assert it.stream.probes == 1


@aio
async def test_a_surprise_in_a_probe_is_a_probe_that_failed():
    """An exception that nobody foresaw must not leave the breaker open for ever."""
    it = Watched()
    it.open()
    it.clock.move(1)
    it.stream.alive = RuntimeError("a bug")
    await it.watch.probe(it.wake)
    it.clock.move(2)
    assert it.watch.probe_due()
    it.stream.alive = None
    await it.watch.probe(it.wake)
    assert it.woken == 1


# --- blame


@aio
async def test_a_hundred_runs_that_fail_together_ask_once():
    """When a server dies all of its streams break; one question serves them all."""
    it = Watched()
    it.stream.alive = Unreachable("refused")
    it.stream.probing = asyncio.Event()
    asking = [asyncio.create_task(it.alive()) for _ in range(100)]
    await turns()
    it.stream.probing.set()
    assert await asyncio.gather(*asking) == [False] * 100
    assert it.stream.probes == 1


@aio
async def test_nobody_answers_is_believed_for_a_moment():
    """Late stragglers of the same outage need no probe of their own."""
    it = Watched()
    it.stream.alive = Unreachable("refused")
    assert not await it.alive()
    it.stream.alive = None
    it.clock.move(OUT_SECONDS - 0.1)
    assert not await it.alive()
    assert it.stream.probes == 1
    it.clock.move(0.1)
    assert await it.alive()


@aio
async def test_a_sign_of_life_is_past_at_once():
    """The server may have died right after it: the next failure asks again."""
    it = Watched()
    assert await it.alive()
    it.stream.alive = Unreachable("refused")
    assert not await it.alive()


@aio
async def test_an_outage_is_remembered_for_the_runs_that_it_met():
    """A server that restarts in a second is up when the last broken stream is noticed."""
    it = Watched()
    before = it.clock.monotonic()
    it.clock.move(1)
    it.stream.alive = Unreachable("refused")
    assert not await it.alive()
    it.stream.alive = None
    it.clock.move(60)
    assert not await it.alive(since=before)
    assert await it.alive(since=it.clock.monotonic())


@aio
async def test_a_refused_connection_is_an_outage_that_was_met():
    """One run could not connect: another that broke before is no more to blame than it."""
    it = Watched()
    before = it.clock.monotonic()
    it.clock.move(1)
    it.fail(Unreachable("refused"))
    assert not await it.alive(since=before)
    it.clock.move(1)
    assert await it.alive(since=it.clock.monotonic())


@aio
async def test_an_outage_that_is_noticed_while_we_ask_counts():
    """The probe found it back; another run was refused meanwhile."""
    it = Watched()
    it.stream.probing = asyncio.Event()
    since = it.clock.monotonic()
    it.clock.move(1)
    asking = asyncio.create_task(it.alive(since=since))
    await turns()
    it.fail(Unreachable("refused"))
    it.stream.probing.set()
    assert not await asking


@aio
async def test_an_answer_to_somebody_who_asked_later_ends_the_doubt():
    """A busy server leaves a probe waiting for seconds, while it answers hundreds of prompts."""
    it = Watched()
    it.stream.probing = asyncio.Event()
    began_at = it.clock.monotonic()
    it.clock.move(1)
    asking = asyncio.create_task(it.alive(since=began_at))
    await turns()
    it.watch.answered(began_at=began_at)  # it may have been on its way when the server died
    await turns()
    assert not asking.done()
    it.clock.move(1)
    it.watch.answered(began_at=it.clock.monotonic())
    assert await asking
    it.stream.probing.set()


def test_failures_that_are_learned_after_an_answer_are_past():
    """Who asks for seconds whose fault it was comes late with its failure; in a row is in time."""
    it = Watched()
    it.clock.move(1)
    failed_at = it.clock.monotonic()
    it.clock.move(1)
    it.watch.answered(began_at=0.0)  # whenever it was asked
    late = Outcome(None, Broken("reset"), answered=False)
    for _ in range(50):
        it.watch.learn(late, began_at=0.0, failed_at=failed_at)
    assert it.watch.breaker.state is BreakerState.CLOSED
    for _ in range(FAILURES_TO_OPEN):
        it.watch.learn(late, began_at=0.0, failed_at=it.clock.monotonic())
    assert it.watch.breaker.state is BreakerState.OPEN


@aio
async def test_who_stops_waiting_does_not_take_the_answer_from_the_others():
    """A run that is cancelled while it asks leaves the question standing."""
    it = Watched()
    it.stream.probing = asyncio.Event()
    one, other = (asyncio.create_task(it.alive()) for _ in range(2))
    await turns()
    one.cancel()
    await turns()
    it.stream.probing.set()
    assert await other


@aio
async def test_closing_ends_a_question_that_is_under_way():
    """A worker that ends leaves no task behind; asking again would begin anew."""
    it = Watched()
    await it.watch.close()
    it.stream.probing = asyncio.Event()
    asking = asyncio.create_task(it.alive())
    await turns()
    await it.watch.close()
    await asyncio.gather(asking, return_exceptions=True)
    assert asking.cancelled()
    it.stream.probing.set()
    assert await it.alive()


# --- an endpoint of our own


@aio
async def test_an_embedded_endpoint_is_brought_back_before_it_is_asked():
    """It may come back at another address; later runs go there."""

    async def revive(place):
        return replace(place, base_url="http://127.0.0.1:9/v1"), False

    it = Watched(revive, embedded=True)
    assert await it.alive()
    assert it.watch.endpoint.base_url == "http://127.0.0.1:9/v1"


@aio
async def test_a_server_of_our_own_that_died_was_out_though_it_is_back():
    """To ask revives it: an answer to that is no proof that it was there all the while."""

    async def revive(place):
        return place, it.died

    it = Watched(revive, embedded=True)
    it.died = True
    since = it.clock.monotonic()
    it.clock.move(1)
    assert not await it.alive(since=since)
    it.died = False
    assert not await it.alive(since=since)
    it.clock.move(1)
    assert await it.alive(since=it.clock.monotonic())


@aio
async def test_an_endpoint_of_somebody_else_is_not_revived():
    """Only what this worker runs itself."""

    async def revive(place):
        raise AssertionError("not ours")

    it = Watched(revive)
    assert await it.alive()


# --- an endpoint that refuses everybody


def refusal(code: ErrorCode = ErrorCode.UNAUTHORIZED) -> Refused:
    return Refused("HTTP 401: no such key", code=code)


def test_after_many_refusals_prompts_are_spared():
    """The first of them have failed, as each of them says; then it is the endpoint's fault."""
    it = Watched()
    spared = [it.watch.turned_away(run(n), refusal()) for n in range(REFUSALS_BELIEVED + 3)]
    assert spared == [False] * REFUSALS_BELIEVED + [True] * 3
    said = {"endpoint": "default", "error": "HTTP 401: no such key"}
    assert it.said == [("breaker_opened", said)]
    assert not it.watch.turned_away(run(99), refusal(ErrorCode.BAD_REQUEST))


def test_a_model_that_the_prompt_has_chosen_itself_is_its_own_fault():
    """A thousand prompts for a model that is not there say nothing about the endpoint's own."""
    it = Watched()
    missing = ErrorCode.NOT_FOUND
    odd = [it.watch.turned_away(run(n, model="odd"), refusal(missing)) for n in range(50)]
    own = [it.watch.turned_away(run(n), refusal(missing)) for n in range(REFUSALS_BELIEVED + 1)]
    assert not any(odd)
    assert own == [False] * REFUSALS_BELIEVED + [True]


def test_only_an_endpoint_that_never_answered_is_given_up():
    """One that did may be what it was again: its account is topped up, its model comes back."""
    it = Watched()
    for n in range(REFUSALS_BELIEVED + 1):
        assert not it.watch.is_hopeless
        it.watch.turned_away(run(n), refusal())
    assert it.watch.is_hopeless
    assert "'default' turns every prompt away (HTTP 401: no such key)" in str(it.watch.hopelessness)
    it.watch.answered(began_at=it.clock.monotonic())
    for n in range(REFUSALS_BELIEVED + 1):
        it.watch.turned_away(run(n), refusal())
    assert it.watch.breaker.refuses
    assert not it.watch.is_hopeless


# --- how it stands


def test_it_says_how_it_stands():
    """`status` puts it in words: open since when, why, and until when it waits."""
    it = Watched()
    assert it.watch.standing() == {"state": "closed"}
    it.open()
    it.clock.move(5)
    assert it.watch.standing() == {
        "state": "open",
        "since": "2026-01-01T00:00:00+00:00",
        "asks_at": "2026-01-01T00:00:01+00:00",
        "error": "refused",
    }
    it.watch.answered(began_at=it.clock.monotonic())
    it.fail(Busy("wait", retry_after_seconds=60))
    assert it.watch.standing() == {
        "state": "closed",
        "paused_until": "2026-01-01T00:01:05+00:00",
    }
    it.clock.move(59)
    assert it.watch.standing()["paused_until"] == "2026-01-01T00:01:05+00:00"
    it.clock.move(1)
    assert it.watch.standing() == {"state": "closed"}


def test_since_when_it_is_out_stays_the_same(monkeypatch):
    """However often it was asked meanwhile, and whatever happened to the clock on the wall."""
    it = Watched()
    it.open()
    for hour in range(4):
        monkeypatch.setattr(
            it.clock, "now", lambda hour=hour: datetime(2026, 1, 1, hour, tzinfo=UTC)
        )
        assert it.watch.standing()["since"] == "2026-01-01T00:00:00+00:00"
        it.clock.move(1)
        it.watch.breaker.probed(alive=False, at=it.clock.monotonic())


def test_it_says_that_it_is_refused():
    """The code, so that `status` can name the cure."""
    it = Watched()
    for n in range(REFUSALS_BELIEVED + 1):
        it.watch.turned_away(run(n), refusal())
    assert it.watch.standing() == {
        "state": "open",
        "since": "2026-01-01T00:00:00+00:00",
        "asks_at": "2026-01-01T00:00:01+00:00",
        "error": "HTTP 401: no such key",
        "refuses": "unauthorized",
    }
