"""OpenAI chat and completions: `[DONE]` is the end, and every imitation's peculiarities are read."""

import json

import pytest

from tests.wire.dialects.test_wire_format import ask
from tests.wire.reading import body
from worker.errors import Busy, ErrorCode, Malformed, Refused, ServerFailed, Truncated
from worker.records import Kind, Usage
from worker.wire.tool_calls import assemble_tool_calls


def chunk(delta=None, finish=None, **more):
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def said(*frames, name="openai-chat", done=True, **settings):
    data = b"".join(b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in frames)
    return body(name, data + (b"data: [DONE]\n\n" if done else b""), **settings)


# --- requests


def test_chat_request():
    request, sent = ask("openai-chat", system="s", options={"temperature": 0})
    assert request.url == "http://h/v1/chat/completions"
    assert sent == {
        "model": "m",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "p"}],
        "temperature": 0,
        "stream_options": {"include_usage": True},
        "stream": True,
    }


def test_completions_request():
    request, sent = ask("openai-completions", base_url="http://h/v1/")
    assert request.url == "http://h/v1/completions"
    assert sent["prompt"] == "p"
    assert "messages" not in sent
    assert ask("openai-completions", system="s")[1]["prompt"] == "s\n\np"
    with pytest.raises(Refused, match="openai-chat"):
        ask("openai-completions", prompt=None, messages=[{"role": "assistant", "content": "x"}])


def test_usage_is_asked_for_unless_told_otherwise():
    wanted = {"include_usage": True, "include_obfuscation": False}
    options = {"stream_options": {"include_obfuscation": False}}
    assert ask("openai-chat", options=options)[1]["stream_options"] == wanted
    options = {"stream_options": {"include_usage": False}}
    assert ask("openai-chat", options=options)[1]["stream_options"] == {"include_usage": False}
    assert "stream_options" not in ask("openai-chat", options={"stream_options": None})[1]


# --- the end


@pytest.mark.parametrize("last", [b"data: [DONE]", b"data:[DONE]\n", b"data:  [DONE] \r\n\r\n"])
def test_the_sentinel_in_its_forms(last):
    first = b"data: " + json.dumps(chunk({"content": "a"}, "stop")).encode() + b"\n\n"
    assert body("openai-chat", first + last).is_done
    assert isinstance(body("openai-chat", first + last[: last.index(b"]")]).error, Truncated)


def test_a_finish_reason_is_not_the_end():
    reading = said(chunk({"content": "a"}, "stop"), done=False)
    assert isinstance(reading.error, Truncated)
    assert reading.finish_reason == "stop"
    accepted = said(chunk({"content": "a"}, "stop"), done=False, accept_finish_without_done=True)
    assert accepted.is_done
    assert not accepted.end.done_frame


def test_the_end_without_a_finish_reason_is_the_end():
    reading = said(chunk({"content": "a"}))
    assert (reading.is_done, reading.finish_reason) == (True, None)


@pytest.mark.parametrize("reason", ["abort", "error", "insufficient_system_resource"])
def test_the_end_after_the_server_gave_up_is_an_error(reason):
    reading = said(chunk({"content": "a"}, reason))
    assert reading.error.code is ErrorCode.GENERATION_ABORTED
    assert reading.finish_reason == reason
    lenient = said(chunk({}, reason), done=False, accept_finish_without_done=True)
    assert lenient.error.code is ErrorCode.GENERATION_ABORTED


# --- errors


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ({"error": {"message": "boom", "code": 502}}, ServerFailed),
        ({"error": {"message": "boom", "code": "502"}, **chunk({}, "error")}, ServerFailed),
        ({"error": "boom"}, ServerFailed),
        ({"object": "error", "message": "boom", "code": 503}, Busy),
        ({"type": "error", "message": "boom", "code": "server_error"}, ServerFailed),
        ({"error": {"message": "boom", "http_status_code": 422}}, ServerFailed),
        ({"error": {"message": "boom", "type": "BadRequestError", "code": 400}}, Refused),
        ({"message": "boom", "type": "server_error", "code": 500}, ServerFailed),
        ({"text": "boom", "error_code": 50001}, ServerFailed),
        ({"detail": "boom"}, ServerFailed),
        ({"detail": [{"loc": ["body"], "msg": "boom"}], "choices": None}, ServerFailed),
        ({"choices": [], "x_groq": {"id": "r", "error": "boom"}}, ServerFailed),
    ],
)
@pytest.mark.parametrize("name", ["openai-chat", "openai-completions"])
def test_errors_in_the_stream(frame, kind, name):
    reading = said(frame, name=name)
    assert isinstance(reading.error, kind)
    assert "boom" in str(reading.error)


def test_an_error_after_output_beats_the_sentinel_in_every_shape():
    """Nothing in these chunks but their lack of an answer says that they are errors."""
    for error in ({"text": "boom", "error_code": 50001}, {"message": "boom", "code": 500}):
        for frames in ((chunk({"content": "a"}), error), (error,)):
            assert isinstance(said(*frames).error, ServerFailed)


def test_a_note_beside_an_answer_is_no_error():
    notes = {"message": "queued", "detail": "d", "error_code": 0, "code": 0}
    assert said({"message": "queued"}, {"code": 1}, chunk({"content": "a"}, **notes)).text == "a"


def test_counts_of_a_chunk_that_reports_an_error_count():
    assert said(chunk({"content": "a"}), {"error": "boom", "usage": USAGE}).usage == Usage(7, 3)


def test_a_bad_request_after_output_is_not_believed():
    error = {"error": {"message": "boom", "code": 400}}
    for first in ({"content": "a"}, {"reasoning": "a"}, {"tool_calls": [{"index": 0, "id": "x"}]}):
        assert isinstance(said(chunk(first), error).error, ServerFailed)
    assert isinstance(
        said(chunk({"content": ""}), chunk({"role": "assistant"}), error).error, Refused
    )


def test_a_falsy_error_is_none():
    assert said(chunk({"content": "a"}, error=None), chunk({}, error={})).is_done


# --- text, thinking, refusals


def test_content_as_a_list_of_parts():
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "t"}, "u"]},
        {"type": "thinking", "thinking": "v"},
        {"type": "text", "text": "a"},
        {"type": "reference", "reference_ids": [1]},
        "b",
        7,
    ]
    reading = said(chunk({"content": parts}))
    assert reading.runs == ((Kind.THINKING, "tuv"), (Kind.TEXT, "ab"))


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": "t"},
        {"reasoning": "t"},
        {"reasoning_content": "t", "reasoning": "t", "reasoning_details": [{"text": "t"}]},
        {"reasoning_content": "", "reasoning": "t"},
        {"reasoning_content": None, "reasoning_details": [{"summary": "t"}, {"data": "x"}, 1]},
        {"reasoning": {"effort": "low"}, "reasoning_details": [{"text": "t"}]},
    ],
)
def test_the_same_thought_counts_once(delta):
    reading = said(chunk({**delta, "content": "a"}))
    assert reading.runs == ((Kind.THINKING, "t"), (Kind.TEXT, "a"))


def test_a_refusal_is_the_visible_output():
    reading = said(chunk({"refusal": "I "}), chunk({"refusal": "won't"}), chunk({}, "stop"))
    assert (reading.text, reading.finish_reason) == ("I won't", "refusal")


def test_everything_in_one_message_is_taken_unless_it_was_streamed():
    message = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
    assert said(message).text == "hi"
    assert said(chunk({"content": "hi"}), message).text == "hi"


def test_a_stream_of_whole_messages_is_an_error_not_a_gap():
    """Pieces in the place of whole messages: all but the first would be lost."""
    first, second = ({"choices": [{"message": {"content": text}}]} for text in "ab")
    assert said(first, first).text == "a"
    reading = said(first, second)
    assert (reading.text, type(reading.error)) == ("a", Malformed)


def test_of_what_is_spoken_the_words_are_the_text():
    audio = {"id": "a", "data": "UklGRg==", "expires_at": 1}
    reading = said(
        chunk({"role": "assistant", "content": None, "audio": {"id": "a", "transcript": "Hi "}}),
        chunk({"audio": audio}),
        chunk({"content": "", "audio": {"transcript": "there"}}, "stop"),
    )
    assert (reading.text, reading.is_done) == ("Hi there", True)


def test_a_second_answer_in_one_stream_is_an_error():
    """Only one could be stored, and the row would say completed."""
    other = {"choices": [{"index": 1, "delta": {"content": "NO"}, "finish_reason": "length"}]}
    for frames in (
        (other, chunk({"content": "a"}, "stop")),
        (chunk({"content": "a"}), other, other),
    ):
        assert isinstance(said(*frames).error, Malformed)
    both = {"choices": [*chunk({"content": "a"})["choices"], *other["choices"]]}
    assert isinstance(said(both).error, Malformed)


def test_a_choice_that_says_nothing_changes_nothing():
    empty = {"choices": [{"index": 1, "delta": {"content": ""}, "finish_reason": "length"}]}
    reading = said(chunk({"content": "a"}), chunk({"content": "b"}), empty, chunk({}, "stop"))
    assert (reading.text, reading.finish_reason) == ("ab", "stop")


@pytest.mark.parametrize("frame", [{"choices": None}, {"choices": [None]}, {"choices": [{}]}, {}])
def test_holes_are_tolerated(frame):
    assert said(frame, chunk({"content": "a"}), chunk(None)).text == "a"


@pytest.mark.parametrize("value", [5, True, {"text": "a"}])
def test_content_of_another_type_is_not_skipped(value):
    assert isinstance(said(chunk({"content": value})).error, Malformed)
    frame = {"choices": [{"text": value}]}
    assert isinstance(said(frame, name="openai-completions").error, Malformed)


# --- tools


def test_tool_calls_in_pieces():
    reading = said(
        chunk(
            {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]}
        ),
        chunk({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g"}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"x":'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}, "tool_calls"),
    )
    assert assemble_tool_calls(reading.tool_calls) == [
        {"index": 0, "id": "a", "name": "f", "arguments": '{"x":1}'},
        {"index": 1, "id": "b", "name": "g", "arguments": ""},
    ]
    assert reading.finish_reason == "tool_calls"


def test_tool_calls_without_an_index():
    calls = [
        {"id": "a", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "function": {"name": "g", "arguments": {"x": 1}}},
        {"function": {"arguments": ""}},
        {"id": "c", "custom": {"name": "h", "input": "text"}},
        None,
    ]
    assert assemble_tool_calls(said(chunk({"tool_calls": calls})).tool_calls) == [
        {"index": 0, "id": "a", "name": "f", "arguments": "{}"},
        {"index": 1, "id": "b", "name": "g", "arguments": '{"x":1}'},
        {"index": 2, "id": "c", "name": "h", "arguments": "text"},
    ]


def test_the_older_function_call():
    reading = said(
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": "{}"}}, "function_call"),
    )
    assert assemble_tool_calls(reading.tool_calls) == [
        {"index": 0, "id": None, "name": "f", "arguments": "{}"}
    ]


def test_tool_calls_of_another_type_are_not_skipped():
    assert isinstance(said(chunk({"tool_calls": {"id": "a"}})).error, Malformed)


# --- usage


USAGE = {"prompt_tokens": 7, "completion_tokens": 3}


@pytest.mark.parametrize(
    "frame",
    [
        {"choices": [], "usage": USAGE},
        chunk({}, "stop", usage=USAGE),
        {"choices": [], "x_groq": {"id": "r", "usage": USAGE}},
        {"choices": [{"index": 0, "delta": {}, "usage": USAGE}]},
    ],
)
def test_usage_wherever_it_stands(frame):
    zeros = {"prompt_tokens": 0, "completion_tokens": 0}
    reading = said(chunk({"content": "a"}, usage=zeros), frame, chunk({}, usage=None))
    assert reading.usage == Usage(7, 3)


def test_completions():
    reading = said(
        {"choices": [{"text": "a", "index": 0}]},
        {"choices": [{"text": None, "index": 0}, {"text": "", "index": 1}]},
        {"choices": [{"text": "b", "index": 0, "finish_reason": "length", "usage": USAGE}]},
        name="openai-completions",
    )
    assert (reading.text, reading.finish_reason, reading.usage) == ("ab", "length", Usage(7, 3))


def test_text_beside_an_error_is_kept():
    """The chunk that reports an error may hold the last words before it."""
    reading = said(
        chunk({"content": "a"}), chunk({"content": "b"}, "error", error={"message": "x"})
    )
    assert (reading.text, type(reading.error)) == ("ab", ServerFailed)


def test_a_message_after_deltas_adds_what_they_missed():
    """Text and calls; another text is an error."""
    call = {"id": "x", "function": {"name": "f", "arguments": '{"a":1}'}}
    cut = {"index": 0, "id": "x", "function": {"name": "f", "arguments": '{"a"'}}
    whole = {"choices": [{"index": 0, "message": {"content": "Hello", "tool_calls": [call]}}]}
    reading = said(chunk({"content": "Hel"}), chunk({"tool_calls": [cut]}), whole)
    assert reading.text == "Hello"
    (got,) = assemble_tool_calls(reading.tool_calls)
    assert (got["id"], got["arguments"]) == ("x", '{"a":1}')
    assert isinstance(said(chunk({"content": "Hullo"}), whole).error, Malformed)
