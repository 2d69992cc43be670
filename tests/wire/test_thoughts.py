"""Thoughts under any name and in any shape are read, once."""

import json

import msgspec
import pytest

from tests.wire.reading import body, careful, decoder, read
from worker.wire.thoughts import NAMES, NoThoughts, Thoughts, said_of, text_of, texts_of

SHAPES = [
    "hm",
    {"text": "hm"},
    {"content": "hm"},
    {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, "m"]},
    [{"type": "reasoning.text", "text": "h"}, {"summary": "m"}],
    {"content": [{"type": "reasoning_text", "text": "hm"}]},
    ["h", "m"],
]


def frames(dialect, thought):
    """A thought, a text and the end, as a dialect says them; the thought in any place for it."""
    chunk = {"choices": [{"index": 0, "delta": thought}]}
    text = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
    if dialect == "ollama-chat":
        lines = [
            {"message": {"content": "", **thought}},
            {"message": {"content": "a"}, "done": True},
        ]
    elif dialect == "ollama-generate":
        lines = [{"response": "", **thought}, {"response": "a", "done": True}]
    elif dialect == "llamacpp-completion":
        lines = [{"content": "", **thought}, {"content": "a", "stop": True}]
    else:
        lines = [chunk, text]
    if dialect.startswith("ollama"):
        return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    data = b"".join(b"data: " + json.dumps(line).encode() + b"\n\n" for line in lines)
    return data + (b"data: [DONE]\n\n" if dialect.startswith("openai") else b"")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "dialect",
    ["openai-chat", "openai-completions", "ollama-chat", "ollama-generate", "llamacpp-completion"],
)
def test_every_dialect_knows_every_name(dialect, name):
    """One table for all: what one server calls a thought, another one may."""
    for shape in SHAPES:
        data = frames(dialect, {name: shape})
        for made in (decoder, careful):
            reading = read(made(dialect), [data])
            assert (reading.thinking, reading.text, reading.is_done) == ("hm", "a", True)


def test_the_plain_lanes_know_the_same_names():
    """Or a thought beside a text would be dropped by the fastest of them."""
    assert set(NAMES) < {field.name for field in msgspec.structs.fields(Thoughts)}
    assert tuple(field.name for field in msgspec.structs.fields(NoThoughts)) == NAMES


def test_the_same_thought_counts_once():
    thoughts = Thoughts(reasoning_content="hm", reasoning="hm", reasoning_details=[{"text": "m"}])
    assert list(texts_of(thoughts)) == ["hm"]
    assert list(texts_of(Thoughts(reasoning="a", thinking="b"))) == ["a", "b"]


def test_a_thought_without_words_is_kept_as_it_came():
    """An encrypted one, as a rule."""
    details = [{"type": "reasoning.encrypted", "data": "x"}]
    reading = body("openai-chat", frames("openai-chat", {"reasoning_details": details}))
    ((kind, data),) = reading.extras
    assert (kind, json.loads(data)) == ("thoughts", {"reasoning_details": details})
    assert said_of(Thoughts(reasoning="a")) == {"reasoning": "a"}
    assert text_of({"effort": "low"}) == text_of(7) == ""
