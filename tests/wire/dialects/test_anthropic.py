"""Anthropic messages: `message_stop` is the end, and counts add up as the vendor means them."""

import json

import pytest

from tests.wire.dialects.test_wire_format import ask
from tests.wire.reading import body, bytewise
from worker.errors import Busy, Malformed, Refused, ServerFailed, Truncated
from worker.records import Kind, Usage
from worker.wire import DIALECTS
from worker.wire.tool_calls import assemble_tool_calls

STOP = {"type": "message_stop"}


def start(**usage):
    return {"type": "message_start", "message": {"content": [], "usage": usage}}


def delta(kind, index=0, **more):
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **more}}


def block(kind, index=0, **more):
    content = {"type": kind, **more}
    return {"type": "content_block_start", "index": index, "content_block": content}


def outcome(reason, **usage):
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def written(*events):
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (each["type"].encode(), json.dumps(each).encode())
        for each in events
    )


def said(*events):
    return body("anthropic-messages", written(*events))


def test_request():
    request, sent = ask("anthropic-messages", base_url="http://h", system="s", options={"top_k": 1})
    assert request.url == "http://h/v1/messages"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert sent == {
        "model": "m",
        "messages": [{"role": "user", "content": "p"}],
        "system": "s",
        "max_tokens": 4096,
        "top_k": 1,
        "stream": True,
    }
    assert ask("anthropic-messages", options={"max_tokens": 5})[1]["max_tokens"] == 5


def test_system_messages_go_where_the_protocol_wants_them():
    talk = [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]
    sent = ask("anthropic-messages", prompt=None, messages=talk, system="t")[1]
    assert (sent["system"], sent["messages"]) == ("t\n\ns", talk[1:])
    blocks = [{"type": "text", "text": "cached", "cache_control": {"type": "ephemeral"}}]
    where = {"options": {"system": blocks}}
    assert ask("anthropic-messages", where=where)[1]["system"] == blocks
    assert ask("anthropic-messages", where=where, system="own")[1]["system"] == "own"


def test_text_thinking_and_what_is_neither():
    reading = said(
        start(input_tokens=1),
        block("thinking", thinking=""),
        delta("thinking_delta", thinking="t"),
        delta("signature_delta", signature="NO"),
        block("redacted_thinking", data="NO"),
        block("text", 1, text="He"),
        {"type": "ping"},
        delta("text_delta", 1, text="y"),
        delta("citations_delta", 1, citation={"cited_text": "NO"}),
        delta("future_delta", 1, text="NO"),
        block("compaction", 2, content="NO"),
        {"type": "content_block_stop", "index": 1},
        outcome("end_turn", output_tokens=5),
        STOP,
    )
    assert reading.runs == ((Kind.THINKING, "t"), (Kind.TEXT, "Hey"))
    assert (reading.is_done, reading.finish_reason) == (True, "end_turn")
    assert reading.frames == 13


def test_prompt_tokens_are_a_sum_and_the_placeholder_is_not_believed():
    first = start(
        input_tokens=3,
        cache_creation_input_tokens=100,
        cache_read_input_tokens=1000,
        output_tokens=1,
    )
    assert said(first).usage == Usage(1103, None)
    assert said(first, outcome("end_turn", output_tokens=5)).usage == Usage(1103, 5)
    later = outcome("end_turn", output_tokens=6, input_tokens=4, cache_read_input_tokens=2000)
    assert said(first, outcome(None, output_tokens=5), later).usage == Usage(2104, 6)
    none_cached = outcome(None, cache_read_input_tokens=0)
    assert said(first, none_cached).usage == Usage(103, None)
    assert said(start(input_tokens=None)).usage == Usage(None, None)
    assert said({"type": "message_start", "message": {}}, STOP).usage == Usage(None, None)


def test_what_is_not_the_end():
    data = written(delta("text_delta", text="a"), outcome("end_turn", output_tokens=1))
    for more in (
        b"data: [DONE]\n\n",
        b"event: message_stop\n\n",
        b'event: message_stop\ndata: {"type":"mess',
    ):
        reading = body("anthropic-messages", data + more)
        assert isinstance(reading.error, Truncated)
        assert reading.finish_reason == "end_turn"
    assert body("anthropic-messages", data, accept_finish_without_done=True).is_done


def test_the_event_name_stands_in_for_a_missing_type():
    data = b'event: content_block_delta\ndata: {"delta":{"type":"text_delta","text":"a"}}\n\n'
    data += b"event: message_stop\ndata: {}\n\n"
    for pieces in ([data], bytewise(data)):
        reading = body("anthropic-messages", *pieces)
        assert (reading.text, reading.is_done) == ("a", True)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("overloaded_error", Busy),
        ("rate_limit_error", Busy),
        ("api_error", ServerFailed),
        ("timeout_error", ServerFailed),
        ("invalid_request_error", Refused),
        ("authentication_error", Refused),
        ("billing_error", Refused),
    ],
)
def test_errors_by_their_names(name, kind):
    event = {"type": "error", "error": {"type": name, "message": "boom"}, "request_id": "req_1"}
    error = said(start(input_tokens=1), event, STOP).error
    assert (type(error), error.request_id) == (kind, "req_1")
    assert "boom" in str(error)
    without_name = body("anthropic-messages", b"data: " + json.dumps(event).encode() + b"\n\n")
    assert type(without_name.error) is kind


def test_tool_use():
    reading = said(
        block("tool_use", 1, id="a", name="f", input={}),
        delta("input_json_delta", 1, partial_json=""),
        delta("input_json_delta", 1, partial_json='{"x":'),
        delta("input_json_delta", 1, partial_json="1}"),
        block("server_tool_use", 2, id="b", name="web_search", input={}),
        delta("input_json_delta", 2, partial_json='{"NO":1}'),
        block("tool_use", 3, id="c", name="g", input={"whole": True}),
        outcome("tool_use", output_tokens=9),
        STOP,
    )
    assert assemble_tool_calls(reading.tool_calls) == [
        {"index": 1, "id": "a", "name": "f", "arguments": '{"x":1}'},
        {"index": 3, "id": "c", "name": "g", "arguments": '{"whole":true}'},
    ]


def test_an_input_that_is_sent_whole_and_in_pieces_counts_once():
    """Some gateways do both; without pieces, the whole one counts, whatever ends the block."""
    whole = block("tool_use", 1, id="a", name="f", input={"x": 1})
    pieces = [delta("input_json_delta", 1, partial_json=text) for text in ("", '{"x":', "1}")]
    stop = {"type": "content_block_stop", "index": 1}
    for events in ([*pieces, stop], [stop], [pieces[0], stop], [block("text", 2, text="")], []):
        reading = said(whole, *events, STOP)
        (call,) = assemble_tool_calls(reading.tool_calls)
        assert (call["id"], call["arguments"]) == ("a", '{"x":1}')


def test_text_of_another_type_is_not_skipped():
    assert isinstance(said(delta("text_delta", text=5), STOP).error, Malformed)
    assert isinstance(said(block("text", text=[]), STOP).error, Malformed)


def test_holes_are_tolerated():
    reading = said({"type": "message_delta"}, {"type": "content_block_delta"}, STOP)
    assert (reading.is_done, reading.finish_reason, reading.usage) == (True, None, Usage())
    whole = {
        "type": "message",
        "content": [None, {"type": "text", "text": "a"}],
        "stop_reason": "x",
    }
    data = json.dumps(whole).encode()
    assert body("anthropic-messages", data, accept_finish_without_done=True).text == "a"


def test_refusals_keep_their_name():
    reading = said(delta("text_delta", text="I"), outcome("refusal", output_tokens=3), STOP)
    assert (reading.is_done, reading.finish_reason, reading.text) == (True, "refusal", "I")


def test_blocks_that_are_no_text_are_kept():
    """Tools that the server runs, citations, and types that are not known yet; in every lane."""
    search = {"type": "server_tool_use", "id": "b", "name": "web_search", "input": {}}
    cited = {"type": "citations_delta", "citation": {"cited_text": "x"}}
    events = [
        {"type": "content_block_start", "index": 0, "content_block": search},
        delta("input_json_delta", 0, partial_json='{"q":1}'),
        {"type": "content_block_delta", "index": 1, "delta": cited},
        delta("text_delta", 1, text="a"),
        delta("signature_delta", 1, signature="s"),
        STOP,
    ]
    for pieces in ([written(*events)], bytewise(written(*events))):
        reading = body("anthropic-messages", *pieces)
        assert reading.text == "a"
        assert [json.loads(data) for kind, data in reading.extras if kind == "blocks"] == [
            search,
            {"index": 0, "partial_json": '{"q":1}'},
            cited,
        ]


def test_content_of_the_first_event_counts_if_no_other_comes():
    """And if other content comes, it is compared with that."""
    opening = start(input_tokens=1)
    opening["message"]["content"] = [{"type": "text", "text": "Hello"}]
    assert said(opening, STOP).text == "Hello"
    assert said(opening, delta("text_delta", text="Hello there"), STOP).text == "Hello there"
    assert said(opening, delta("text_delta", text="Hel"), STOP).text == "Hello"
    assert isinstance(said(opening, delta("text_delta", text="Bye"), STOP).error, Malformed)


def test_the_version_is_a_setting_of_the_endpoint():
    request, _ = ask("anthropic-messages", where={"anthropic_version": "2026-10-01"})
    assert request.headers["anthropic-version"] == "2026-10-01"
    assert "anthropic-version" not in ask("openai-chat")[0].headers


def test_an_option_that_a_version_refuses_is_named_with_its_cure():
    """And no other refusal is touched."""
    dialect = DIALECTS["anthropic-messages"]
    request, _ = ask("anthropic-messages", options={"temperature": 0})
    refused = Refused("HTTP 400: temperature is not supported", http_status=400)
    error = dialect.explained(request, refused)
    assert str(error).startswith(str(refused))
    assert "remove the option temperature, or set anthropic_version" in str(error)
    for other in (
        Refused("HTTP 400: top_p is not supported", http_status=400),
        Refused("HTTP 404: temperature", http_status=404),
    ):
        assert dialect.explained(request, other) is other
