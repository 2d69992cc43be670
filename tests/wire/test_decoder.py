"""One decoder for all dialects: what is no stream is named, long frames stay out of memory."""

import json
from dataclasses import replace

import pytest

from tests.wire.corpus import STREAMS, check
from tests.wire.reading import body, bytewise, careful, cut, decoder, read
from worker.errors import (
    Busy,
    ErrorCode,
    FrameTooLarge,
    Malformed,
    Refused,
    ServerFailed,
    Truncated,
    Verdict,
)
from worker.records import Kind
from worker.wire import DIALECTS
from worker.wire.events import Delta, Done, Fault
from worker.wire.framing import template
from worker.wire.framing.frames import SKIM_FROM_BYTES
from worker.wire.snapshots import PIECES

EVENT_DIALECTS = [name for name in DIALECTS if not name.startswith("ollama")]
READ = 64 * 1024
CHUNK = b'{"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}'


def sse(*frames):
    return b"".join(b"data: " + frame + b"\n\n" for frame in frames)


def test_nothing_in_nothing_out():
    for name in DIALECTS:
        source = decoder(name)
        assert list(source.feed(b"")) == []
        assert source.held_bytes == 0
        (end,) = source.close()
        assert isinstance(end.error, Truncated)
        assert "no frame came" in str(end.error)


def test_one_delta_per_kind_and_read():
    source = decoder("openai-chat")
    events = source.feed(sse(CHUNK % b"a", CHUNK % b"b", CHUNK % b"c"))
    assert list(events) == [Delta(Kind.TEXT, "abc")]
    assert source.frames == 3


def test_the_order_of_kinds_within_a_read_is_kept():
    lines = [
        {"response": "", "thinking": "a"},
        {"response": "b"},
        {"response": "c", "thinking": "d"},
        {"response": "e", "done": True},
    ]
    reading = body("ollama-generate", b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    assert reading.runs == (
        (Kind.THINKING, "a"),
        (Kind.TEXT, "b"),
        (Kind.THINKING, "d"),
        (Kind.TEXT, "ce"),
    )


# --- bodies that are no streams


def test_a_page_is_named_by_its_title():
    page = b"<!doctype html>\n<html><head><title>Sign in</title></head><body>x</body></html>"
    for name in DIALECTS:
        for pieces in ([page], bytewise(page)):
            error = read(decoder(name, content_type="text/html"), pieces).error
            assert isinstance(error, Malformed)
            assert "Sign in" in str(error)
            assert error.verdict is Verdict.RETRY_LATER


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", EVENT_DIALECTS)
def test_a_json_error_with_status_200_is_that_error(name, indent):
    said = {"error": {"message": "No such model.", "code": 404}}
    for text in (json.dumps(said, indent=indent), "\n" + json.dumps([said], indent=indent) + "\n"):
        error = body(name, text.encode()).error
        assert (type(error), error.code) == (Refused, ErrorCode.NOT_FOUND)
        assert "No such model." in str(error)


@pytest.mark.parametrize("name", EVENT_DIALECTS)
def test_a_document_with_fields_of_any_type_is_malformed(name):
    for text in (b'{"object": {}}', b'{"type": ["error"]}', b'[{"object": []}]'):
        assert isinstance(body(name, text).error, Malformed), text


def test_a_pretty_printed_error_on_json_lines():
    said = json.dumps({"error": "boom", "StatusCode": 503}, indent=4).encode()
    for pieces in ([said], bytewise(said)):
        assert isinstance(read(decoder("ollama-chat"), pieces).error, Busy)


def test_a_pretty_printed_done_object_on_json_lines_is_done():
    said = json.dumps({"response": "hi", "done": True, "done_reason": "stop"}, indent=4).encode()
    reading = body("ollama-generate", said)
    assert (reading.text, reading.is_done) == ("hi", True)


WHOLE = {
    "openai-chat": {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    },
    "openai-completions": {
        "choices": [{"index": 0, "text": "hi", "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    },
    "openai-responses": {
        "object": "response",
        "status": "completed",
        "error": None,
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}],
        "usage": {"input_tokens": 3, "output_tokens": 1},
    },
    "anthropic-messages": {
        "type": "message",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 1},
    },
    "llamacpp-completion": {
        "content": "hi",
        "stop": True,
        "stop_type": "eos",
        "tokens_evaluated": 3,
        "tokens_predicted": 1,
    },
}


@pytest.mark.parametrize("name", EVENT_DIALECTS)
@pytest.mark.parametrize("indent", [None, 2])
def test_an_answer_in_one_piece_is_taken_only_where_that_is_accepted(name, indent):
    whole = json.dumps(WHOLE[name], indent=indent).encode()
    accepted = body(name, whole, accept_finish_without_done=True)
    assert (accepted.text, accepted.is_done) == ("hi", True)
    assert (accepted.usage.prompt_tokens, accepted.usage.completion_tokens) == (3, 1)
    assert accepted.finish_reason in {"stop", "completed", "end_turn", "eos"}
    strict = body(name, whole)
    assert (type(strict.error), strict.error.verdict) == (Malformed, Verdict.FAIL)
    assert "ignored `stream: true`" in str(strict.error)
    assert "accept_finish_without_done" in str(strict.error)
    assert strict.text == "hi", "it is shown, though not as an answer"


@pytest.mark.parametrize("name", EVENT_DIALECTS)
def test_some_other_object_is_malformed(name):
    for text in (b'{"foo": 1}', b"[]", b"[1]", b'{"choices": [], "content": 5, "type": "message"}'):
        error = body(name, text, accept_finish_without_done=True).error
        assert isinstance(error, Malformed), text
    assert isinstance(body(name, b'{"foo": ').error, Truncated)
    assert isinstance(body(name, b'{"foo": }').error, Malformed)


def test_a_pretty_printed_object_on_json_lines_that_is_cut_or_none():
    assert isinstance(body("ollama-chat", b'{\n  "error": "bo').error, Truncated)
    assert isinstance(body("ollama-chat", b'{\n  "error": }').error, Malformed)


def test_an_answer_in_one_piece_that_did_not_finish_is_none():
    whole = json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": None}]})
    assert not body("openai-chat", whole.encode(), accept_finish_without_done=True).is_done


@pytest.mark.parametrize("name", EVENT_DIALECTS)
def test_an_error_line_before_the_events_of_a_stream(name):
    for rest in (b"", b"\n\ndata: [DONE]\n\n"):
        error = body(name, b'{"error":{"message":"upstream","code":504}}' + rest).error
        assert isinstance(error, Busy)
        assert "upstream" in str(error)


def test_json_lines_where_events_were_expected_are_named():
    error = body("openai-chat", b'{"response":"a","done":false}\n{"done":true}\n').error
    assert isinstance(error, Malformed)
    assert "response" in str(error)


def test_events_where_json_lines_were_expected_are_named():
    error = body("ollama-chat", sse(CHUNK % b"a")).error
    assert isinstance(error, Malformed)
    assert "dialect" in str(error)


def test_html_behind_an_event_stream_without_frames():
    error = body("openai-chat", b"Please log in\n", content_type="text/html; charset=utf-8").error
    assert isinstance(error, Malformed)
    assert isinstance(body("openai-chat", b"Please log in\n").error, Truncated)


# --- errors in the stream


@pytest.mark.parametrize("name", EVENT_DIALECTS)
@pytest.mark.parametrize(
    "frame",
    [
        b'error: {"code":500,"message":"boom"}\n\n',
        b"error: boom\n\n",
        b'{"error":{"message":"boom"}}\n',
        b'event: error\ndata: {"code":500,"message":"boom","type":"server_error"}\n\n',
        b"event: error\ndata: boom\n\n",
        b'data: {"error":{"message":"boom"}}\n\n',
        b'data: {"error":"boom"}\n\n',
    ],
)
def test_every_way_to_report_an_error_beats_the_sentinel(name, frame):
    data = b": hi\n\n" + frame + b"data: [DONE]\n\n"
    for pieces in ([data], bytewise(data)):
        error = read(decoder(name), pieces).error
        assert isinstance(error, ServerFailed)
        assert "boom" in str(error)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_whole_frame_that_is_no_object_is_an_error(name):
    for text in (b"nope", b"5", b"[1]", b"null", b'"x"', b'{"a":', b"{}{}"):
        frame = text + b"\n" if name.startswith("ollama") else sse(text)
        assert isinstance(body(name, frame + frame).error, Malformed), text


@pytest.mark.parametrize("name", DIALECTS)
def test_a_tail_that_is_no_object_is_dropped(name):
    for text in (b"nope", b"5", b'{"a":', b"[DON"):
        frame = text if name.startswith("ollama") else b"data: " + text
        assert isinstance(body(name, frame).error, Truncated), text


@pytest.mark.parametrize("name", EVENT_DIALECTS)
def test_a_tail_that_is_half_an_error_is_dropped(name):
    """It might have said anything; a whole one counts, with or without its blank line."""
    for text in (b"error: boo", b'error: {"mess', b'{"error":"bo', b'event: error\ndata: {"mess'):
        assert isinstance(body(name, b": hi\n\n" + text).error, Truncated), text
    for text in (b'error: {"message":"boom"}', b'event: error\ndata: {"message":"boom"}\n'):
        assert isinstance(body(name, b": hi\n\n" + text).error, ServerFailed), text


@pytest.mark.parametrize("word", ["error", "ping"])
@pytest.mark.parametrize("rest", ["\u00a0", "\u0085", "\x1c", "\u2003", " " * 300 + "x"])
def test_a_name_that_is_almost_a_special_one_is_another_in_every_lane(word, rest):
    """What a frame means does not depend on what came with it in one read."""
    name = "openai-chat"
    event = f"event: {word}{rest}\n".encode() + sse(CHUNK % b"x")
    for made in (decoder(name), careful(name)):
        reading = read(made, [event, sse(b"[DONE]")])
        assert (reading.text, reading.is_done) == ("x", True)


def test_pings_are_no_progress():
    source = decoder("openai-chat")
    pings = (
        b": ping\n\n:\n\nevent: ping\ndata: 12:00\n\nevent: keepalive\ndata: {}\n\nid: 1\n\n\n\n"
    )
    assert list(source.feed(pings)) == []
    assert source.frames == 0


@pytest.mark.parametrize("name", EVENT_DIALECTS)
def test_a_bare_line_is_no_data(name):
    """Also where the data of an event would stand, and whatever it would mean as data."""
    ends = [b'{"type":"message_stop"}', b'{"stop":true}', b'{"type":"response.completed"}']
    for line in (CHUNK % b"NO", *ends, b'{"content":"NO"}', b'{"choices":[{"text":"NO"}]}'):
        for start in (b"event: x\n", b"data: {}\n", b": hi\n\n"):
            data = start + line + b"\n\n"
            for pieces in ([data], [b": x\n\n" + data], bytewise(data)):
                reading = read(decoder(name), pieces)
                assert (reading.runs, type(reading.error)) == ((), Truncated)


@pytest.mark.parametrize("name", EVENT_DIALECTS)
def test_a_pretty_printed_object_inside_a_stream_is_an_error(name):
    """Gateways append errors so; the lines are no fields, and a sentinel may follow."""
    said = json.dumps({"error": {"message": "boom", "code": 503}}, indent=2).encode()
    data = b": hi\n\n" + said + b"\n\ndata: [DONE]\n\n"
    for pieces in ([data], bytewise(data)):
        assert isinstance(read(decoder(name), pieces).error, Malformed)
    assert isinstance(body(name, b": hi\n\n{").error, Truncated), "cut off: it may be anything"


# --- limits


def feed_all(source, pieces):
    """Events of all pieces, and the most that was held in between."""
    events, most = [], 0
    for piece in pieces:
        events += source.feed(piece)
        most = max(most, source.held_bytes)
    return [*events, *source.close()], most


def long(start, part, times, end):
    yield start
    for _ in range(times):
        yield part
    yield end


LONG_FRAMES = {
    "ollama-generate": (
        b'{"response":"hi","done":false}\n{"response":"!","context":[1',
        b",128006",
        b'],"done":true,"done_reason":"stop"}\n',
        "hi!",
    ),
    "llamacpp-completion": (
        sse(b'{"content":"hi","stop":false}') + b'data: {"content":"!","prompt":"',
        b'{\\"stop\\":true}',
        b'","stop":true,"stop_type":"eos"}\n\n',
        "hi!",
    ),
}


@pytest.mark.parametrize("name", LONG_FRAMES)
def test_terminal_frames_that_are_legally_long_need_no_memory(name):
    """Four times `max_frame_bytes`, and no more is held than of any unfinished frame."""
    start, part, end, text = LONG_FRAMES[name]
    block = part * (READ // len(part))
    source = decoder(name, max_frame_bytes=1024 * 1024)
    events, most = feed_all(source, long(start, block, 64, end))
    assert "".join(event.text for event in events[:-1]) == text
    assert isinstance(events[-1], Done)
    assert most <= SKIM_FROM_BYTES + READ


PIECE = 'hi!\n"é\U0001f600'
REPEATS = {
    "response.output_text.done": lambda text: {"text": text},
    "response.content_part.done": lambda text: {"part": {"type": "output_text", "text": text}},
    "response.output_item.done": lambda text: {"item": message(text)},
    "response.completed": lambda text: {
        "response": {"status": "completed", "output": [message(text)]}
    },
}


def message(text):
    return {"type": "message", "content": [{"type": "output_text", "text": text}]}


def spoken(kind, streamed, repeated, *, is_ascii=True):
    """A long text in deltas, and once more in an event of this kind."""
    delta = {"type": "response.output_text.delta", "delta": streamed}
    repeat = {"type": kind, **REPEATS[kind](repeated)}
    yield sse(json.dumps(delta, ensure_ascii=is_ascii).encode())
    whole = sse(json.dumps(repeat, ensure_ascii=is_ascii).encode())
    for start in range(0, len(whole), READ):
        yield whole[start : start + READ]
    if kind != "response.completed":
        yield sse(b'{"type":"response.completed","response":{"status":"completed"}}')


@pytest.mark.parametrize("kind", REPEATS)
@pytest.mark.parametrize("is_ascii", [True, False])
def test_long_events_that_repeat_the_text_need_no_memory(kind, is_ascii):
    """Four times `max_frame_bytes`, and no more is held than of any unfinished frame."""
    text = PIECE * 200_000
    source = decoder("openai-responses", max_frame_bytes=1024 * 1024)
    half = json.dumps({"type": "response.output_text.delta", "delta": PIECE * 10_000}).encode()
    for _ in range(19):
        source.feed(sse(half))
    pieces = spoken(kind, PIECE * 10_000, text, is_ascii=is_ascii)
    events, most = feed_all(source, pieces)
    assert isinstance(events[-1], Done)
    assert "".join(each.text for each in events[:-1]) == PIECE * 10_000
    assert most <= SKIM_FROM_BYTES + READ


@pytest.mark.parametrize("kind", REPEATS)
@pytest.mark.parametrize("is_ascii", [True, False])
def test_a_long_repetition_shows_what_was_missing(kind, is_ascii):
    """Its end is appended where it was not streamed; another text is an error."""
    text = "".join(f"{number} \\ é\n" for number in range(60_000))
    for missing in (0, 1, 3, 1000):
        streamed = text[: len(text) - missing]
        reading = body("openai-responses", *spoken(kind, streamed, text, is_ascii=is_ascii))
        assert (reading.text == text, reading.is_done) == (True, True)
    for wrong in (text[:400_000], "x", text[:-5000] + text[-4000:], text[:-1] + "x"):
        reading = body("openai-responses", *spoken(kind, wrong, text, is_ascii=is_ascii))
        assert isinstance(reading.error, Malformed)


def test_a_long_terminal_frame_is_still_the_only_source_of_text():
    text = PIECE * 60_000
    whole = sse(
        json.dumps({"type": "response.completed", **REPEATS["response.completed"](text)}).encode()
    )
    reading = body("openai-responses", *cut(whole, range(READ, len(whole), READ)))
    assert reading.text == text
    assert reading.is_done


@pytest.mark.parametrize("name", DIALECTS)
def test_a_frame_that_has_to_be_held_is_limited(name):
    """One line, one string that is wanted, no end: an error that names both sizes."""
    starts = {
        "ollama-generate": b'{"response":"',
        "ollama-chat": b'{"message":{"content":"',
        "openai-completions": b'data: {"choices":[{"text":"',
        "openai-responses": b'data: {"type":"response.output_text.delta","delta":"',
        "anthropic-messages": b'data: {"delta":{"text":"',
        "llamacpp-completion": b'data: {"content":"',
        "openai-chat": b'data: {"choices":[{"delta":{"content":"',
    }
    source = decoder(name, max_frame_bytes=300_000)
    events, most = feed_all(source, long(starts[name], b"x" * 10_000, 40, b""))
    (fault,) = events
    assert isinstance(fault.error, FrameTooLarge)
    assert "300000" in str(fault.error)
    assert "max_frame_bytes" in str(fault.error)
    assert most <= 310_000


def test_text_before_a_frame_that_is_too_large_is_kept():
    reading = body("openai-chat", sse(CHUNK % b"kept", CHUNK % (b"x" * 500)), max_frame_bytes=300)
    assert reading.text == "kept"
    assert isinstance(reading.error, FrameTooLarge)


@pytest.mark.parametrize("name", EVENT_DIALECTS)
def test_lines_that_are_nobodys_are_not_held(name):
    source = decoder(name, max_frame_bytes=1000)
    for start in (b": ", b"id: ", b"nonsense", b"event: "):
        source.feed(start)
        for _ in range(20):
            source.feed(b"x" * READ)
        source.feed(b"\n\n")
        assert source.held_bytes <= 1000
    assert isinstance(source.close()[-1].error, Truncated)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_document_is_limited_too(name):
    source = decoder(name, max_frame_bytes=1000)
    source.feed(b"<html>")
    (fault,) = source.feed(b"x" * 1000)
    assert isinstance(fault.error, FrameTooLarge)


@pytest.mark.parametrize("name", DIALECTS)
def test_deep_nesting_is_an_error_of_the_frame(name):
    """Neither a crash of the parser nor of the recursion that reads the value."""
    for inner in (b"[" * 200_000, b'{"a":' * 100_000):
        line = b'{"tool_calls":%b}' % inner
        frame = line + b"\n" if name.startswith("ollama") else sse(line)
        assert isinstance(body(name, frame).error, Malformed)


@pytest.mark.parametrize("name", DIALECTS)
def test_nesting_that_can_be_read_is_read_or_refused_and_never_dropped(name):
    """How deep that is, the version of Python says."""
    line = b'{"tool_calls":%b}' % (b"[" * 900 + b"]" * 900)
    reading = body(name, line + b"\n" if name.startswith("ollama") else sse(line))
    assert isinstance(reading.error, Malformed) or reading.frames == 1


def test_arguments_that_can_be_read_but_not_written_again_are_an_error_of_the_frame():
    """Reading and writing run out of stack at different depths; in between there is no crash."""
    for depth in range(900, 1000, 3):
        arguments = b'{"a":' * depth + b"1" + b"}" * depth
        line = (
            b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":%b}}]}}\n' % arguments
        )
        reading = body("ollama-chat", line)
        assert isinstance(reading.error, Malformed) or reading.tool_calls


@pytest.mark.parametrize("name", DIALECTS)
def test_a_report_that_one_parser_reads_and_the_other_does_not_is_an_error_of_the_frame(name):
    """The fast lane reads deeper than Python's parser, which has to read the report once more."""
    for depth in range(850, 1000):
        line = b'{"error":{"message":%b}}' % (b"[" * depth + b"]" * depth)
        frame = line + b"\n" if name.startswith("ollama") else sse(line)
        assert isinstance(body(name, frame).error, ServerFailed | Malformed)


def test_after_the_end_nothing_is_held():
    source = decoder("openai-chat")
    source.feed(sse(CHUNK % b"a", b"[DONE]") + b"data: {" + b"x" * 1000)
    assert source.held_bytes == 0
    assert source.feed(b"x" * 1000) == ()
    assert source.close() == ()


def timed_lines(*said):
    return b"".join(
        json.dumps(
            {"created_at": f"2026-11-01T10:00:00.{at}Z", "response": text, "done": False}
        ).encode()
        + b"\n"
        for at, text in enumerate(said, start=99)
    )


def test_lines_that_differ_in_text_and_time_go_down_the_lane_above_all(monkeypatch):
    """None of them is decoded by itself, but the first, which shows the mould."""
    source = decoder("ollama-generate")
    decoded = []
    plain = source._answer.plain
    counting = replace(plain, decode=lambda line: decoded.append(line) or plain.decode(line))
    monkeypatch.setattr(type(source._answer), "plain", counting)
    said = [f"word {number} " for number in range(100)]
    source.feed(timed_lines(*["x"] * PIECES))
    assert list(source.feed(timed_lines(*said))) == [Delta(Kind.TEXT, "".join(said))]
    assert source.frames == 100 + PIECES
    assert len(decoded) == (2 if template.pour else 100)


@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_without_the_compiled_part_everything_means_the_same(case, monkeypatch):
    """Whoever has no compiler loses time, and no word."""
    monkeypatch.setattr(template, "pour", None)
    for places in ((), range(0, len(case.body), 7 + len(case.body) // 40)):
        source = case.decoder()
        check(case, read(source, cut(case.body, places)), f"cut at {places}")


@pytest.mark.parametrize("name", ["openai-chat", "ollama-chat"])
def test_a_frame_of_exactly_the_limit_is_read(name):
    """And one byte more is too much."""
    frame = b'{"choices":[{"index":0,"delta":{"content":"%b"}}]}'
    lead, end = b"data: ", b"\n\n"
    if name == "ollama-chat":
        frame, lead, end = b'{"message":{"content":"%b"},"done":true}', b"", b"\n"
    data = frame % (b"x" * 200)
    for pieces in ([lead + data + end], bytewise(lead + data + end)):
        reading = read(decoder(name, max_frame_bytes=len(data)), pieces)
        assert not (isinstance(reading.end, Fault) and isinstance(reading.error, FrameTooLarge))
        assert reading.text == "x" * 200
        error = read(decoder(name, max_frame_bytes=len(data) - 1), pieces).error
        assert isinstance(error, FrameTooLarge)
        assert str(len(data)) not in str(error), "one cause has one sentence"


TEXTS = {
    "openai-responses": {"type": "response.output_text.delta", "item_id": "m", "delta": "é word "},
    "anthropic-messages": {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "é word "},
    },
    "llamacpp-completion": {"content": "é word ", "stop": False, "tokens_predicted": 1},
}


@pytest.mark.parametrize("dialect", TEXTS)
def test_pieces_of_text_are_decoded_into_few_fields(dialect):
    """Once it is clear what a stream is, no frame of text is read in the wide shape."""
    block = sse(json.dumps(TEXTS[dialect]).encode()) * PIECES
    source = decoder(dialect)
    source.feed(block)
    wide = []
    source._answer.take = lambda frame, event: wide.append(frame)
    source._answer.take_all = wide.append
    assert list(source.feed(block)) == [Delta(Kind.TEXT, "é word " * PIECES)]
    assert not wide


def test_the_first_read_of_a_stream_takes_the_short_way_as_soon_as_that_is_safe():
    source, slow = decoder("openai-chat"), []
    take = source._answer.take
    source._answer.take = lambda frame, event: slow.append(take(frame, event))
    (delta,) = source.feed(sse(CHUNK % b"word ") * 100)
    assert delta == Delta(Kind.TEXT, "word " * 100)
    assert len(slow) == PIECES


def test_a_read_of_many_short_frames_is_plain_however_long_it_is():
    block = sse(CHUNK.replace(b"{", b'{"object":"chat.completion.chunk",', 1) % b"word ")
    block *= READ // len(block)
    assert len(block) > SKIM_FROM_BYTES
    source = decoder("openai-chat")
    source.feed(block)
    source._answer.take_all = None
    assert list(source.feed(block)) == [Delta(Kind.TEXT, "word " * block.count(b"word"))]
