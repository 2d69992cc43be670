"""The fastest lane takes what the other lanes take, gives what they give, and refuses the rest."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.records import Endpoint
from worker.wire import DIALECTS
from worker.wire.framing.text_only import plain_events, plain_lines
from worker.wire.snapshots import PIECES

DIALECT_NAMES = ("ollama-generate", "ollama-chat", "openai-chat", "openai-completions")


class Said(msgspec.Struct):
    """A frame for the tests of the lane itself."""

    t: str
    n: int = 0


decode = msgspec.json.Decoder(Said).decode


def said(*texts: str) -> list[bytes]:
    return [json.dumps({"id": "abc", "t": text, "end": None}).encode() for text in texts]


def lines(*texts: str) -> bytes:
    return b"".join(frame + b"\n" for frame in said(*texts))


def events(*texts: str) -> bytes:
    return b"".join(b"data: " + frame + b"\n\n" for frame in said(*texts))


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_frames_of_plain_text_are_read(count):
    """One frame or many: each gives its text, in order."""
    texts = [f"{number} }}\n{{ \\ é" for number in range(count)]
    assert [frame.t for frame in plain_lines(lines(*texts), decode)] == texts
    assert [frame.t for frame in plain_events(events(*texts), decode)] == texts


A, B = said("a", "b")
REFUSED_LINES = {
    "two objects in a line": A + b"\n" + A + B + b"\n",
    "two objects in a line, and one in two lines": A + B + b"\n" + A[:-1] + b"\n}\n",
    "an object in two lines": A[:-1] + b"\n}\n",
    "an object in two lines, laid out like others": b'{"t":\n"a"}\n{"t":"b"}\n',
    "a line break inside a text": A.replace(b'"a"', b'"a\nb"') + b"\n",
    "an empty line": A + b"\n\n" + B + b"\n",
    "no object": b"17\n18\n",
    "no JSON": b'{"id": "abc", oh dear}\n',
    "another type": A + b"\n" + B.replace(b'"b"', b"17") + b"\n",
    "nested too deeply": b'{"x":' + b"[" * 3000 + b"}\n",
}


@pytest.mark.parametrize("what", REFUSED_LINES)
def test_lines_that_prove_nothing_are_refused(what):
    """Each would be read as something that another lane would not read."""
    assert plain_lines(REFUSED_LINES[what], decode) is None


@pytest.mark.parametrize("second", [b'{"t": "b"}', b'{ "n":0 ,"t":"b"} ', b'\t{"t":"\\u0062"}'])
def test_each_frame_may_be_laid_out_otherwise(second):
    """A gateway may have put a frame of its own between those of the server."""
    assert [said.t for said in plain_lines(A + b"\n" + second + b"\n", decode)] == ["a", "b"]
    block = b"data: " + A + b"\n\ndata: " + second + b"\n\n"
    assert [said.t for said in plain_events(block, decode)] == ["a", "b"]


REFUSED_EVENTS = {
    "two objects in an event": b"data: " + A + b"\n\ndata: " + A + B + b"\n\n",
    "an object in two events": b'data: {"t":\n\ndata: "a"}\n\n',
    "an array over two events": b'data: {"t":"a","x":[{"t":1}\n\ndata: {"t":"a"}]}\n\n',
    "an object over two data lines": b"data: " + A[:-1] + b"\ndata: }\n\n",
    "a separator inside a text": b"data: " + A.replace(b'"a"', b'"a\n\ndata: b"') + b"\n\n",
    "a NUL where a line break would be": b"data: " + A + b"\0\0data: " + B + b"\n\n",
    "an event name": b"event: x\ndata: " + A + b"\n\n",
    "an event name later": b"data: " + A + b"\n\nevent: error\ndata: " + B + b"\n\n",
    "a comment": b"data: " + A + b"\n\n: ping\n\ndata: " + B + b"\n\n",
    "the sentinel": b"data: " + A + b"\n\ndata: [DONE]\n\n",
    "another layout": b"data: " + A + b"\n\ndata:" + B + b"\n\n",
    "no JSON": b"data: hello\n\n",
}


@pytest.mark.parametrize("what", REFUSED_EVENTS)
def test_events_that_prove_nothing_are_refused(what):
    """Each would be read as something that another lane would not read."""
    assert plain_events(REFUSED_EVENTS[what], decode) is None


def decoder(name, *, fastest):
    made = DIALECTS[name].decoder(
        Endpoint("e", name, "http://localhost", "m"), max_frame_bytes=1 << 20
    )
    if not fastest:
        made._answer.plain = None  # an attribute of this one instance
    return made


def frame(name, text, extra):
    if name == "ollama-generate":
        body = {"model": "m", "created_at": "2026", "response": text, "done": False}
    elif name == "ollama-chat":
        body = {"model": "m", "message": {"role": "assistant", "content": text}, "done": False}
    elif name == "openai-chat":
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        body = {"id": "x", "object": "chat.completion.chunk", "choices": [choice]}
    else:
        choice = {"text": text, "index": 0, "finish_reason": None}
        body = {"id": "x", "object": "text_completion", "choices": [choice]}
    where, key, value = extra
    target = body
    if where == "inside":
        target = body.get("message") or body.get("choices", [body])[0]
        target = target.get("delta", target)
    if key:
        target[key] = value
    encoded = json.dumps(body).encode()
    return b"data: " + encoded + b"\n\n" if name.startswith("openai") else encoded + b"\n"


PLAIN = ("top", None, None)
EXTRAS = st.one_of(
    st.just(PLAIN),
    st.tuples(
        st.sampled_from(["top", "inside"]),
        st.sampled_from(
            [
                "done", "done_reason", "error", "thinking", "reasoning", "reasoning_content",
                "refusal", "tool_calls", "function_call", "usage", "type", "object", "x_groq",
                "index", "finish_reason", "content", "response", "text", "unknown",
            ]
        ),
        st.sampled_from([None, "", "word", "error", 0, 1, True, False, [], {}, {"eval_count": 3}]),
    ),
)  # fmt: skip
TEXTS = st.sampled_from(["", "a", "\n", '"', "\\", "}\n{", "é", "東", "\ud83d", "\ude00", "\x00"])


@pytest.mark.parametrize("name", DIALECT_NAMES)
@given(said=st.lists(st.tuples(TEXTS, EXTRAS), min_size=1, max_size=6))
def test_the_fastest_lane_says_what_the_others_say(name, said):
    """Whatever a frame holds besides its text, or instead of it."""
    block = b"".join(frame(name, text, extra) for text, extra in said)
    told = []
    for fastest in (True, False):
        reader = decoder(name, fastest=fastest)
        told.append(
            (repr([*reader.feed(block), *reader.close()]), reader.frames, reader.finish_reason)
        )
    assert told[0] == told[1]


@pytest.mark.parametrize("name", DIALECT_NAMES)
def test_plain_text_does_take_the_fastest_lane(name):
    """Or nobody would notice that it is never taken."""
    block = b"".join(frame(name, text, PLAIN) for text in ("Hello", " wor", "ld"))
    reader = decoder(name, fastest=True)
    reader.feed(b"".join(frame(name, "x", PLAIN) for _ in range(PIECES)))
    assert reader._take_plain(block)
    assert [event.text for event in reader.feed(b"")] == ["Hello world"]
