"""Thoughts under all the names and in all the shapes that servers give them.

One table for every dialect: ``Thoughts`` is the base of the part of a frame that
may hold them, ``NoThoughts`` of the part that is known to hold none.  The same
thought may come under several names (LiteLLM, OpenRouter); it is read once.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any, Literal

import msgspec

from worker.records import Json
from worker.wire.frame_schema import Holder


class Thoughts(Holder, gc=False, kw_only=True):
    """Fields that hold thoughts."""

    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_text: Any = None
    reasoning_details: Any = None
    reasoning_summary: Any = None
    thinking: Any = None
    thinking_content: Any = None
    thinking_blocks: Any = None
    thought: Any = None
    thoughts: Any = None

    def has_thoughts(self) -> bool:
        """Whether any of the fields says something."""
        return _fields(self) != _NOTHING and any(_fields(self))


_None = Literal[""] | None


class NoThoughts(msgspec.Struct, gc=False, kw_only=True):
    """The same fields without any thoughts in them."""

    reasoning_content: _None = None
    reasoning: _None = None
    reasoning_text: _None = None
    reasoning_details: _None = None
    reasoning_summary: _None = None
    thinking: _None = None
    thinking_content: _None = None
    thinking_blocks: _None = None
    thought: _None = None
    thoughts: _None = None


NAMES = tuple(field.name for field in msgspec.structs.fields(NoThoughts))

# Bytes without which a frame holds no thought; the last two for names with an escaped letter.
NAMES_BEGIN = (b'"reasoning', b'"thinking', b'"thought', b"\\u006", b"\\u007")
_fields = attrgetter(*NAMES)
_NOTHING = (None,) * len(NAMES)

# What a thought is called inside an object that holds it.
_INNER = (*NAMES, "text", "content", "summary")


def texts_of(frame: Thoughts) -> Iterator[str]:
    """The thoughts in a part of a frame, each once."""
    told = ""
    for name in NAMES:
        text = text_of(getattr(frame, name))
        if text and text not in told:
            yield text
            told += text


def said_of(frame: Thoughts) -> dict[str, Json]:
    """The fields of a part of a frame that may hold thoughts, as far as they hold anything."""
    return {name: value for name in NAMES if (value := getattr(frame, name))}


def text_of(thought: Json) -> str:
    """The text of a thought: a string, or a list or an object that holds it at any depth."""
    if isinstance(thought, str):
        return thought
    if isinstance(thought, list):
        return "".join(map(text_of, thought))
    if isinstance(thought, dict):
        return next((text for name in _INNER if (text := text_of(thought.get(name)))), "")
    return ""
