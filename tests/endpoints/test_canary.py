"""A request for one token: how it is spelled, and what became of it."""

from __future__ import annotations

import json

import pytest

from tests.fakes.aio import aio
from tests.fakes.clock import FakeClock
from tests.fakes.scripted_stream import CHAT, DONE, END, HOLD, STOP, ScriptedStream, endpoint, say
from worker.endpoints.canary import READ_SECONDS, Kind, request, send
from worker.errors import (
    Broken,
    Busy,
    Crashed,
    Refused,
    ServerFailed,
    Stalled,
    Unfinished,
    Unreachable,
)
from worker.wire import DIALECTS

LIMITS = {
    "ollama-generate": ("options", {"num_predict": 1}),
    "ollama-chat": ("options", {"num_predict": 1}),
    "openai-chat": ("max_tokens", 1),
    "openai-completions": ("max_tokens", 1),
    "openai-responses": ("max_output_tokens", 16),
    "anthropic-messages": ("max_tokens", 1),
    "llamacpp-completion": ("n_predict", 1),
}


def body(dialect: str = "openai-chat", *, simple: bool = False, **changes: object) -> dict:
    place = endpoint(dialect=dialect, **changes)
    return json.loads(request(place, DIALECTS[dialect], "tiny", simple=simple).body)


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_each_dialect_asks_for_as_little_as_it_can(dialect):
    """One token; sixteen where the protocol takes no less.  It is streamed, as runs are."""
    key, least = LIMITS[dialect]
    said = body(dialect)
    assert said[key] == least
    assert (said["model"], said["stream"]) == ("tiny", True)
    assert "Hi" in json.dumps(said)


def test_it_takes_the_endpoints_own_options_and_prompt():
    """What is wrong with them is to be found out; only the length of the answer is its own."""
    said = body(options={"temperature": 0.2, "max_tokens": 900}, canary="Say yes.")
    assert (said["temperature"], said["max_tokens"]) == (0.2, 1)
    assert said["messages"][-1]["content"] == "Say yes."
    said = body(options={"max_completion_tokens": 900})
    assert said["max_completion_tokens"] == 1
    assert "max_tokens" not in said
    said = body("ollama-chat", options={"options": {"num_ctx": 4096, "num_predict": 900}})
    assert said["options"] == {"num_ctx": 4096, "num_predict": 1}


def test_the_simpler_form_leaves_out_what_may_be_the_reason():
    """Thinking, formats, tools, stops; more tokens, and the limit under its other name."""
    options = {
        "reasoning_effort": "high",
        "response_format": {"type": "json_object"},
        "tools": [],
        "stop": ["x"],
        "temperature": 0.2,
        "max_tokens": 5,
    }
    said = body(options=options, simple=True)
    assert said.keys() & options.keys() == {"temperature"}
    assert said["max_completion_tokens"] == 16
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    said = body("anthropic-messages", options=thinking, simple=True)
    assert "thinking" not in said
    assert said["max_tokens"] == 16


async def sent(stream: ScriptedStream, **changes: object):
    return await send(stream, endpoint(**changes), CHAT, "small", stream.clock)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (None, Kind.ANSWERED),
        (Refused("HTTP 401"), Kind.REFUSED),
        (ServerFailed("HTTP 500"), Kind.REFUSED),
        (Busy("HTTP 429", charged=False), Kind.BUSY),
        (Unreachable("no route", charged=False), Kind.UNANSWERED),
        (Stalled("no first frame"), Kind.UNANSWERED),
        (Broken("reset"), Kind.UNANSWERED),
        (Crashed("runner"), Kind.UNANSWERED),
    ],
)
@aio
async def test_what_becomes_of_it(error, kind):
    """A frame of an answer, a no, silence, or a wish for patience."""
    stream = ScriptedStream(FakeClock())
    stream.alive = error
    reply = await sent(stream)
    assert (reply.kind, reply.error) == (kind, error)
    reached = not isinstance(error, Unreachable)
    assert reply.cost_tokens is (reached and kind in (Kind.ANSWERED, Kind.UNANSWERED))


@pytest.mark.parametrize(
    ("steps", "kind", "error"),
    [
        ([say("x"), DONE], Kind.ANSWERED, None),
        ([say("x"), STOP, END], Kind.ANSWERED, Unfinished),
        ([say("x"), Broken("reset")], Kind.ANSWERED, Broken),
        ([b"<html><title>Maintenance</title>", END], Kind.REFUSED, None),
        ([END], Kind.REFUSED, None),
    ],
)
@aio
async def test_an_answer_is_read_to_its_end(steps, kind, error):
    """A page with status 200 is none; a server that never sends its done frame is found out."""
    stream = ScriptedStream(FakeClock())
    stream.canary_steps = steps
    reply = await sent(stream)
    assert reply.kind is kind
    assert error is None or type(reply.error) is error


@aio
async def test_a_server_that_does_not_care_how_many_tokens_are_wanted_is_left():
    """It answers; that was the question."""
    stream = ScriptedStream(FakeClock())
    endless = [say("x")]

    async def read(wait_seconds):
        stream.clock.move(READ_SECONDS / 4)
        return endless[0]

    stream.canary_reads = read
    assert (await sent(stream)).kind is Kind.ANSWERED


@aio
async def test_a_first_frame_that_never_comes_ends_it():
    """After as long as a run waits for its own."""
    stream = ScriptedStream(FakeClock())
    stream.canary_steps = [b": ping\n\n", HOLD]

    async def read(wait_seconds):
        stream.clock.move(wait_seconds)
        return b""

    stream.canary_reads = read
    reply = await sent(stream, first_frame_timeout_seconds=90)
    assert reply.kind is Kind.UNANSWERED
    assert stream.clock.monotonic() - reply.sent_at >= 90


@aio
async def test_what_the_server_just_rejected_by_name_is_left_out():
    """As for runs: a strict server does not know `stream_options`."""
    stream = ScriptedStream(FakeClock())
    strict = Refused("HTTP 400: unknown field stream_options", http_status=400)
    stream.alive_for = lambda asked: strict if b"stream_options" in asked.body else None
    assert (await sent(stream)).kind is Kind.ANSWERED
    assert len(stream.canaries) == 2


@aio
async def test_a_plain_get_where_a_generation_is_unwanted():
    """It costs no token, and proves less."""
    stream = ScriptedStream(FakeClock())
    reply = await sent(stream, canary="GET")
    assert (reply.kind, reply.is_generation, reply.cost_tokens) == (Kind.ANSWERED, False, False)
    assert (stream.probes, stream.canaries) == (1, [])
