"""For every valid stream of every dialect, cut anywhere: exactly its text, and done only when done.

And for any bytes at all: no crash, no growth, one end, and an end that does not depend on the cuts.
"""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.corpus import SMALL
from tests.wire.reading import bytewise, careful, cut, decoder, read
from tests.wire.speech import SPEECHES, streams
from worker.errors import Truncated
from worker.records import Kind
from worker.wire import DIALECTS
from worker.wire.framing import frames

BY_NAME = {speech.dialect: speech for speech in SPEECHES}
EXAMPLES = int(os.environ.get("SPOOL_TEST_EXAMPLES", "50"))  # a night's worth: 20000
quick = settings(max_examples=EXAMPLES)

places = st.lists(st.integers(0, 2000), max_size=12)


@pytest.mark.parametrize("dialect", BY_NAME)
@quick
@given(data=st.data())
def test_exactly_the_text(dialect, data):
    """Nothing lost, doubled or altered but for the two replacements, in any reads."""
    stream = data.draw(streams(BY_NAME[dialect]))
    for pieces in ([stream.body], cut(stream.body, data.draw(places)), bytewise(stream.body)):
        reading = read(decoder(dialect), pieces)
        assert reading.is_done
        assert {kind: reading.of(kind) for kind in stream.said} == stream.said
        assert reading.tool_calls == ""


@pytest.mark.parametrize("dialect", BY_NAME)
@quick
@given(data=st.data())
def test_a_part_is_never_done(dialect, data):
    """Whatever is missing at the end, it is incomplete, and its text is the start of the text."""
    stream = data.draw(streams(BY_NAME[dialect]))
    visible = len(stream.body.rstrip(b"\r\n"))
    length = data.draw(st.integers(0, visible - 1))
    reading = read(decoder(dialect), cut(stream.body[:length], data.draw(places)))
    assert isinstance(reading.error, Truncated)
    for kind, text in stream.said.items():
        got = reading.of(kind)
        assert text.startswith(got) or got.endswith("\ufffd")
        assert text.startswith(got[:-1])


@pytest.mark.parametrize("dialect", BY_NAME)
@quick
@given(data=st.data())
def test_both_lanes_say_the_same(dialect, data):
    """The fast lane is a matter of speed only, frame counts included."""
    stream = data.draw(streams(BY_NAME[dialect]))
    pieces = cut(stream.body, data.draw(places))
    assert read(decoder(dialect), pieces) == read(careful(dialect), pieces)


@pytest.mark.parametrize("dialect", BY_NAME)
@quick
@given(data=st.data())
def test_long_frames_are_no_different(dialect, data):
    """With every frame treated as too long to be held, the same comes out."""
    stream = data.draw(streams(BY_NAME[dialect]))
    pieces = cut(stream.body, data.draw(places))
    expected = read(decoder(dialect), pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "SKIM_FROM_BYTES", 8)
        assert read(decoder(dialect), pieces).sameness() == expected.sameness()


SPLINTERS = [
    *(bytes([byte]) for byte in b'\n\r{}"\\ :'),
    *(b"\r\n", b"\n\n", b"data: ", b"null", b'""', b"NaN", b"\\ud83d", b"\xff", b"\xef\xbb\xbf"),
    *(b"error: ", b"event: error\n", b'"error":1,', b"data: [DONE]\n\n", b"1" * 5000, b"[" * 50),
    *(
        b'\n{"type":"message_stop"}',
        b'\n{"choices":[{"delta":{"content":"NO"}}]}',
        b'{"stop":true}',
    ),
]


@st.composite
def damaged(draw, dialect):
    """A recorded or made-up body of a dialect with parts removed, repeated, inserted, flipped."""
    recorded = [case.body for case in SMALL if case.dialect == dialect]
    made_up = streams(BY_NAME[dialect]).map(lambda stream: stream.body)
    body = bytearray(draw(st.one_of(st.sampled_from(recorded), made_up)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(body)))
        if draw(st.booleans()):  # where it hurts: at the start of a line
            start = body.find(b"\n", start) + 1
        end = start + draw(st.sampled_from([0, 0, 1, 6, 30]))
        twice = bytes(body[start:end]) * 2
        body[start:end] = draw(
            st.one_of(st.binary(max_size=4), st.just(twice), st.sampled_from(SPLINTERS))
        )
    return bytes(body)


@pytest.mark.parametrize("dialect", BY_NAME)
@settings(quick, max_examples=2 * EXAMPLES)
@given(data=st.data())
def test_damage_reads_the_same_in_all_cuts(dialect, data):
    """A broken body has one meaning too: lanes and reads agree about where and how it broke."""
    body = data.draw(damaged(dialect))
    expected = read(careful(dialect), [body]).sameness()
    assert read(decoder(dialect), [body]).sameness() == expected
    assert read(decoder(dialect), cut(body, data.draw(places))).sameness() == expected
    assert read(decoder(dialect), bytewise(body)).sameness() == expected


WORDS = [
    *("", "stop", "error", "abort", "message", "tool_use", "text", "function_call", "ping"),
    *("text_delta", "thinking_delta", "input_json_delta", "content_block_delta", "message_stop"),
    *("content_block_start", "message_delta", "response.output_text.delta", "response.failed"),
    *("response.completed", "response.output_item.done", "completed", "failed", "\ud83d"),
]


def field_names(keep):
    """All names that a dialect knows, at any depth."""
    names = set(keep or ())
    return names.union(*(field_names(below) for below in (keep or {}).values()))


def values(dialect):
    """Any JSON made of the words that the dialect knows, in places where they may not belong."""
    own = sorted(field_names(decoder(dialect)._answer.shape.keep))
    keys = st.sampled_from([*own, "error", "object", "message", "code", "detail", "errors"])
    scalars = (
        st.none() | st.booleans() | st.integers(-1, 700) | st.floats() | st.sampled_from(WORDS)
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5),
        max_leaves=12,
    )


@pytest.mark.parametrize("dialect", BY_NAME)
@quick
@given(data=st.data())
def test_fields_of_any_type_crash_nothing(dialect, data):
    """As frames, as events with names, or as one document; and all lanes agree what it means."""
    said = data.draw(st.lists(values(dialect), min_size=1, max_size=4))
    lines = [json.dumps(value).encode() for value in said]
    if dialect.startswith("ollama") or data.draw(st.integers(0, 4)) == 0:
        body = b"\n".join(lines) + b"\n"
    else:
        names = [data.draw(st.sampled_from([b"", b"event: error\n"])) for _ in lines]
        events = zip(names, lines, strict=True)
        body = b"".join(name + b"data: " + line + b"\n\n" for name, line in events)
    expected = read(careful(dialect), [body]).sameness()
    assert read(decoder(dialect), [body]).sameness() == expected
    assert read(decoder(dialect), bytewise(body)).sameness() == expected


@pytest.mark.parametrize("dialect", BY_NAME)
@quick
@given(data=st.data(), limit=st.integers(1, 400))
def test_limits_hold_for_any_bytes(dialect, data, limit):
    """Whatever comes, what is held between two reads stays within the limit of a frame."""
    body = data.draw(st.one_of(st.binary(max_size=600), damaged(dialect)))
    source = decoder(dialect, max_frame_bytes=limit)
    for piece in cut(body, data.draw(places)):
        source.feed(piece)
        # The opening looks at up to a kilobyte; an event may hold its data, and a stray line.
        assert source.held_bytes <= 2 * limit + 1024 + 512
    source.close()
    assert source.held_bytes == 0


@pytest.mark.parametrize("dialect", BY_NAME)
@quick
@given(data=st.data(), limit=st.integers(30, 400))
def test_limits_do_not_depend_on_cuts(dialect, data, limit):
    """A frame is too large or it is not, in whichever pieces it comes."""
    body = data.draw(streams(BY_NAME[dialect])).body
    expected = read(decoder(dialect, max_frame_bytes=limit), [body]).sameness()
    pieces = cut(body, data.draw(places))
    assert read(decoder(dialect, max_frame_bytes=limit), pieces).sameness() == expected
    assert read(decoder(dialect, max_frame_bytes=limit), bytewise(body)).sameness() == expected


@pytest.mark.parametrize("dialect", BY_NAME)
@quick
@given(data=st.data())
def test_nothing_counts_after_the_end(dialect, data):
    """The first terminal frame wins: bytes after it change nothing."""
    stream = data.draw(streams(BY_NAME[dialect]))
    more = data.draw(damaged(dialect))
    pieces = cut(stream.body + more, data.draw(places))
    assert read(decoder(dialect), pieces) == read(decoder(dialect), [stream.body])


def test_every_dialect_is_spoken():
    """A dialect without made-up streams would be tested by nothing here."""
    assert set(BY_NAME) == set(DIALECTS)
    assert all(Kind.TEXT in speech.says for speech in SPEECHES)
