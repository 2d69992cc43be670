"""Content as a list of parts, and the call inside an entry of `tool_calls`."""

from __future__ import annotations

from collections.abc import Iterator

from worker.errors import Malformed
from worker.records import Json, Kind
from worker.wire.thoughts import text_of
from worker.wire.unicode import QUOTED_CHARS_MAX, clip

_TEXTS = frozenset({None, "text", "output_text", "refusal"})
_THOUGHTS = frozenset({"thinking", "reasoning", "thought", "reasoning_text", "summary_text"})


def parts_of(content: Json) -> Iterator[tuple[Kind | None, Json]]:
    """The parts of a content, each as text of a kind, or as it came if it is none."""
    for part in content if type(content) is list else ():
        if type(part) is str:
            yield Kind.TEXT, part
        elif (
            type(part) is dict and part.get("type") in _TEXTS and part.keys() & {"text", "refusal"}
        ):
            text = part.get("text")
            yield Kind.TEXT, part.get("refusal") if text is None else text
        elif type(part) is dict and part.get("type") in _THOUGHTS and (thought := text_of(part)):
            yield Kind.THINKING, thought
        elif part:
            yield None, part


def named(call: Json) -> tuple[Json, Json]:
    """Name and arguments of an entry of `tool_calls`.

    Raises:
        Malformed: it is no object, or holds none where its function belongs.
    """
    said = call
    if type(call) is dict:
        said = call.get("function") or call.get("custom") or call
    if type(said) is not dict:
        raise Malformed(f"a tool call of an unknown form: {clip(repr(call), QUOTED_CHARS_MAX)}")
    return said.get("name"), said.get("arguments", said.get("input"))
