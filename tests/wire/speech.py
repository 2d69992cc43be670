"""Streams as servers of each dialect may send them, made up by Hypothesis.

Text is drawn as UTF-16 units, so that pieces may end between the halves of a pair, as the
deltas of some gateways do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from hypothesis import strategies as st

from worker.records import Kind

Json = dict[str, Any]
Say = Callable[[str], Json]

TEXT, THINKING = Kind.TEXT, Kind.THINKING


@dataclass(frozen=True)
class Speech:
    """How a dialect says things; `None` stands for the sentinel `[DONE]`."""

    dialect: str
    says: dict[Kind, Say]
    done: tuple[Json | None, ...]
    asides: tuple[Json, ...]  # frames without output
    is_lines: bool = False
    named: bool = False


def _ollama(text: str, **said: Any) -> Json:
    """A line with a time of its own, longer or shorter, as Ollama's have."""
    nanoseconds = f"{crc32(text.encode('utf-8', 'replace')) % 10**9:09}".rstrip("0")
    return {"model": "m", "created_at": f"2026-11-01T10:00:00.{nanoseconds}Z", **said}


def _chat(**delta: str) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [choice]}


def _completion(text: str) -> Json:
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": None}
    return {"id": "c", "object": "text_completion", "choices": [choice]}


def _event(kind: str, **more: Any) -> Json:
    return {"type": kind, "sequence_number": 1, **more}


def _delta(**delta: str) -> Json:
    return _event("content_block_delta", index=0, delta=delta)


SPEECHES = (
    Speech(
        "ollama-generate",
        {
            TEXT: lambda text: _ollama(text, response=text, done=False),
            THINKING: lambda text: {"response": "", "thinking": text, "done": False},
        },
        ({"response": "", "done": True, "done_reason": "stop", "eval_count": 3},),
        ({"response": "", "done": False}, {"response": None, "done": False}, {"x": [1, {}]}),
        is_lines=True,
    ),
    Speech(
        "ollama-chat",
        {
            TEXT: lambda text: _ollama(text, message={"role": "a", "content": text}, done=False),
            THINKING: lambda text: {"message": {"content": None, "thinking": text}},
        },
        ({"message": None, "done": True, "done_reason": "stop", "eval_count": 3},),
        ({"message": {"content": ""}}, {"message": None}, {"x": [1, {}]}),
        is_lines=True,
    ),
    Speech(
        "openai-chat",
        {
            TEXT: lambda text: _chat(content=text),
            THINKING: lambda text: _chat(reasoning_content=text),
        },
        ({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, None),
        ({"choices": []}, {"choices": None, "usage": None}, _chat(content="")),
    ),
    Speech(
        "openai-completions",
        {TEXT: _completion},
        ({"choices": [{"text": "", "index": 0, "finish_reason": "stop"}]}, None),
        ({"choices": []}, {"choices": [{"index": 0, "text": None}]}),
    ),
    Speech(
        "openai-responses",
        {
            TEXT: lambda text: _event("response.output_text.delta", delta=text),
            THINKING: lambda text: _event("response.reasoning_text.delta", delta=text),
        },
        (_event("response.completed", response={"status": "completed", "output": []}),),
        (_event("keepalive"), _event("response.in_progress", response={"error": None})),
        named=True,
    ),
    Speech(
        "anthropic-messages",
        {
            TEXT: lambda text: _delta(type="text_delta", text=text),
            THINKING: lambda text: _delta(type="thinking_delta", thinking=text),
        },
        (_event("message_delta", delta={"stop_reason": "end_turn"}), _event("message_stop")),
        (_event("ping"), _event("content_block_stop", index=0), _delta(type="new", text="NO")),
        named=True,
    ),
    Speech(
        "llamacpp-completion",
        {TEXT: lambda text: {"content": text, "stop": False, "tokens_predicted": 1}},
        ({"content": "", "stop": True, "stop_type": "eos", "prompt": 'p","stop":true}'},),
        (
            {"content": "", "stop": False, "prompt_progress": {"total": 1}},
            {"content": "", "stop": False, "stop_type": "none"},
            {"content": None},
        ),
    ),
)

_UNITS = st.one_of(
    st.characters(max_codepoint=0xFFFF, exclude_categories=()),
    st.sampled_from('\ud83d\ude00\x00\u2028\u2029\u0085\x0b\x1e\r\n"\\{}[]:, data\ufeff'),
)
_TEXTS = st.one_of(
    st.text(_UNITS, max_size=12),
    st.sampled_from(
        ['"done":true', "[DONE]", "\n\ndata: [DONE]\n\n", '{"error":"no"}', "\ud83d", "\ude00", ""]
    ),
)
_COMMENTS = st.sampled_from(
    [b":\n\n", b": keep-alive\n\n", b": a\n: b\n\n", b"\n", b"retry: 1\n\n"]
)


@dataclass(frozen=True)
class Stream:
    """A body, and what it says."""

    speech: Speech
    body: bytes
    said: dict[Kind, str]

    def __repr__(self) -> str:
        return f"Stream({self.speech.dialect}, {self.body!r})"


@st.composite
def streams(draw: st.DrawFn, speech: Speech) -> Stream:
    """A complete, valid stream of a dialect."""
    frames: list[Json | None] = []
    said: dict[Kind, str] = {TEXT: "", THINKING: ""}
    for _ in range(draw(st.integers(0, 8))):
        if draw(st.integers(0, 3)) == 0:
            frames.append(draw(st.sampled_from(speech.asides)))
            continue
        kind = draw(st.sampled_from(sorted(speech.says)))
        text = draw(_TEXTS)
        frames.append(speech.says[kind](text))
        said[kind] += text
    dump = draw(_dumpers())
    write = _line_writer(dump) if speech.is_lines else draw(_event_writers(speech, dump))
    parts = [part for frame in frames for part in (_aside(draw, speech), write(frame))]
    parts += [write(frame) for frame in speech.done]
    newline = draw(
        st.sampled_from([b"\n", b"\r\n"] if speech.is_lines else [b"\n", b"\r\n", b"\r"])
    )
    body = b"".join(parts).replace(b"\n", newline)
    return Stream(speech, body, {kind: storable(text) for kind, text in said.items()})


def storable(text: str) -> str:
    """What databases cannot store, replaced, as plainly as it can be said."""
    units = text.encode("utf-16-le", "surrogatepass")
    return units.decode("utf-16-le", "replace").replace("\x00", "\ufffd")


def _aside(draw: st.DrawFn, speech: Speech) -> bytes:
    if speech.is_lines:
        return draw(st.sampled_from([b"", b"", b"", b"\n", b"  \n"]))
    return draw(st.one_of(st.just(b""), st.just(b""), _COMMENTS))


Dump = Callable[[Json], bytes]


@st.composite
def _dumpers(draw: st.DrawFn) -> Dump:
    """How a server lays out its JSON: as a rule the same way in all frames."""
    layouts = st.tuples(st.booleans(), st.sampled_from([(",", ":"), (", ", ": ")]))
    usual = draw(layouts)
    is_steady = draw(st.integers(0, 3)) > 0

    def dump(frame: Json) -> bytes:
        is_ascii, separators = usual if is_steady else draw(layouts)
        text = json.dumps(frame, ensure_ascii=is_ascii, separators=separators)
        return text.encode("utf-8", "backslashreplace")  # a lone half can only be sent escaped

    return dump


def _line_writer(dump: Dump) -> Callable[[Json | None], bytes]:
    def write(frame: Json | None) -> bytes:
        assert frame is not None
        return dump(frame) + b"\n"

    return write


@st.composite
def _event_writers(draw: st.DrawFn, speech: Speech, dump: Dump) -> Callable[[Json | None], bytes]:
    space = draw(st.sampled_from([b" ", b" ", b"", b"  "]))
    is_named = speech.named and draw(st.integers(0, 3)) > 0
    multiline = draw(st.integers(0, 5)) == 0

    def write(frame: Json | None) -> bytes:
        if frame is None:
            return b"data:" + space + b"[DONE]\n\n"
        data = dump(frame)
        if multiline:  # a line break is legal after the first brace
            data = data.replace(b"{", b"{\ndata:" + space, 1)
        name = b""
        if is_named:
            name = b"event: " + frame["type"].encode() + b"\n"
        return name + b"data:" + space + data + b"\n\n"

    return write
