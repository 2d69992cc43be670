"""What is found out about an endpoint when a run has failed there."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.endpoints.place import Place
from tests.fakes.aio import aio, turns
from worker.endpoints.brake import PROMPTS_BELIEVED
from worker.endpoints.breaker import FAILURES_TO_OPEN, NEVER_WORKED_CANARIES, BreakerState
from worker.endpoints.runs import VERDICT_SECONDS
from worker.endpoints.telling import believe, never_worked
from worker.errors import (
    Broken,
    Busy,
    ErrorCode,
    Malformed,
    Refused,
    ServerFailed,
    Stalled,
    Unfinished,
    Unreachable,
)
from worker.run.attribution import Evidence

BAD_REQUEST = Refused("HTTP 400: no such option", http_status=400)
WRONG_KEY = Refused("HTTP 401: wrong key", code=ErrorCode.UNAUTHORIZED, http_status=401)
NO_MODEL = Refused("HTTP 404: no such model", code=ErrorCode.NOT_FOUND, http_status=404)
NO_FRAME = Stalled("no first frame", code=ErrorCode.FIRST_FRAME_TIMEOUT)

# --- states: settled by a canary


@aio
async def test_only_the_answer_of_a_canary_makes_the_refusal_of_one_count():
    """A thinking budget refuses every canary, and answers every prompt: a bad one shuts no door."""
    it = Place()
    it.streaming(1)
    believe(it.monitor, it.monitor.said.state(), at_start=False, at=it.clock.monotonic())
    it.stream.alive = Refused("HTTP 400: more tokens than the budget", http_status=400)
    assert (await it.fail(it.send(), BAD_REQUEST)).evidence is Evidence.NONE
    assert it.breaker.state is BreakerState.CLOSED
    assert it.monitor.canaries.is_useless("small")


@aio
async def test_who_waits_for_a_verdict_sleeps_until_there_is_news():
    """An answer to somebody who was sent before proves nothing, and must not keep the loop busy."""
    it = Place(jump=False)
    earlier = it.send()
    it.clock.move(1)
    doubtful = it.send()
    it.clock.move(1)
    it.send()  # waits for its first frame: it will tell
    finding = it.failing(doubtful, BAD_REQUEST)
    await turns()
    it.hear(earlier)
    await turns(200)
    assert len(it.clock.slept) <= 3
    assert not finding.done()
    finding.cancel()


@pytest.mark.parametrize("error", [BAD_REQUEST, WRONG_KEY, ServerFailed("500", http_status=500)])
@aio
async def test_where_a_canary_is_answered_the_request_is_to_blame(error):
    """Whatever the status says."""
    it = Place()
    assert (await it.fail(it.send(), error)).evidence is Evidence.WELL
    assert it.stream.probes == 1
    assert it.breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize(
    "error",
    [
        WRONG_KEY,
        BAD_REQUEST,
        Refused("HTTP 412: suspended", http_status=412),
        Malformed("a page with status 200"),
        ServerFailed("HTTP 500: oops", http_status=500),
    ],
    ids=str,
)
@aio
async def test_where_the_canary_is_refused_so_as_well_the_endpoint_is(error):
    """No list of statuses decides: who refuses one token refuses everybody."""
    it = Place()
    it.stream.alive = error
    assert (await it.fail(it.send(), error)).evidence is Evidence.DOWN
    assert it.breaker.state is BreakerState.OPEN
    assert it.monitor.room().limit == 0
    assert it.words.count("breaker_opened") == 1


@aio
async def test_hundreds_that_are_refused_together_share_one_canary():
    """And all of them learn what it was answered."""
    it = Place(concurrency=100)
    it.stream.alive = WRONG_KEY
    controls = [it.send() for _ in range(100)]
    findings = await asyncio.gather(*[it.failing(each, WRONG_KEY) for each in controls])
    assert {each.evidence for each in findings} == {Evidence.DOWN}
    assert it.stream.probes == 1


@aio
async def test_a_run_that_was_sent_later_and_is_answered_is_as_good_as_a_canary():
    """No token is asked for that somebody else asks for anyway."""
    it = Place(jump=False)
    refused = it.send()
    it.clock.move(1)
    later = it.send()
    asking = it.failing(refused, BAD_REQUEST)
    await turns()
    it.hear(later)
    assert (await asking).evidence is Evidence.WELL
    assert it.stream.probes == 0


@aio
async def test_what_a_prompt_was_refused_with_is_disproved_by_its_answer():
    """One replica of three is wrong: what it says to the next prompt says nothing of that one."""
    it = Place()
    assert not (await it.fail(it.send(prompt_id=7), BAD_REQUEST)).disproved
    it.hear(it.send(prompt_id=7))
    assert (await it.fail(it.send(prompt_id=8), BAD_REQUEST)).disproved


@aio
async def test_what_a_canary_was_refused_with_is_disproved_by_its_answer():
    """A canary is never wrong itself."""
    it = Place()
    it.stream.alive = BAD_REQUEST
    assert (await it.fail(it.send(), BAD_REQUEST)).evidence is Evidence.DOWN
    it.stream.alive = None
    it.clock.move(60)
    await it.monitor.probe(lambda: None)
    assert (await it.fail(it.send(), BAD_REQUEST)).disproved


@aio
async def test_a_stream_that_began_before_the_key_expired_is_no_answer():
    """Its frames come on; new requests are refused all the same."""
    it = Place()
    (old,) = it.streaming()
    it.clock.move(5)
    it.stream.alive = WRONG_KEY
    asking = it.failing(it.send(), WRONG_KEY)
    it.hear(old)
    assert (await asking).evidence is Evidence.DOWN


@aio
async def test_a_canary_that_times_out_beside_a_stream_says_nothing():
    """A single slot may be busy for hours."""
    it = Place(jump=False)
    (busy,) = it.streaming()
    it.stream.alive, it.stream.probing = NO_FRAME, asyncio.Event()
    asking = it.failing(it.send(), BAD_REQUEST)
    await turns()
    it.clock.move(20)
    it.hear(busy)
    it.stream.probing.set()
    assert (await asking).evidence is Evidence.NONE
    assert it.breaker.state is BreakerState.CLOSED


@aio
async def test_a_canary_that_was_never_answered_counts_only_if_it_is_refused_in_the_same_words():
    """It may be wrong itself: then it is spelled simpler, and then it is given up."""
    it = Place()
    it.stream.alive = Refused("HTTP 400: max_tokens is not supported", http_status=400)
    assert (await it.fail(it.send(), BAD_REQUEST)).evidence is Evidence.NONE
    assert it.stream.probes == 2
    assert it.monitor.canaries.is_useless("small")
    assert it.breaker.state is BreakerState.CLOSED
    assert (await it.fail(it.send(), BAD_REQUEST)).evidence is Evidence.NONE
    assert it.stream.probes == 2, "what says nothing is not asked again"


@aio
async def test_a_canary_that_was_answered_once_counts_in_any_words():
    """It is known to be right; another wording is another door that is shut."""
    it = Place()
    await it.fail(it.send(), BAD_REQUEST)
    it.stream.alive = Refused("HTTP 403: blocked", http_status=403)
    it.clock.move(1)
    assert (await it.fail(it.send(), WRONG_KEY)).evidence is Evidence.DOWN


@aio
async def test_a_prompt_that_has_chosen_its_model_itself_shuts_no_door():
    """Its model is unknown, and that of the endpoint answers."""
    it = Place()

    def only_small(request):
        return None if b'"small"' in request.body else NO_MODEL

    it.stream.alive_for = only_small
    assert (await it.fail(it.send(model="tiny"), NO_MODEL)).evidence is Evidence.WELL
    assert it.breaker.state is BreakerState.CLOSED
    it.stream.alive_for = lambda _: NO_MODEL
    it.monitor._alive_at.clear()
    it.clock.move(1)
    assert (await it.fail(it.send(), NO_MODEL)).evidence is Evidence.DOWN


@aio
async def test_no_run_waits_longer_than_half_a_minute_for_its_verdict():
    """A model may take minutes to load; the run ends uncharged, the canary goes on."""
    it = Place()
    it.stream.probing = asyncio.Event()
    began = it.clock.monotonic()
    finding = await it.fail(it.send(), BAD_REQUEST)
    assert finding.evidence is Evidence.NONE
    assert it.clock.monotonic() - began >= VERDICT_SECONDS
    it.stream.probing.set()
    await turns()
    assert "canary_sent" in it.words


@aio
async def test_an_option_of_the_endpoint_that_cannot_be_sent_shuts_it():
    """Every prompt would be refused here, before anything is sent."""
    bad = {"n": 2}
    it = Place(options=bad)
    error = Refused("the option n must be 1")
    assert (await it.fail(it.send(), error, sent=False)).evidence is Evidence.DOWN
    it = Place()
    assert (await it.fail(it.send(options=bad), error, sent=False)).evidence is Evidence.WELL
    assert it.stream.probes == 0


@aio
async def test_a_server_that_never_sends_its_done_frame_waits_for_its_owner():
    """A finish reason and a clean end are no outage, and no prompt's fault."""
    it = Place()
    ended = Unfinished("no done frame; set accept_finish_without_done = true")
    it.stream.canary_steps = [
        b'data: {"choices":[{"delta":{"content":"H"},"finish_reason":"stop"}]}\n\n'
    ]
    (control,) = it.streaming()
    assert (await it.fail(control, ended)).evidence is Evidence.DOWN
    assert it.breaker.state is BreakerState.OPEN
    await it.canary_sent()
    assert it.breaker.state is BreakerState.OPEN, "an answer that does not end is none"
    it.stream.canary_steps = None
    await it.canary_sent()
    assert it.breaker.state is BreakerState.CLOSED


@aio
async def test_without_generations_the_neighbours_decide():
    """A plain GET shows that somebody is there, not that requests are answered."""
    it = Place(canary="GET")
    assert (await it.fail(it.send(), BAD_REQUEST)).evidence is Evidence.NONE
    assert it.stream.probes == 1
    assert it.stream.canaries == []


# --- events: settled by the neighbours


@aio
async def test_a_neighbour_that_went_on_shows_that_the_endpoint_was_well():
    """It was under way before, and received a frame well after."""
    it = Place(jump=False)
    broken, other = it.streaming(2)
    it.clock.move(10)
    asking = it.failing(broken, Broken("reset"))
    await it.clock.advance(0.6)
    it.hear(other)
    assert not asking.done(), "that frame may have been on its way before"
    await it.clock.advance(1)
    it.hear(other)
    await it.clock.advance(0.5)
    assert (await asking).evidence is Evidence.WELL
    assert it.stream.probes == 0, "for a cut, the run that is tried again is the canary"


@aio
async def test_those_that_break_off_together_share_an_id_and_excuse_each_other():
    """A server that restarts, or a prompt that takes it down: nobody can tell."""
    it = Place()
    controls = it.streaming(5)
    it.clock.move(10)
    findings = await asyncio.gather(*[it.failing(each, Broken("reset")) for each in controls])
    assert {each.evidence for each in findings} <= {Evidence.DOWN, Evidence.NONE}
    assert len({each.cut_id for each in findings}) == 1
    assert it.breaker.state is BreakerState.HALF_OPEN, "one goes out first"
    for each in controls:
        it.end(each, Broken("reset"))
    assert it.monitor.room().limit == 1


@aio
async def test_those_that_break_off_together_while_another_goes_on_excuse_each_other():
    """One replica of three restarts: two of three streams are cut, the third goes on."""
    it = Place(jump=False)
    *broken, other = it.streaming(3)
    it.clock.move(10)
    asking = [it.failing(each, Broken("reset")) for each in broken]
    await turns()
    for _ in range(6):
        await it.clock.advance(0.5)
        it.hear(other)
    assert [(await each).evidence for each in asking] == [Evidence.DOWN] * 2
    assert it.breaker.state is BreakerState.CLOSED


@aio
async def test_a_run_without_neighbours_is_no_evidence():
    """Concurrency 1, or the last prompt of a queue."""
    it = Place()
    (only,) = it.streaming()
    it.clock.move(10)
    finding = await it.fail(only, Broken("reset"))
    assert finding.evidence is Evidence.NONE
    assert finding.cut_id is not None


@aio
async def test_another_answer_that_came_before_the_cut_proves_nothing():
    """A long answer always sees short ones complete before the server restarts."""
    it = Place()
    long, short = it.streaming(2)
    it.clock.move(5)
    it.end(short)
    it.clock.move(50)
    assert (await it.fail(long, Broken("reset"))).evidence is Evidence.NONE


@aio
async def test_one_that_falls_silent_beside_others_that_speak_is_alone():
    """They received frames in the middle of its silence."""
    it = Place(jump=False)
    silent, other = it.streaming(2)
    for _ in range(6):
        it.clock.move(20)
        it.hear(other)
    assert (await it.failing(silent, Stalled("silence"))).evidence is Evidence.WELL


@aio
async def test_a_first_frame_that_never_comes_beside_streams_is_a_line():
    """The slots of the server are taken: fewer at a time, and no attempt is used up."""
    it = Place(concurrency=8)
    it.streaming(2)
    it.clock.move(1)
    waiting = [it.send() for _ in range(6)]
    it.clock.move(600)
    findings = [await it.fail(each, NO_FRAME) for each in waiting]
    assert {each.evidence for each in findings} == {Evidence.CROWDED}
    assert it.breaker.ramp.most == 3
    assert it.said[-1] == ("endpoint_crowded", {"endpoint": "default", "streams": 3})


@aio
async def test_a_first_frame_that_never_comes_while_later_ones_do_is_the_prompts_fault():
    """A prompt that makes its server hang is not excused by the line."""
    it = Place()
    hanging = it.send()
    it.clock.move(1)
    it.streaming()
    it.clock.move(600)
    assert (await it.fail(hanging, NO_FRAME)).evidence is Evidence.WELL


@aio
async def test_a_server_that_hangs_for_everybody_opens_the_breaker():
    """Nobody is answered, and nobody's attempt is used up."""
    it = Place(concurrency=8)
    controls = [it.send() for _ in range(FAILURES_TO_OPEN)]
    it.clock.move(600)
    findings = [await it.fail(each, NO_FRAME) for each in controls]
    assert {each.evidence for each in findings} == {Evidence.NONE}
    assert it.breaker.state is BreakerState.OPEN


@aio
async def test_an_embedded_server_that_had_died_is_brought_back_and_excuses_everybody():
    """It may be elsewhere afterwards."""
    calls = []

    async def revive(place):
        calls.append(place)
        return replace(place, base_url="http://127.0.0.1:9/v1"), True

    it = Place(revive=revive, embedded=True)
    (control,) = it.streaming()
    assert (await it.fail(control, Broken("reset"))).evidence is Evidence.DOWN
    assert it.monitor.endpoint.base_url == "http://127.0.0.1:9/v1"
    assert len(calls) == 1


# --- patience, and no connection


@aio
async def test_overload_narrows_what_is_sent_once_for_each_wave():
    """Fewer at a time, and one warning with the figure."""
    it = Place(concurrency=32)
    it.streaming(4)
    waiting = [it.send() for _ in range(28)]
    it.clock.move(3)
    for each in waiting:
        finding = await it.fail(each, Busy("HTTP 504", http_status=504, charged=False))
        assert finding.evidence is Evidence.CROWDED
    assert it.breaker.ramp.most == 15
    assert it.words.count("endpoint_crowded") == 1
    assert it.monitor.room().limit == 11


@aio
async def test_a_408_on_a_kept_connection_is_no_sign_of_a_crowd():
    """The server closed an idle connection in the moment of the next request."""
    it = Place(concurrency=8)
    await it.fail(it.send(), Busy("HTTP 408", http_status=408, charged=False))
    assert it.breaker.ramp.most is None


@aio
async def test_patience_that_is_asked_of_everybody_says_nothing_of_room():
    """Nobody is answered, so how many there is room for nobody knows."""
    it = Place(concurrency=16)
    for _ in range(4):
        await it.fail(it.send(), Busy("HTTP 429", http_status=429, charged=False))
    assert it.breaker.ramp.most is None


@aio
async def test_failures_in_a_row_open_the_breaker_and_an_answered_canary_closes_it():
    """Then everybody goes on: not all at once, but with each answer one more."""
    it = Place(concurrency=8)
    for _ in range(FAILURES_TO_OPEN):
        await it.fail(it.send(), Unreachable("refused", charged=False))
    assert it.breaker.state is BreakerState.OPEN
    it.stream.alive = Unreachable("refused", charged=False)
    assert not it.monitor.canary_due()
    it.clock.move(1)
    assert it.monitor.canary_due()
    await it.canary_sent()
    assert it.breaker.state is BreakerState.OPEN
    it.stream.alive = None
    await it.canary_sent()
    assert it.breaker.state is BreakerState.CLOSED
    assert it.monitor.room().limit == 1
    it.streaming(1)
    assert it.monitor.room().limit == 2
    it.streaming(2)
    assert it.monitor.room().limit == 4
    assert it.breaker.ramp.most == 7


@aio
async def test_a_canary_takes_a_slot():
    """It counts against what the endpoint may be asked for."""
    it = Place(concurrency=2)
    it.stream.probing = asyncio.Event()
    asking = it.failing(it.send(), BAD_REQUEST)
    await turns(2)
    assert it.monitor.room().limit == 0
    it.stream.probing.set()
    await asking


# --- a batch, an owner, and others


@aio
async def test_a_batch_whose_every_prompt_is_refused_goes_on_one_by_one():
    """The canary is answered all the while; one answer releases it."""
    it = Place(concurrency=4)
    for _ in range(PROMPTS_BELIEVED):
        it.clock.move(1)
        it.breaker.answered()
        await it.fail(it.send(batch_id=7), BAD_REQUEST)
    assert it.words.count("batch_held") == 1
    it.breaker.answered()
    assert it.monitor.room().without == {7}
    it.clock.move(2)
    room = it.monitor.room()
    assert (room.limit, room.without) == (1, frozenset()), "one prompt finds out"
    trying = it.send(batch_id=7)
    assert it.monitor.room().without == {7}
    it.hear(trying)
    assert "batch_released" in it.words
    assert it.monitor.room().without == frozenset()


@aio
async def test_prompts_that_are_too_long_among_others_hold_nothing_up():
    """Answers come between them."""
    it = Place(concurrency=4)
    for _ in range(2 * PROMPTS_BELIEVED):
        it.clock.move(1)
        await it.fail(it.send(batch_id=7), BAD_REQUEST)
        it.end(*it.streaming(batch_id=7))
    assert it.monitor.room().without == frozenset()


@pytest.mark.parametrize(
    ("error", "canaries"), [(WRONG_KEY, 0), (ServerFailed("500"), NEVER_WORKED_CANARIES)]
)
@aio
async def test_an_endpoint_that_never_worked_is_named(error, canaries):
    """A refusal at once; a fault of its own after half a minute, for it may be starting."""
    it = Place()
    it.stream.alive = error
    await it.fail(it.send(), error)
    for _ in range(canaries):
        assert not it.breaker.never_worked
        await it.canary_sent()
    assert it.breaker.never_worked
    assert "has never answered" in str(never_worked(it.monitor))


@aio
async def test_an_endpoint_that_answered_before_is_waited_for():
    """An account is topped up, a model comes back."""
    it = Place()
    it.end(*it.streaming())
    it.stream.alive = WRONG_KEY
    await it.fail(it.send(), WRONG_KEY)
    assert it.breaker.state is BreakerState.OPEN
    assert not it.breaker.never_worked


@aio
async def test_what_the_server_said_to_others_is_believed_at_the_start():
    """No prompt is spent at a door that is known to be shut; the canary goes out at once."""
    it = Place()
    it.stream.alive = WRONG_KEY
    await it.fail(it.send(), WRONG_KEY)
    state = it.monitor.said.state()
    other = Place()
    other.stream.alive = WRONG_KEY
    believe(other.monitor, state, at_start=True, at=other.clock.monotonic())
    assert other.monitor.room().limit == 0
    assert other.monitor.canary_due()
    assert not other.breaker.never_worked, "what was heard is asked again first"
    await other.canary_sent()
    assert other.breaker.never_worked


@aio
async def test_what_others_found_open_again_is_asked_at_once():
    """Nobody waits five minutes for news that the next worker has."""
    it = Place()
    it.end(*it.streaming())
    open_door = it.monitor.said.state()
    it.stream.alive = WRONG_KEY
    await it.fail(it.send(), WRONG_KEY)
    it.monitor.said.changed = False
    for _ in range(9):
        await it.canary_sent()
    assert not it.monitor.canary_due()
    believe(it.monitor, open_door, at_start=False, at=it.clock.monotonic())
    assert it.monitor.canary_due()


@aio
async def test_who_cannot_reach_it_keeps_that_to_himself():
    """It may be his own network."""
    it = Place()
    for _ in range(FAILURES_TO_OPEN):
        await it.fail(it.send(), Unreachable("no route", charged=False))
    assert it.breaker.state is BreakerState.OPEN
    assert not it.monitor.said.changed


@aio
async def test_nothing_is_asked_any_more_when_it_is_closed():
    """The worker leaves no question behind."""
    it = Place()
    it.stream.probing = asyncio.Event()
    asking = it.failing(it.send(), BAD_REQUEST)
    await turns(2)
    await it.monitor.canaries.close()
    asking.cancel()
    assert it.monitor.canaries.under_way == 0
