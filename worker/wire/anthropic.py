"""Anthropic messages: server-sent events with a `type` each.

Done is `message_stop`; a `message_delta` with its stop reason is not.  Text is
what `text_delta` and the start of a text block carry; signatures, citations and
types that are not known yet are skipped.  Prompt tokens are the sum of fresh,
cache-writing and cache-reading ones; the completion's count comes only from
`message_delta`, because the one of `message_start` is a placeholder.

Errors come inside a 200 stream as well, and llama.cpp's imitation sends them
under the event name `error` without the vendor's envelope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from worker.records import Json, Kind, Run
from worker.wire.answer import Answer, Reported
from worker.wire.asking import Options, chat_messages, leading_system
from worker.wire.decoder import EVENTS
from worker.wire.dialect import WireFormat
from worker.wire.framing import PINGS
from worker.wire.shape import Shape

_DEFAULTS = {"max_tokens": 4096}  # required by the protocol
_VERSION = {"anthropic-version": "2023-06-01"}


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None


class _Message(msgspec.Struct, gc=False):
    usage: _Usage | None = None


class _Block(msgspec.Struct, gc=False):
    type: str | None = None
    text: Any = None
    thinking: Any = None
    id: Any = None
    name: Any = None
    input: Any = None


class _Delta(msgspec.Struct, gc=False):
    type: str | None = None
    text: Any = None
    thinking: Any = None
    partial_json: Any = None
    stop_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    index: int | None = None
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: _Usage | None = None
    error: Any = None


class MessagesAnswer(Answer[_Event]):
    """Reads `/v1/messages`."""

    shape: ClassVar[Shape[Any]] = Shape(_Event)
    done_frame = "message_stop"
    frames_are_states = True

    def __init__(self, *, accept_finish_without_done: bool = False) -> None:
        super().__init__(accept_finish_without_done=accept_finish_without_done)
        self._prompt_counts: dict[str, int] = {}
        self._tools: set[int] = set()
        self._whole_input: tuple[int, Json] | None = None  # stands until pieces of it come

    def take(self, frame: _Event, event: str) -> None:
        """Understand one event."""
        kind = frame.type or event
        if frame.error or kind == "error":
            raise Reported(frame)
        if kind in PINGS:
            return
        self.frames += 1
        if kind == "content_block_delta" and frame.delta is not None:
            self._take_delta(frame.index or 0, frame.delta)
        elif kind == "content_block_start" and frame.content_block is not None:
            self._take_block(frame.index or 0, frame.content_block)
        elif kind == "message_start" and frame.message is not None:
            self._count_prompt(frame.message.usage)
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
            ):
                return all(event.type for event in frames) and super().take_all(frames)
            parts.append(delta.text)
        self.take_text(len(frames), "".join(parts))
        return True

    def take_whole(self, said: Mapping[str, Json]) -> bool:
        """A `message` object that is not a stream."""
        blocks = said.get("content")
        if said.get("type") != "message" or type(blocks) is not list:
            return False
        for index, block in enumerate(blocks):
            frame = self.shape.read({"content_block": block})
            if frame.content_block is not None:
                self._take_block(index, frame.content_block)
        self._take_outcome(self.shape.read({"delta": said, "usage": said.get("usage")}))
        return True

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
            self.add_text(delta.thinking, Kind.THINKING)
        elif delta.type == "input_json_delta" and index in self._tools:
            if delta.partial_json:
                self._whole_input = None  # as the vendor's SDK has it: the pieces are the input
            self.output.add_tool(index, arguments=delta.partial_json)

    def _take_block(self, index: int, block: _Block) -> None:
        self._end_block()
        if block.type == "text":
            self.add_text(block.text)
        elif block.type == "thinking":
            self.add_text(block.thinking, Kind.THINKING)
        elif block.type == "tool_use":  # tools that the server runs itself are not the caller's
            self._tools.add(index)
            self.output.add_tool(index, call_id=block.id, name=block.name)
            if block.input:  # {} at the start of a stream of pieces
                self._whole_input = index, block.input

    def _end_block(self) -> None:
        if self._whole_input is not None:
            index, arguments = self._whole_input
            self._whole_input = None
            self.output.add_tool(index, arguments=arguments)

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
        MessagesAnswer,
        defaults=_DEFAULTS,
        authorize=_key,
        headers=_VERSION,
    ),
)
