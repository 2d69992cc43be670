"""OpenAI chat completions and legacy completions: server-sent events, and all who imitate them.

Done is `data: [DONE]`, nothing else: not a finish reason, not the usage chunk.
`[DONE]` after a finish reason that means "the server gave up" is an error, and
so is any chunk with a truthy `error`, whatever follows it (vLLM always sends
`[DONE]`).  Some report errors without that envelope, in a chunk without choices
(FastChat) or under `x_groq`.  Usage may come in a chunk of its own, on the
finishing chunk, on all chunks, or under `x_groq`; the last one counts.

The same thought may come under two names (LiteLLM, OpenRouter); the first
non-empty one is read.  `content` may be a list of parts (Mistral).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

import msgspec

from worker.errors import Malformed
from worker.records import Json, Kind, Run
from worker.wire.answer import Answer, Reported
from worker.wire.asking import Options, chat_messages, single_prompt
from worker.wire.decoder import EVENTS
from worker.wire.dialect import WireFormat
from worker.wire.plain import Plain, plain
from worker.wire.shape import Shape
from worker.wire.text import QUOTED_CHARS_MAX, clip

_DEFAULTS = {"stream_options": {"include_usage": True}}
_DROPPABLE = {"stream_options": ("stream_options", "include_usage")}


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Groq(msgspec.Struct, gc=False):
    usage: _Usage | None = None
    error: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: Any = None
    error: Any = None
    usage: _Usage | None = None
    object: str | None = None
    type: str | None = None
    x_groq: _Groq | None = None
    code: Any = None
    message: Any = None
    detail: Any = None
    error_code: Any = None


class _Delta(msgspec.Struct, gc=False):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None
    usage: _Usage | None = None


class _ChatChunk(_Chunk, gc=False):
    choices: list[_Choice] | None = None


class _TextChoice(msgspec.Struct, gc=False):
    index: int | None = None
    text: Any = None
    finish_reason: str | None = None
    usage: _Usage | None = None


class _TextChunk(_Chunk, gc=False):
    choices: list[_TextChoice] | None = None


class _PlainDelta(msgspec.Struct, gc=False):
    content: str
    reasoning_content: Literal[""] | None = None
    reasoning: Literal[""] | None = None
    reasoning_details: None = None
    refusal: Literal[""] | None = None
    tool_calls: None = None
    function_call: None = None
    audio: None = None


class _PlainChoice(msgspec.Struct, gc=False):
    index: Literal[0]
    delta: _PlainDelta
    finish_reason: Literal[""] | None = None
    usage: None = None


class _PlainChatChunk(msgspec.Struct, gc=False):
    object: Literal["chat.completion.chunk"]
    choices: tuple[_PlainChoice]
    error: None = None
    usage: None = None
    type: None = None
    x_groq: None = None


class _PlainTextChoice(msgspec.Struct, gc=False):
    text: str
    index: Literal[0]
    finish_reason: Literal[""] | None = None
    usage: None = None


class _PlainTextChunk(msgspec.Struct, gc=False):
    object: Literal["text_completion"]
    choices: tuple[_PlainTextChoice]
    error: None = None
    usage: None = None
    type: None = None
    x_groq: None = None


def _chat_texts(chunks: Sequence[_PlainChatChunk]) -> list[str]:
    return [chunk.choices[0].delta.content for chunk in chunks]


def _texts(chunks: Sequence[_PlainTextChunk]) -> list[str]:
    return [chunk.choices[0].text for chunk in chunks]


C = TypeVar("C", bound=_Chunk)


class _OpenAIAnswer(Answer[C]):
    done_frame = "data: [DONE]"

    def sentinel(self) -> None:
        """`[DONE]`: the done frame of these dialects."""
        self.finish()

    def _check(self, chunk: _Chunk) -> None:
        if chunk.usage is not None:
            self._count(chunk.usage)
        if chunk.x_groq is not None and chunk.x_groq.usage is not None:
            self._count(chunk.x_groq.usage)
        if _is_report(chunk):
            raise Reported(chunk)
        self.frames += 1

    def _count(self, usage: _Usage) -> None:
        self.count(usage.prompt_tokens, usage.completion_tokens)


def _is_report(chunk: _Chunk) -> bool:
    if chunk.error or chunk.object == "error" or chunk.type == "error":
        return True
    if chunk.x_groq is not None and chunk.x_groq.error:
        return True
    says_why = chunk.error_code or chunk.detail or (chunk.code and chunk.message)
    return chunk.choices is None and bool(says_why)


class ChatAnswer(_OpenAIAnswer[_ChatChunk]):
    """Reads `/chat/completions`."""

    shape: ClassVar[Shape[Any]] = Shape(_ChatChunk)
    plain: ClassVar[Plain[Any] | None] = plain(_PlainChatChunk, _chat_texts)

    def __init__(self, *, accept_finish_without_done: bool = False) -> None:
        super().__init__(accept_finish_without_done=accept_finish_without_done)
        self._tools = -1  # index of the last tool call, for servers that send none
        self._message: int | None = None  # digest of the whole message, if one came

    def take(self, frame: _ChatChunk, event: str) -> None:
        """Understand one chunk."""
        del event
        self._check(frame)
        for choice in frame.choices or ():
            if choice.index:
                continue  # answers beside the first: one run stores one answer
            if choice.delta is not None:
                self._take_delta(choice.delta)
            elif choice.message is not None:
                self._take_message(choice.message)
            if choice.finish_reason:
                self.note_finish(choice.finish_reason)
            if choice.usage is not None:
                self._count(choice.usage)

    def take_all(self, frames: Sequence[_ChatChunk]) -> bool:
        """Understand many chunks; those that hold only text are joined at once."""
        parts = []
        for frame in frames:
            if frame.error or frame.usage or frame.object == "error" or frame.x_groq or frame.type:
                return super().take_all(frames)
            if frame.choices is None:
                return super().take_all(frames)
            for choice in frame.choices:
                delta = choice.delta
                if delta is None or choice.index or choice.finish_reason or choice.usage:
                    return super().take_all(frames)
                if (
                    delta.reasoning_content
                    or delta.reasoning
                    or delta.reasoning_details
                    or delta.refusal
                    or delta.tool_calls
                    or delta.function_call
                    or delta.audio
                ):
                    return super().take_all(frames)
                if delta.content is not None:
                    parts.append(delta.content)
        try:
            text = "".join(parts)
        except TypeError:
            return super().take_all(frames)
        self.take_text(len(frames), text)
        return True

    def take_whole(self, said: Mapping[str, Json]) -> bool:
        """A `chat.completion` object."""
        frame = self.shape.read(said)
        if not frame.choices or frame.choices[0].message is None:
            return False
        self.take(frame, "")
        return True

    def _take_message(self, message: _Delta) -> None:
        """Everything at once, by a gateway; after deltas, or once more, it is a repetition."""
        digest = hash(repr(message))
        if not self.output.has_any():
            self._message = digest
            self._take_delta(message)
        elif self._message not in {None, digest}:
            raise Malformed("a second whole message in one stream: one of them would be lost")

    def _take_delta(self, delta: _Delta) -> None:
        self._take_thinking(delta)
        if type(delta.content) is list:
            self._take_parts(delta.content)
        else:
            self.add_text(delta.content)
        if delta.refusal:
            self.refused = True
            self.add_text(delta.refusal)
        if delta.tool_calls:
            self._take_tools(delta.tool_calls)
        if type(delta.function_call) is dict:
            self._take_function(0, None, delta.function_call)
        if type(delta.audio) is dict:  # of what is spoken, the words
            self.add_text(delta.audio.get("transcript"))

    def _take_thinking(self, delta: _Delta) -> None:
        for value in (delta.reasoning_content, delta.reasoning):
            if value and type(value) is str:
                self.output.add(Kind.THINKING, value)
                return
        if type(delta.reasoning_details) is list:
            for part in delta.reasoning_details:
                value = part.get("text") or part.get("summary") if type(part) is dict else None
                if type(value) is str:
                    self.output.add(Kind.THINKING, value)

    def _take_parts(self, parts: list[Json]) -> None:
        """Content as a list of parts (Mistral); parts of unknown types are skipped."""
        for part in parts:
            if type(part) is str:
                self.add_text(part)
            elif type(part) is dict and part.get("type") == "text":
                self.add_text(part.get("text"))
            elif type(part) is dict and part.get("type") == "thinking":
                inner = part.get("thinking")
                for thought in inner if type(inner) is list else [inner]:
                    text = thought.get("text") if type(thought) is dict else thought
                    self.add_text(text, Kind.THINKING)

    def _take_tools(self, calls: Json) -> None:
        if type(calls) is not list:
            raise Malformed(f"tool_calls that are no list: {clip(repr(calls), QUOTED_CHARS_MAX)}")
        for call in calls:
            if type(call) is not dict:
                continue
            index = call.get("index")
            if type(index) is not int:  # some send whole calls, without an index
                index = self._tools + 1 if call.get("id") else max(self._tools, 0)
            function = call.get("function") or call.get("custom")
            self._take_function(index, call.get("id"), function)

    def _take_function(self, index: int, call_id: Json, function: Json) -> None:
        self._tools = max(self._tools, index)
        said = function if type(function) is dict else {}
        arguments = said.get("arguments", said.get("input"))
        self.output.add_tool(index, call_id=call_id, name=said.get("name"), arguments=arguments)


class CompletionsAnswer(_OpenAIAnswer[_TextChunk]):
    """Reads `/completions`."""

    shape: ClassVar[Shape[Any]] = Shape(_TextChunk)
    plain: ClassVar[Plain[Any] | None] = plain(_PlainTextChunk, _texts)

    def take(self, frame: _TextChunk, event: str) -> None:
        """Understand one chunk."""
        del event
        self._check(frame)
        for choice in frame.choices or ():
            if choice.index:
                continue
            self.add_text(choice.text)
            self.note_finish(choice.finish_reason)
            if choice.usage is not None:
                self._count(choice.usage)

    def take_whole(self, said: Mapping[str, Json]) -> bool:
        """A `text_completion` object."""
        frame = self.shape.read(said)
        if not frame.choices or frame.choices[0].text is None:
            return False
        self.take(frame, "")
        return True


def _chat_body(run: Run, options: Options) -> Options:
    return {"messages": chat_messages(run), **options}


def _completions_body(run: Run, options: Options) -> Options:
    prompt, system = single_prompt(run, dialect="openai-completions", cure="dialect openai-chat")
    # There is no place for a system text here; a base model reads it like anything else.
    return {"prompt": f"{system}\n\n{prompt}" if system else prompt, **options}


DIALECTS = (
    WireFormat(
        "openai-chat",
        "/chat/completions",
        EVENTS,
        _chat_body,
        ChatAnswer,
        defaults=_DEFAULTS,
        droppable=_DROPPABLE,
    ),
    WireFormat(
        "openai-completions",
        "/completions",
        EVENTS,
        _completions_body,
        CompletionsAnswer,
        defaults=_DEFAULTS,
        droppable=_DROPPABLE,
    ),
)
