"""Anthropic messages: server-sent events with a `type` each.

Done is `message_stop`; a `message_delta` with its stop reason is not.  Text is
what `text_delta` and the start of a text block carry.  Blocks and deltas that are
no text (tools that the server runs itself, citations, redacted thoughts, types
that are not known yet) are kept as extras; only signatures are skipped.  Prompt
tokens are the sum of fresh, cache-writing and cache-reading ones; the
completion's count comes only from `message_delta`, because the one of
`message_start` is a placeholder.

Errors come inside a 200 stream as well, and llama.cpp's imitation sends them
under the event name `error` without the vendor's envelope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, ClassVar, Literal

import msgspec

from worker.records import Json, Kind, Run
from worker.wire.decoder import EVENTS
from worker.wire.dialects.request import (
    NOTHING_ASKED,
    Asked,
    Options,
    chat_messages,
    leading_system,
)
from worker.wire.dialects.wire_format import WireFormat
from worker.wire.frame_schema import FrameSchema, Holder
from worker.wire.framing.frames import PINGS
from worker.wire.response import ErrorFrame, ResponseParser
from worker.wire.thoughts import Thoughts, text_of

_DEFAULTS = {"max_tokens": 4096}  # required by the protocol
_BLOCKS = frozenset({"text", "thinking", "tool_use"})
_SILENT_DELTAS = frozenset({"signature_delta", "input_json_delta"})
_DELTAS = _SILENT_DELTAS | {"text_delta", "thinking_delta"}


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None


class _Block(Thoughts, gc=False, kw_only=True):
    type: str | None = None
    text: Any = None
    id: Any = None
    name: Any = None
    input: Any = None
    citations: Any = None


class _Message(Holder, gc=False, kw_only=True):
    usage: _Usage | None = None
    content: list[_Block] | None = None


class _Delta(Thoughts, gc=False, kw_only=True):
    type: str | None = None
    text: Any = None
    partial_json: Any = None
    stop_reason: str | None = None


class _Event(Holder, gc=False, kw_only=True):
    type: str | None = None
    index: int | None = None
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: _Usage | None = None
    error: Any = None


class _TextDelta(msgspec.Struct, gc=False):
    type: Literal["text_delta"]
    text: str


class _TextEvent(msgspec.Struct, gc=False):
    """A piece of text."""

    type: Literal["content_block_delta"]
    delta: _TextDelta
    error: None = None


class MessagesParser(ResponseParser[_Event]):
    """Reads `/v1/messages`."""

    shape: ClassVar[FrameSchema[Any]] = FrameSchema(_Event)
    narrow: ClassVar[msgspec.json.Decoder[Any] | None] = msgspec.json.Decoder(_TextEvent)
    done_frame = "message_stop"
    frames_are_states = True

    def __init__(
        self, *, accept_finish_without_done: bool = False, asked: Asked = NOTHING_ASKED
    ) -> None:
        super().__init__(accept_finish_without_done=accept_finish_without_done, asked=asked)
        self._prompt_counts: dict[str, int] = {}
        self._others: set[int] = set()  # indexes of blocks that are no output of the model
        self._block: int | None = None  # the tool call that is open
        self._opening: list[_Block] = []  # content of the first event; counts if no other comes

    def take(self, frame: _Event, event: str) -> None:
        """Understand one event."""
        kind = frame.type or event
        if frame.error or kind == "error":
            raise ErrorFrame(frame)
        if kind in PINGS:
            return
        self.frames += 1
        if kind == "content_block_delta" and frame.delta is not None:
            self._take_delta(frame.index or 0, frame.delta)
        elif kind == "content_block_start" and frame.content_block is not None:
            self._take_block(frame.index or 0, frame.content_block)
        elif kind == "message_start" and frame.message is not None:
            self._count_prompt(frame.message.usage)
            self._opening = list(frame.message.content or ())
        elif kind == "content_block_stop":
            self._end_block()
        elif kind == "message_delta":
            self._take_outcome(frame)
        elif kind == "message_stop":
            self._end_block()
            self.finish()

    def take_all(self, frames: Sequence[_Event]) -> bool:
        """Understand many events; those that hold only text are joined at once."""
        parts = []
        for event in frames:
            delta = event.delta
            if (
                delta is None
                or delta.type != "text_delta"
                or event.type != "content_block_delta"
                or type(delta.text) is not str
                or event.error
                or not self.is_settled
            ):
                if any(map(_is_kept, frames)):
                    return False  # they have to be kept as they came
                return all(event.type for event in frames) and super().take_all(frames)
            parts.append(delta.text)
        self.take_text(len(frames), "".join(parts))
        return True

    def take_narrow(self, frames: Sequence[_TextEvent]) -> bool:
        """Understand many pieces of text."""
        self.take_text(len(frames), "".join([event.delta.text for event in frames]))
        return True

    def take_whole(self, said: Mapping[str, Json]) -> bool:
        """A `message` object that is not a stream."""
        if said.get("type") != "message" or type(said.get("content")) is not list:
            return False
        for index, block in enumerate(said["content"]):
            self.raw = {"content_block": block}
            frame = self.shape.read(self.raw)
            if frame.content_block is not None:
                self._take_block(index, frame.content_block)
        self._take_outcome(self.shape.read({"delta": said, "usage": said.get("usage")}))
        return True

    def settle(self) -> None:
        """The message is said to be whole; what its first event held is in it."""
        self._end_block()
        opening, self._opening = self._opening, []
        if not self.output.has_any():
            for index, block in enumerate(opening):
                self._take_block(index, block)
            self._end_block()
        else:
            text = "".join(block.text for block in opening if type(block.text) is str)
            if text and not self.output.streamed(Kind.TEXT).begins_with(text):
                self.output.repeat(Kind.TEXT, text)
        super().settle()

    def _take_outcome(self, frame: _Event) -> None:
        self._end_block()
        if frame.usage is not None:
            self._count_prompt(frame.usage)
            self.count(None, frame.usage.output_tokens)
        if frame.delta is not None:
            self.note_finish(frame.delta.stop_reason)

    def _take_delta(self, index: int, delta: _Delta) -> None:
        if delta.type == "text_delta":
            self.add_text(delta.text)
        elif delta.type == "thinking_delta":
            if type(delta.thinking) not in {str, NoneType} and not text_of(delta.thinking):
                self.add_text(delta.thinking)
            self.add_thoughts(delta)
        elif delta.type == "input_json_delta" and index in self._others:
            said = {"index": index, "partial_json": delta.partial_json}
            self.output.add_extra("blocks", said)
        elif delta.type == "input_json_delta":
            self.output.calls.more(delta.partial_json, index=index)
        elif delta.type not in _SILENT_DELTAS:
            self._keep("delta")

    def _take_block(self, index: int, block: _Block) -> None:
        self._end_block()
        self._others.discard(index)
        if block.type == "text":
            self.add_text(block.text)
            if block.citations:
                self._keep("content_block")
        elif block.type == "thinking":
            self.add_thoughts(block)
        elif block.type == "tool_use":
            self._block = index
            self.output.calls.begin(
                index=index, ids=[block.id], name=block.name, arguments=block.input
            )
        else:  # tools that the server runs itself are not the caller's
            self._others.add(index)
            self._keep("content_block")

    def _keep(self, part: str) -> None:
        """Keep a part of the event as it came."""
        if self.raw is not None and self.raw.get(part):
            self.output.add_extra("blocks", self.raw[part])

    def _end_block(self) -> None:
        if self._block is not None:
            self.output.calls.end(self._block)
            self._block = None

    def _count_prompt(self, usage: _Usage | None) -> None:
        """Counts that are repeated replace the earlier ones, each by itself."""
        if usage is None:
            return
        for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"):
            tokens = getattr(usage, name)
            if tokens is not None:
                self._prompt_counts[name] = tokens
        if self._prompt_counts:
            self.count(sum(self._prompt_counts.values()), None)


def _is_kept(event: _Event) -> bool:
    """Whether more of an event is wanted than its shape holds."""
    block, delta = event.content_block, event.delta
    if block is not None:
        return block.type not in _BLOCKS or bool(block.citations)
    kept = event.type == "content_block_delta" and delta is not None
    return kept and delta is not None and delta.type not in _DELTAS


def _key(api_key: str) -> dict[str, str]:
    return {"x-api-key": api_key}


def _body(run: Run, options: Options) -> Options:
    systems, messages = leading_system(chat_messages(run))
    if systems:  # the prompt's own wins over the endpoint's
        options["system"] = "\n\n".join(systems)
    return {"messages": messages, **options}


DIALECTS = (
    WireFormat(
        "anthropic-messages",
        "/v1/messages",
        EVENTS,
        _body,
        MessagesParser,
        defaults=_DEFAULTS,
        authorize=_key,
        version_header="anthropic-version",
    ),
)
