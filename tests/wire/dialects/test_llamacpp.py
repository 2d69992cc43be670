"""llama.cpp's completion: `stop: true` at the top is the end, in old and new servers."""

import json

import pytest

from tests.wire.dialects.test_wire_format import ask
from tests.wire.reading import body
from worker.errors import Malformed, Refused, ServerFailed, Truncated
from worker.records import Usage


def said(*frames):
    return body(
        "llamacpp-completion",
        b"".join(b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in frames),
    )


def test_request():
    request, sent = ask("llamacpp-completion", base_url="http://h:8080/", options={"n_predict": 9})
    assert request.url == "http://h:8080/completion"
    assert sent == {"model": "m", "prompt": "p", "n_predict": 9, "stream": True}
    assert ask("llamacpp-completion", system="s")[1]["prompt"] == "s\n\np"


def test_what_could_hide_the_end_is_refused():
    with pytest.raises(Refused, match="response_fields"):
        ask("llamacpp-completion", options={"response_fields": ["content"]})


def test_a_conversation_needs_the_chat_endpoint():
    talk = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    with pytest.raises(Refused, match="openai-chat"):
        ask("llamacpp-completion", prompt=None, messages=talk)


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ({"stop_type": "eos"}, "eos"),
        ({"stop_type": "word"}, "word"),
        ({"stop_type": "limit", "truncated": True}, "limit"),
        ({"stopped_eos": True, "stopped_limit": False, "stopped_word": False}, "eos"),
        ({"stopped_limit": True}, "limit"),
        ({"stopped_word": True}, "word"),
        ({}, None),
    ],
)
def test_the_end_may_carry_text_and_says_why(last, reason):
    frames = [
        {"content": "a", "stop": False, "tokens_predicted": 1, "tokens_evaluated": 4},
        {"content": "b", "stop": True, "tokens_predicted": 2, "tokens_evaluated": 4, **last},
    ]
    reading = said(*frames, {"content": "NO"})
    assert (reading.text, reading.is_done, reading.finish_reason) == ("ab", True, reason)
    assert reading.usage == Usage(4, 2)


@pytest.mark.parametrize(
    "last",
    [
        {"content": "", "stop": False, "stop_type": "none"},
        {"content": "", "stop": False, "stop_type": "eos"},
        {"content": "", "stop": "true"},
        {"content": "", "stop": ["</s>"]},
        {"content": "", "generation_settings": {"stop": True}},
        {"content": '"stop":true'},
    ],
)
def test_what_is_not_the_end(last):
    reading = said({"content": "a", "stop": False, "tokens_predicted": 1}, last)
    assert isinstance(reading.error, Truncated)
    assert reading.usage.completion_tokens == 1
    tail = body("llamacpp-completion", b'data: {"content":"a","stop":false}\n\ndata: [DONE]\n\n')
    assert isinstance(tail.error, Truncated)


def test_progress_of_the_prompt_is_progress():
    progress = {"content": "", "stop": False, "prompt_progress": {"total": 9, "processed": 3}}
    assert said(progress, progress).frames == 2


def test_errors():
    error = said({"content": "a"}, {"error": {"code": 500, "message": "boom"}}).error
    assert isinstance(error, ServerFailed)
    assert isinstance(said({"content": 5, "stop": True}).error, Malformed)
