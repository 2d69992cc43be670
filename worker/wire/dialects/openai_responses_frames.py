"""The frames of OpenAI Responses: events with a `type` each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from worker.wire.frame_schema import FrameSchema, Holder
from worker.wire.framing.json_filter import END, Keep


class Usage(msgspec.Struct, gc=False):
    """Token counts."""

    input_tokens: int | None = None
    output_tokens: int | None = None


class Details(msgspec.Struct, gc=False):
    """Why a response is incomplete."""

    reason: str | None = None


class Part(Holder, gc=False, kw_only=True):
    """A part of an item."""

    type: str | None = None
    text: Any = None
    refusal: Any = None
    annotations: Any = None
    logprobs: Any = None


class Item(Holder, gc=False, kw_only=True):
    """A message, a thought, a call, or something else that a response consists of."""

    type: str | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: Any = None
    input: Any = None
    content: list[Part] | None = None
    summary: Any = None
    # What items of other types hold.
    result: Any = None
    results: Any = None
    outputs: Any = None
    output: Any = None
    action: Any = None
    code: Any = None
    error: Any = None


class Response(Holder, gc=False, kw_only=True):
    """The response as a whole."""

    status: str | None = None
    error: Any = None
    usage: Usage | None = None
    incomplete_details: Details | None = None
    output: list[Item] | None = None


class Event(Holder, gc=False, kw_only=True):
    """One frame."""

    type: str | None = None
    delta: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    input: Any = None
    part: Part | None = None
    error: Any = None
    code: Any = None
    message: Any = None
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    logprobs: Any = None
    annotation: Any = None
    item: Item | None = None
    response: Response | None = None


SHAPE = FrameSchema(Event)


class TextEvent(msgspec.Struct, gc=False, kw_only=True):
    """A piece of text, and nothing beside it."""

    type: Literal["response.output_text.delta"]
    delta: str
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    logprobs: Annotated[list[Any], msgspec.Meta(max_length=0)] | None = None
    error: None = None
    item: None = None
    response: None = None


TEXTS = msgspec.json.Decoder(TextEvent)


def _with_ends_of_text(keep: Mapping[str, Keep]) -> Mapping[str, Keep]:
    """What to keep of a long event once text has come as deltas: of texts, their end."""
    less: dict[str, Keep] = {
        name: _with_ends_of_text(below) if isinstance(below, Mapping) else below
        for name, below in keep.items()
    }
    return less | {"text": END} if "text" in keep else less


KEEP_LESS = _with_ends_of_text(SHAPE.keep)
