"""Responses: the terminal event is the end, and what it repeats is not said twice."""

import json

import pytest

from tests.wire.dialects.test_wire_format import ask
from tests.wire.reading import body, bytewise
from worker.errors import Busy, ErrorCode, Malformed, Refused, ServerFailed, Truncated
from worker.records import Kind, Usage
from worker.wire.framing import frames
from worker.wire.tool_calls import assemble_tool_calls

TEXT = "response.output_text.delta"


def event(kind, **more):
    return {"type": kind, "sequence_number": 1, **more}


def completed(*output, kind="completed", **more):
    response = {"status": kind, "error": None, "output": list(output), **more}
    return event(f"response.{kind}", response=response)


def message(*parts):
    return {"type": "message", "content": [{"type": "output_text", "text": text} for text in parts]}


def written(*events, named=True):
    return b"".join(
        (b"event: %b\n" % each["type"].encode() if named else b"")
        + b"data: "
        + json.dumps(each).encode()
        + b"\n\n"
        for each in events
    )


def said(*events, named=True):
    return body("openai-responses", written(*events, named=named))


def test_request():
    request, sent = ask("openai-responses", system="s", options={"max_output_tokens": 9})
    assert request.url == "http://h/v1/responses"
    assert sent == {
        "model": "m",
        "input": "p",
        "instructions": "s",
        "max_output_tokens": 9,
        "stream": True,
    }
    talk = [{"role": "user", "content": "a"}]
    sent = ask("openai-responses", prompt=None, messages=talk, system="s")[1]
    assert (sent["input"], sent["instructions"]) == (talk, "s")
    with pytest.raises(Refused, match="input"):
        ask("openai-responses", options={"input": "x"})


@pytest.mark.parametrize("named", [True, False])
def test_the_terminal_event_repeats_the_text_and_it_is_not_appended(named):
    reading = said(
        event(TEXT, delta="Hi"),
        event("response.output_text.done", text="Hi"),
        event("response.content_part.done", part={"type": "output_text", "text": "Hi"}),
        event("response.output_item.done", output_index=0, item=message("Hi")),
        completed(message("Hi"), usage={"input_tokens": 3, "output_tokens": 1}),
        named=named,
    )
    assert (reading.text, reading.finish_reason, reading.usage) == ("Hi", "completed", Usage(3, 1))
    assert reading.is_done


def test_without_deltas_the_terminal_event_is_the_text():
    output = (
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}]},
        message("a", "b"),
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        message("c"),
        {"type": "other", "content": [{"type": "output_text", "text": "NO"}]},
    )
    for data in ([written(completed(*output))], bytewise(written(completed(*output)))):
        reading = body("openai-responses", *data)
        assert (reading.thinking, reading.text) == ("t", "abc")
        assert assemble_tool_calls(reading.tool_calls) == [
            {"index": 2, "id": "c", "name": "f", "arguments": "{}"}
        ]


@pytest.mark.parametrize("deltas", [True, False])
def test_a_long_terminal_event_says_the_same(monkeypatch, deltas):
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    events = [event(TEXT, delta="ab")] if deltas else []
    data = written(*events, completed(message("a", "b"), call, instructions="x" * 200))
    expected = body("openai-responses", data)
    monkeypatch.setattr(frames, "SKIM_FROM_BYTES", 50)
    assert body("openai-responses", data).sameness() == expected.sameness()
    assert body("openai-responses", *bytewise(data)).sameness() == expected.sameness()
    assert expected.text == "ab"


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (
            completed(kind="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            "max_output_tokens",
        ),
        (
            completed(kind="incomplete", incomplete_details={"reason": "content_filter"}),
            "content_filter",
        ),
        (completed(kind="incomplete", incomplete_details=None), "incomplete"),
        (event("response.completed", response={"status": "incomplete"}), "incomplete"),
        (event("response.completed", response={"status": "new"}), "completed"),
        (completed(), "completed"),
        (event("response.completed"), "completed"),
        (event("response.completed", response=None), "completed"),
    ],
)
def test_finish_reasons(last, reason):
    reading = said(event(TEXT, delta="a"), last)
    assert (reading.is_done, reading.finish_reason) == (True, reason)


def test_a_refusal_is_the_visible_output():
    reading = said(event("response.refusal.delta", delta="No."), completed())
    assert (reading.text, reading.finish_reason) == ("No.", "refusal")
    parts = [{"type": "new"}, {"type": "refusal", "refusal": "No."}]
    part = {"type": "message", "content": parts}
    whole = said(completed(part))
    assert (whole.text, whole.finish_reason) == ("No.", "refusal")


def test_what_is_not_the_end():
    data = written(
        event(TEXT, delta="a"),
        event("response.output_text.done", text="a"),
        event("response.output_item.done", item=message("a")),
    )
    assert isinstance(body("openai-responses", data + b"data: [DONE]\n\n").error, Truncated)
    assert isinstance(
        body("openai-responses", data + b"event: response.completed\n\n").error, Truncated
    )


def test_the_event_name_stands_in_for_a_missing_type():
    data = b'event: response.output_text.delta\ndata: {"delta":"a"}\n\n'
    data += b'event: response.completed\ndata: {"response":{}}\n\n'
    for pieces in ([data], bytewise(data)):
        reading = body("openai-responses", *pieces)
        assert (reading.text, reading.is_done) == ("a", True)


def test_thinking_in_both_forms():
    reading = said(
        event("response.reasoning_summary_text.delta", delta="a"),
        event("response.reasoning_text.delta", delta="b"),
        event(TEXT, delta="c"),
        completed({"type": "reasoning", "summary": [{"text": "ab"}]}, message("c")),
    )
    assert reading.runs == ((Kind.THINKING, "ab"), (Kind.TEXT, "c"))


def test_tool_calls_in_pieces_and_whole():
    call = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": ""}
    custom = {"type": "custom_tool_call", "call_id": "d", "name": "g", "input": ""}
    late = {"type": "function_call", "call_id": "e", "name": "h", "arguments": ""}
    reading = said(
        event("response.output_item.added", output_index=0, item=call),
        event("response.function_call_arguments.delta", output_index=0, delta='{"x"'),
        event("response.function_call_arguments.delta", output_index=0, delta=":1}"),
        event("response.function_call_arguments.done", output_index=0, arguments='{"x":1}'),
        event("response.output_item.done", output_index=0, item={**call, "arguments": '{"x":1}'}),
        event("response.output_item.added", output_index=1, item=custom),
        event("response.custom_tool_call_input.delta", output_index=1, delta="text"),
        event("response.output_item.added", output_index=2, item=late),
        event("response.output_item.done", output_index=2, item={**late, "arguments": "{}"}),
        completed(
            {**call, "arguments": '{"x":1}'},
            {**custom, "input": "text"},
            {**late, "arguments": "{}"},
        ),
    )
    assert assemble_tool_calls(reading.tool_calls) == [
        {"index": 0, "id": "c", "name": "f", "arguments": '{"x":1}'},
        {"index": 1, "id": "d", "name": "g", "arguments": "text"},
        {"index": 2, "id": "e", "name": "h", "arguments": "{}"},
    ]


@pytest.mark.parametrize(
    ("last", "kind", "code"),
    [
        (event("error", code="server_error", message="boom"), ServerFailed, ErrorCode.SERVER_ERROR),
        (
            event("error", error={"code": "server_is_overloaded", "message": "boom"}),
            Busy,
            ErrorCode.OVERLOADED,
        ),
        (
            event(
                "response.failed",
                response={"error": {"code": "rate_limit_exceeded", "message": "boom"}},
            ),
            Busy,
            ErrorCode.RATE_LIMITED,
        ),
        (
            event(
                "response.failed", response={"error": {"code": "invalid_prompt", "message": "boom"}}
            ),
            Refused,
            ErrorCode.BAD_REQUEST,
        ),
        (
            event("response.failed", response={"error": {"code": "bio_policy", "message": "boom"}}),
            Refused,
            ErrorCode.BAD_REQUEST,
        ),
        (
            {"error": {"code": 500, "message": "boom"}, "type": ""},
            ServerFailed,
            ErrorCode.SERVER_ERROR,
        ),
    ],
)
def test_errors(last, kind, code):
    error = said(last, completed()).error
    assert (type(error), error.code) == (kind, code)
    assert "boom" in str(error)
    late = said(event(TEXT, delta="a"), last).error
    assert type(late) is (ServerFailed if kind is Refused else kind)


def test_a_terminal_event_of_a_response_that_failed_is_no_completion():
    """The text stays; what counts is what the response says of itself."""
    usage = {"input_tokens": 3, "output_tokens": 1}
    failed = event("response.completed", response={"status": "failed", "usage": usage})
    boom = {"code": "rate_limit_exceeded", "message": "boom"}
    with_reason = event("response.completed", response={"status": "completed", "error": boom})
    cancelled = event("response.completed", response={"status": "cancelled", "usage": usage})
    for last, code in (
        (failed, ErrorCode.SERVER_ERROR),
        (with_reason, ErrorCode.RATE_LIMITED),
        (cancelled, ErrorCode.GENERATION_ABORTED),
    ):
        reading = said(event(TEXT, delta="a"), last)
        assert (reading.text, reading.error.code) == ("a", code)
        assert reading.usage == (Usage(3, 1) if last is not with_reason else Usage())


def test_counts_of_a_response_that_failed_count():
    response = {"error": {"message": "boom"}, "usage": {"input_tokens": 3, "output_tokens": 1}}
    assert said(event("response.failed", response=response)).usage == Usage(3, 1)


def test_thoughts_that_did_not_come_as_deltas():
    raw = {"type": "reasoning_text", "text": "raw"}
    short = {"type": "summary_text", "text": "short"}
    for summary, thinking in (([], "raw"), (None, "raw"), ([short], "short")):
        thought = {"type": "reasoning", "summary": summary, "content": [raw]}
        reading = said(completed(thought, message("a")))
        assert (reading.thinking, reading.text) == (thinking, "a")
        came_before = said(event("response.reasoning_text.delta", delta="raw"), completed(thought))
        assert came_before.thinking == "raw"


def test_a_call_that_the_terminal_event_counts_otherwise_is_still_the_same_call():
    """Some leave the items of thinking out at the end, and every index moves."""
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    reading = said(
        event("response.output_item.added", output_index=1, item={**call, "arguments": ""}),
        event("response.function_call_arguments.delta", output_index=1, delta="{}"),
        completed(call),
    )
    assert assemble_tool_calls(reading.tool_calls) == [
        {"index": 1, "id": "c", "name": "f", "arguments": "{}"}
    ]


def test_keepalives_are_no_progress_and_unknown_events_are_ignored():
    reading = said(event("keepalive"), event("response.new", delta="NO"), completed())
    assert (reading.text, reading.frames) == ("", 2)


def test_text_of_another_type_is_not_skipped():
    assert isinstance(said(event(TEXT, delta={"a": 1}), completed()).error, Malformed)


def test_a_whole_answer_that_failed_is_none():
    whole = json.dumps({"object": "response", "status": "cancelled", "output": []}).encode()
    assert isinstance(
        body("openai-responses", whole, accept_finish_without_done=True).error, Malformed
    )


def test_items_of_other_types_are_kept():
    """Once, as they came; what only announces them is not."""
    image = {"type": "image_generation_call", "id": "i", "result": "UklG", "new": 1}
    data = written(
        event("response.output_item.added", output_index=0, item={**image, "result": None}),
        event("response.mcp_call_arguments.delta", delta="{"),
        event("response.output_item.done", output_index=0, item=image),
        event(TEXT, delta="a", output_index=1),
        completed(image, message("a")),
    )
    for pieces in ([data], bytewise(data)):
        reading = body("openai-responses", *pieces)
        assert (reading.text, reading.is_done) == ("a", True)
        assert [(kind, json.loads(data)) for kind, data in reading.extras] == [("items", image)]


@pytest.mark.parametrize("deltas", [[], ["new"], ["n", "ew"]])
def test_a_terminal_event_that_repeats_the_beginning_adds_nothing_of_it(deltas):
    """A request that ends with the beginning of the answer gets it back in the last events."""
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "THE PREFIX "}]
    item = {**message("THE PREFIX new"), "id": "m"}
    data = written(
        *(event(TEXT, delta=delta, output_index=0, item_id="m") for delta in deltas),
        event("response.output_item.done", output_index=0, item=item),
        completed(item),
    )
    reading = body("openai-responses", data, messages=talk)
    assert (reading.text, reading.is_done) == ("new", True)


@pytest.mark.parametrize("order", range(6))
def test_a_text_is_whole_wherever_it_is_repeated(order):
    """Deltas, `.done`, the part, the item and the end: each alone, and all together."""
    item = message("Hello world")
    repeats = [
        event("response.output_text.done", output_index=0, content_index=0, text="Hello world"),
        event(
            "response.content_part.done", output_index=0, content_index=0, part=item["content"][0]
        ),
        event("response.output_item.done", output_index=0, item=item),
        completed(item),
    ]
    chosen = repeats if order == 5 else repeats[order : order + 1]
    for deltas in ([], ["Hello"], ["Hello ", "world"]):
        heard = [event(TEXT, delta=delta, output_index=0, content_index=0) for delta in deltas]
        if order == 4:
            heard = [event(TEXT, delta="Hello world")]
        reading = said(*heard, *chosen[:-1], *(chosen[-1:] or ()), completed())
        assert (reading.text, reading.is_done) == ("Hello world", True)


def test_a_text_that_the_end_contradicts_is_an_error():
    for text in ("Hullo world", "world", "Hello w"):
        reading = said(event(TEXT, delta="Hello world"), completed(message(text)))
        assert isinstance(reading.error, Malformed)
