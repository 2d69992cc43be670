"""Ollama: options land where it looks for them, and only a line with `done: true` is the end."""

import json

import pytest

from tests.wire.dialects.test_wire_format import ask
from tests.wire.reading import body, careful, decoder, read
from worker.errors import Busy, ErrorCode, Malformed, Refused, ServerFailed, Truncated
from worker.records import Kind, Usage
from worker.wire.tool_calls import assemble_tool_calls

DONE = {"done": True, "done_reason": "stop"}


def as_lines(*lines):
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def said(name, *lines):
    return body(name, as_lines(*lines))


def test_generate_request():
    request, sent = ask("ollama-generate", base_url="http://h:11434/", system="s")
    assert request.url == "http://h:11434/api/generate"
    assert sent == {"model": "m", "prompt": "p", "system": "s", "truncate": False, "stream": True}


def test_chat_request():
    request, sent = ask("ollama-chat", base_url="http://h:11434", system="s")
    assert request.url == "http://h:11434/api/chat"
    assert sent["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "p"},
    ]
    talk = [{"role": "user", "content": "a", "images": ["aGk="]}]
    assert ask("ollama-chat", prompt=None, messages=talk)[1]["messages"] == talk


@pytest.mark.parametrize("name", ["ollama-generate", "ollama-chat"])
def test_options_of_the_request_and_of_the_model(name):
    sent = ask(
        name,
        where={
            "options": {"temperature": 0, "keep_alive": "5m", "options": {"num_ctx": 1, "a": 1}}
        },
        options={"seed": 7, "think": False, "format": {"type": "object"}, "options": {"a": 2}},
    )[1]
    assert sent["options"] == {"temperature": 0, "seed": 7, "num_ctx": 1, "a": 2}
    assert (sent["keep_alive"], sent["think"]) == ("5m", False)
    assert sent["format"] == {"type": "object"}


def test_long_prompts_are_not_cut_silently_unless_asked_for():
    assert ask("ollama-chat")[1]["truncate"] is False
    assert ask("ollama-chat", options={"truncate": True})[1]["truncate"] is True
    assert "truncate" not in ask("ollama-chat", options={"truncate": None})[1]


def test_a_system_text_of_the_endpoint_is_the_default():
    where = {"options": {"system": "endpoint's"}}
    assert ask("ollama-generate", where=where)[1]["system"] == "endpoint's"
    assert ask("ollama-generate", where=where, system="own")[1]["system"] == "own"
    first = ask("ollama-chat", where=where)[1]["messages"][0]
    assert first == {"role": "system", "content": "endpoint's"}


def test_a_conversation_needs_the_chat_dialect():
    talk = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    with pytest.raises(Refused, match="ollama-chat"):
        ask("ollama-generate", prompt=None, messages=talk)


def test_the_done_line_may_carry_everything():
    reading = said(
        "ollama-chat",
        {
            "message": {"content": "a", "thinking": "b"},
            **DONE,
            "prompt_eval_count": 5,
            "eval_count": 2,
        },
    )
    assert reading.runs == ((Kind.THINKING, "b"), (Kind.TEXT, "a"))
    assert reading.usage == Usage(5, 2)
    assert (reading.finish_reason, reading.is_done) == ("stop", True)


@pytest.mark.parametrize("done", ["true", 1, [True], None, {}])
def test_only_true_is_done(done):
    assert isinstance(said("ollama-generate", {"response": "a", "done": done}).error, Truncated)


@pytest.mark.parametrize("name", ["ollama-generate", "ollama-chat"])
def test_counts_and_reasons_stand_on_the_done_line(name):
    """On any other they mean nothing, in every lane."""
    odd = {"done": False, "eval_count": 9, "prompt_eval_count": 9, "done_reason": "stop"}
    texts = [{"response": "a", "message": {"content": "a"}, **odd}] * 3
    reading = said(name, *texts, {"done": True, "eval_count": 3})
    assert (reading.usage, reading.finish_reason) == (Usage(None, 3), None)


@pytest.mark.parametrize("name", ["ollama-generate", "ollama-chat"])
def test_a_done_line_laid_out_like_the_others(name):
    lines = [{"response": "a", "message": {"content": "a"}, "done": n == 2} for n in range(3)]
    assert (said(name, *lines).text, said(name, *lines).is_done) == ("aaa", True)
    assert isinstance(said(name, *lines[:2]).error, Truncated)


def test_done_inside_the_text_is_text():
    reading = said("ollama-generate", {"response": '{"done":true}', "done": False})
    assert isinstance(reading.error, Truncated)
    assert reading.text == '{"done":true}'


@pytest.mark.parametrize("reason", ["load", "unload"])
def test_loading_a_model_is_done_with_nothing(reason):
    reading = said("ollama-generate", {"response": "", "done": True, "done_reason": reason})
    assert (reading.is_done, reading.text, reading.finish_reason) == (True, "", reason)


def test_errors_by_what_they_say():
    assert isinstance(said("ollama-chat", {"error": "boom"}).error, ServerFailed)
    busy = said("ollama-chat", {"StatusCode": 429, "Status": "429", "error": "limit"}).error
    assert (type(busy), busy.charged) == (Busy, False)
    aborted = said("ollama-chat", {"error": "prediction aborted, token repeat limit reached"}).error
    assert aborted.code is ErrorCode.GENERATION_ABORTED


def test_tool_calls_are_whole_and_counted_through():
    call = {"function": {"index": 0, "name": "f", "arguments": {"city": "Oslo"}}}
    reading = said(
        "ollama-chat",
        {"message": {"content": "", "tool_calls": [{"id": "a", **call}, None]}},
        {"message": {"content": "", "tool_calls": [call]}, **DONE},
    )
    assert assemble_tool_calls(reading.tool_calls) == [
        {"index": 0, "id": "a", "name": "f", "arguments": '{"city":"Oslo"}'},
        {"index": 1, "id": None, "name": "f", "arguments": '{"city":"Oslo"}'},
    ]


@pytest.mark.parametrize("calls", ["f", {"id": "a"}, ["junk"], [{"function": 3}]])
def test_tool_calls_of_another_form_are_not_skipped(calls):
    """A call that cannot be read is an error, not a gap in a completed answer."""
    reading = said("ollama-chat", {"message": {"content": "a", "tool_calls": calls}}, DONE)
    assert isinstance(reading.error, Malformed)


@pytest.mark.parametrize("value", [5, {}, ["a"], False])
def test_text_of_another_type_is_not_skipped(value):
    assert isinstance(said("ollama-generate", {"response": value}, DONE).error, Malformed)
    assert isinstance(said("ollama-chat", {"message": {"content": value}}, DONE).error, Malformed)


def test_the_end_comes_after_the_text_of_the_same_read():
    reading = said("ollama-generate", {"response": "a"}, {"response": "b", **DONE}, {"error": "x"})
    assert (reading.text, reading.is_done, reading.frames) == ("ab", True, 2)


@pytest.mark.parametrize("nothing", [None, "", False, [], {}])
def test_thinking_that_is_nothing_is_nothing_in_every_lane(nothing):
    """It holds no output that could be lost, whether or not a line beside it is a special one."""
    line = {"response": "x", "thinking": nothing, "done": False}
    chat = {"message": {"content": "x", "thinking": nothing}, "done": False}
    for lane in (decoder, careful):
        reading = read(lane("ollama-generate"), [as_lines(line), as_lines(DONE)])
        assert (reading.text, reading.thinking, reading.is_done) == ("x", "", True)
        reading = read(lane("ollama-chat"), [as_lines(chat), as_lines(DONE)])
        assert (reading.text, reading.thinking, reading.is_done) == ("x", "", True)
