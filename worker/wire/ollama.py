"""Ollama: `/api/generate` and `/api/chat`, NDJSON.

Done is a line whose `done` is true; it may itself carry text, thinking and tool
calls, and in generate a `context` array that makes it a megabyte long.  A body
that simply ends is common (token repeat guard, a runner that died) and is no
completion.  Errors are a line with `error`.

In requests, most options are the model's (`temperature`, `num_ctx`) and belong
under `options`; the few that are the request's (`keep_alive`, `format`, `think`)
belong beside it.  Both may be written flat.  `truncate` is false unless asked
for: Ollama otherwise drops the start of a long conversation without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeVar

import msgspec

from worker.records import Json, Kind, Run
from worker.wire.answer import Answer, Reported
from worker.wire.asking import Options, chat_messages, single_prompt
from worker.wire.decoder import NDJSON
from worker.wire.dialect import WireFormat
from worker.wire.plain import Plain, plain
from worker.wire.shape import Shape

_REQUEST_OPTIONS = frozenset(
    {
        "context",
        "format",
        "images",
        "keep_alive",
        "logprobs",
        "options",
        "raw",
        "shift",
        "suffix",
        "template",
        "think",
        "tools",
        "top_logprobs",
        "truncate",
    }
)
_DEFAULTS = {"truncate": False}
_TIME = "created_at"  # when a token was made: new in each line, and stored nowhere


class _Line(msgspec.Struct, gc=False):
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: Any = None


class _GenerateLine(_Line, gc=False):
    response: Any = None
    thinking: Any = None
    tool_calls: Any = None


class _Message(msgspec.Struct, gc=False):
    content: Any = None
    thinking: Any = None
    tool_calls: Any = None


class _ChatLine(_Line, gc=False):
    message: _Message | None = None


class _PlainGenerateLine(msgspec.Struct, gc=False):
    response: str
    done: bool
    done_reason: Literal[""] | None = None
    thinking: Literal[""] | None = None
    tool_calls: None = None
    error: None = None


class _PlainMessage(msgspec.Struct, gc=False):
    content: str
    thinking: Literal[""] | None = None
    tool_calls: None = None


class _PlainChatLine(msgspec.Struct, gc=False):
    message: _PlainMessage
    done: bool
    done_reason: Literal[""] | None = None
    error: None = None


def _generate_texts(lines: Sequence[_PlainGenerateLine]) -> list[str] | None:
    texts = [line.response for line in lines if not line.done]
    return texts if len(texts) == len(lines) else None


def _chat_texts(lines: Sequence[_PlainChatLine]) -> list[str] | None:
    texts = [line.message.content for line in lines if not line.done]
    return texts if len(texts) == len(lines) else None


L = TypeVar("L", bound=_Line)


class _OllamaAnswer(Answer[L]):
    done_frame = "a line with done = true"

    def __init__(self, *, accept_finish_without_done: bool = False) -> None:
        super().__init__(accept_finish_without_done=accept_finish_without_done)
        self._tools = 0

    def _check(self, line: _Line) -> None:
        if line.error:
            raise Reported(line)
        self.frames += 1

    def _add(self, text: Json, thinking: Json, tool_calls: Json) -> None:
        self.add_text(thinking or None, Kind.THINKING)
        self.add_text(text)
        for call in tool_calls if type(tool_calls) is list else ():
            function = call.get("function") if type(call) is dict else None
            if type(function) is dict:
                # Each is a whole call; their own `index` starts again in every frame.
                self.output.add_tool(
                    self._tools,
                    call_id=call.get("id"),
                    name=function.get("name"),
                    arguments=function.get("arguments"),
                )
                self._tools += 1

    def _end(self, line: _Line) -> None:
        if line.done:
            self.count(line.prompt_eval_count, line.eval_count)
            self.note_finish(line.done_reason)
            self.finish()


class GenerateAnswer(_OllamaAnswer[_GenerateLine]):
    """Reads `/api/generate`."""

    shape: ClassVar[Shape[Any]] = Shape(_GenerateLine)
    plain: ClassVar[Plain[Any] | None] = plain(_PlainGenerateLine, _generate_texts, passing=_TIME)

    def take(self, frame: _GenerateLine, event: str) -> None:
        """Understand one line."""
        del event
        self._check(frame)
        self._add(frame.response, frame.thinking, frame.tool_calls)
        self._end(frame)

    def take_all(self, frames: Sequence[_GenerateLine]) -> bool:
        """Understand many lines; those that hold only text are joined at once."""
        for line in frames:
            if line.done or line.thinking or line.error or line.tool_calls:
                return super().take_all(frames)
        try:
            text = "".join([line.response for line in frames])
        except TypeError:
            return super().take_all(frames)
        self.take_text(len(frames), text)
        return True


class ChatAnswer(_OllamaAnswer[_ChatLine]):
    """Reads `/api/chat`."""

    shape: ClassVar[Shape[Any]] = Shape(_ChatLine)
    plain: ClassVar[Plain[Any] | None] = plain(_PlainChatLine, _chat_texts, passing=_TIME)

    def take(self, frame: _ChatLine, event: str) -> None:
        """Understand one line."""
        del event
        self._check(frame)
        if (message := frame.message) is not None:
            self._add(message.content, message.thinking, message.tool_calls)
        self._end(frame)

    def take_all(self, frames: Sequence[_ChatLine]) -> bool:
        """Understand many lines; those that hold only text are joined at once."""
        parts = []
        for line in frames:
            message = line.message
            if message is None or line.done or line.error:
                return super().take_all(frames)
            if message.thinking or message.tool_calls:
                return super().take_all(frames)
            parts.append(message.content)
        try:
            text = "".join(parts)
        except TypeError:
            return super().take_all(frames)
        self.take_text(len(frames), text)
        return True


def _generate_body(run: Run, options: Options) -> Options:
    prompt, system = single_prompt(run, dialect="ollama-generate", cure="dialect ollama-chat")
    body: Options = {"prompt": prompt}
    if system:
        body["system"] = system
    return body | _sorted_out(options)


def _chat_body(run: Run, options: Options) -> Options:
    return {"messages": chat_messages(run), **_sorted_out(options)}


def _sorted_out(options: Options) -> Options:
    """Options of the request beside `options`, those of the model under it."""
    model_options = {k: v for k, v in options.items() if k not in _REQUEST_OPTIONS}
    request_options = {k: v for k, v in options.items() if k in _REQUEST_OPTIONS}
    model_options.update(request_options.pop("options", {}))
    return request_options | ({"options": model_options} if model_options else {})


DIALECTS = (
    WireFormat(
        "ollama-generate", "/api/generate", NDJSON, _generate_body, GenerateAnswer, _DEFAULTS
    ),
    WireFormat("ollama-chat", "/api/chat", NDJSON, _chat_body, ChatAnswer, _DEFAULTS),
)
