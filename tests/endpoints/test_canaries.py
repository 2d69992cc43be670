"""When a canary is sent, how often, and when its refusal counts."""

from __future__ import annotations

import asyncio

from tests.fakes.aio import aio, turns
from tests.fakes.clock import FakeClock
from tests.fakes.scripted_stream import CHAT, ScriptedStream, endpoint
from worker.endpoints.canaries import APART_SECONDS, FREE_AN_HOUR, HOUR_SECONDS, Canaries
from worker.endpoints.canary import Kind
from worker.errors import Refused, ServerFailed

OTHER = Refused("HTTP 400: max_tokens is not supported", http_status=400)
MINE = Refused("HTTP 400: no such option", http_status=400)


class Cage:
    """Canaries, and who is told of their answers."""

    def __init__(self, **changes: object) -> None:
        self.clock = FakeClock()
        self.stream = ScriptedStream(self.clock)
        self.said: list[str] = []
        self.told: list[str] = []
        self.canaries = Canaries(
            endpoint(**changes),
            CHAT,
            self.stream,
            clock=self.clock,
            log=lambda event, **_: self.said.append(event),
        )

    async def ask(self, model="small", error=None, **how: object):
        asking = self.canaries.ask(model, error, lambda of, _: self.told.append(of), **how)
        return None if asking is None else await asking


@aio
async def test_one_at_a_time_for_each_model():
    """Whoever asks meanwhile waits for the same answer."""
    it = Cage()
    it.stream.probing = asyncio.Event()
    asking = [asyncio.ensure_future(it.ask(model)) for model in ("a", "a", "b")]
    await turns()
    assert it.canaries.under_way == 2
    it.stream.probing.set()
    await asyncio.gather(*asking)
    assert (it.canaries.under_way, it.canaries.total, it.stream.probes) == (0, 2, 2)
    assert it.told == ["a", "b"]
    assert it.canaries.answered == {"a", "b"}


@aio
async def test_the_simpler_form_is_kept_once_it_is_the_one_that_is_answered():
    """The next canary is not refused first."""
    it = Cage(options={"reasoning_effort": "high"})
    it.stream.alive_for = lambda asked: OTHER if b"reasoning" in asked.body else None
    assert (await it.ask(error=MINE)).kind is Kind.ANSWERED
    assert len(it.stream.canaries) == 2
    assert (await it.ask(error=MINE)).kind is Kind.ANSWERED
    assert len(it.stream.canaries) == 3


@aio
async def test_one_that_is_refused_otherwise_however_it_is_spelled_is_of_no_use():
    """Until it is answered once, as when its endpoint is waited for."""
    it = Cage()
    it.stream.alive = OTHER
    assert (await it.ask(error=MINE)).kind is Kind.REFUSED
    assert it.canaries.is_useless("small")
    assert "canary_useless" in it.said
    assert await it.ask(error=MINE) is None
    it.stream.alive = None
    assert (await it.ask(error=MINE, is_due=True)).kind is Kind.ANSWERED
    assert not it.canaries.is_useless("small")


@aio
async def test_a_refusal_counts_in_the_same_words_or_after_an_answer():
    """Numbers and ids in the sentence may differ; the status may not."""
    it = Cage()
    it.stream.alive = Refused("HTTP 400: no such option (request 77)", http_status=400)
    asked = Refused("HTTP 400: no such option (request 12)", http_status=400)
    reply = await it.ask(error=asked)
    assert it.canaries.counts(reply, asked, "small")
    assert it.stream.probes == 1
    assert not it.canaries.counts(reply, OTHER, "small")
    other_status = Refused("HTTP 400: no such option (request 12)", http_status=422)
    assert not it.canaries.counts(reply, other_status, "small")
    it.stream.alive = None
    await it.ask()
    assert it.canaries.counts(reply, OTHER, "small")


@aio
async def test_after_the_tenth_of_an_hour_the_distance_is_minutes():
    """Only those that may have cost a token; one for which the endpoint waits goes out anyway."""
    it = Cage()
    it.stream.alive = ServerFailed("500")
    for _ in range(2 * FREE_AN_HOUR):
        await it.ask(error=it.stream.alive)
    it.stream.alive = None
    for _ in range(FREE_AN_HOUR):
        assert await it.ask() is not None
    assert await it.ask() is None
    assert it.canaries.least_seconds(at=it.clock.monotonic()) == APART_SECONDS
    assert await it.ask(is_due=True) is not None
    it.clock.move(APART_SECONDS)
    assert await it.ask() is not None
    it.clock.move(HOUR_SECONDS)
    assert it.canaries.least_seconds(at=it.clock.monotonic()) == 0


@aio
async def test_one_that_cannot_be_brought_back_counts_as_gone():
    """Whatever prevents it; the next canary tries again."""

    async def broken(_):
        raise OSError("no such file")

    it = Cage(embedded=True)
    it.canaries._revive = broken
    assert await it.canaries.brought_back() is True
    assert "revival_failed" in it.said
