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

from worker.errors import Malformed
from worker.records import Json, Run
from worker.wire.decoder import NDJSON
from worker.wire.dialects.request import Options, chat_messages, single_prompt
from worker.wire.dialects.wire_format import WireFormat
from worker.wire.frame_schema import FrameSchema
from worker.wire.framing.text_only import TextOnly, plain
from worker.wire.parts import named
from worker.wire.response import ErrorFrame, ResponseParser
from worker.wire.thoughts import NoThoughts, Thoughts
from worker.wire.unicode import QUOTED_CHARS_MAX, clip

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


class _Line(Thoughts, gc=False, kw_only=True):
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: Any = None
    logprobs: Any = None
    image: Any = None
    images: Any = None

    def says_more_than_text(self) -> bool:
        """Whether there is anything besides text, or the end."""
        return bool(
            self.done
            or self.error
            or self.logprobs
            or self.image
            or self.images
            or self.has_thoughts()
        )


class _GenerateLine(_Line, gc=False, kw_only=True):
    response: Any = None
    tool_calls: Any = None


class _Message(Thoughts, gc=False, kw_only=True, forbid_unknown_fields=True):
    content: Any = None
    tool_calls: Any = None
    images: Any = None
    # Known to say nothing about the answer.
    role: Any = None
    tool_name: Any = None


class _ChatLine(_Line, gc=False, kw_only=True):
    message: _Message | None = None


class _PlainLine(NoThoughts, gc=False, kw_only=True):
    done: bool
    done_reason: Literal[""] | None = None
    error: None = None
    logprobs: None = None
    image: None = None
    images: None = None


class _PlainGenerateLine(_PlainLine, gc=False, kw_only=True):
    response: str
    tool_calls: None = None


class _PlainMessage(NoThoughts, gc=False, kw_only=True, forbid_unknown_fields=True):
    content: str
    tool_calls: None = None
    images: None = None
    role: str | None = None


class _PlainChatLine(_PlainLine, gc=False, kw_only=True):
    message: _PlainMessage


def _generate_texts(lines: Sequence[_PlainGenerateLine]) -> list[str] | None:
    texts = [line.response for line in lines if not line.done]
    return texts if len(texts) == len(lines) else None


def _chat_texts(lines: Sequence[_PlainChatLine]) -> list[str] | None:
    texts = [line.message.content for line in lines if not line.done]
    return texts if len(texts) == len(lines) else None


L = TypeVar("L", bound=_Line)


class _OllamaParser(ResponseParser[L]):
    done_frame = "a line with done = true"

    def _check(self, line: _Line) -> None:
        if line.error:
            raise ErrorFrame(line)
        self.frames += 1

    def _add(self, line: _Line, text: Json, tool_calls: Json) -> None:
        self.add_thoughts(line)
        self.add_text(text)
        if tool_calls and type(tool_calls) is not list:
            raise Malformed(
                f"tool_calls that are no list: {clip(repr(tool_calls), QUOTED_CHARS_MAX)}"
            )
        for call in tool_calls or ():
            if call is not None:
                name, arguments = named(call)
                # Each is a whole call; their own `index` starts again in every frame.
                self.output.calls.add(arguments, call_id=call.get("id"), name=name)
        for kind in ("logprobs", "image", "images"):
            if value := getattr(line, kind):
                self.output.add_extra(kind, value)

    def _end(self, line: _Line) -> None:
        if line.done:
            self.count(line.prompt_eval_count, line.eval_count)
            self.note_finish(line.done_reason)
            self.finish()


class GenerateParser(_OllamaParser[_GenerateLine]):
    """Reads `/api/generate`."""

    shape: ClassVar[FrameSchema[Any]] = FrameSchema(_GenerateLine)
    plain: ClassVar[TextOnly[Any] | None] = plain(
        _PlainGenerateLine, _generate_texts, passing=_TIME
    )

    def take(self, frame: _GenerateLine, event: str) -> None:
        """Understand one line."""
        del event
        if not frame.error or type(frame.response) is str:  # text beside an error is kept
            self._add(frame, frame.response, frame.tool_calls)
        self._check(frame)
        self._end(frame)

    def take_all(self, frames: Sequence[_GenerateLine]) -> bool:
        """Understand many lines; those that hold only text are joined at once."""
        for line in frames:
            if line.tool_calls or line.says_more_than_text() or not self.is_settled:
                return super().take_all(frames)
        try:
            text = "".join([line.response for line in frames])
        except TypeError:
            return super().take_all(frames)
        self.take_text(len(frames), text)
        return True


class ChatParser(_OllamaParser[_ChatLine]):
    """Reads `/api/chat`."""

    shape: ClassVar[FrameSchema[Any]] = FrameSchema(_ChatLine)
    plain: ClassVar[TextOnly[Any] | None] = plain(_PlainChatLine, _chat_texts, passing=_TIME)

    def take(self, frame: _ChatLine, event: str) -> None:
        """Understand one line."""
        del event
        if (message := frame.message) is not None:
            self.add_thoughts(message)
            for name, value in {"images": message.images, **(message.unknown or {})}.items():
                if value:
                    self.output.add_extra(
                        "images" if name == "images" else "unknown", {name: value}
                    )
        self._add(frame, message and message.content, message and message.tool_calls)
        self._check(frame)
        self._end(frame)

    def take_all(self, frames: Sequence[_ChatLine]) -> bool:
        """Understand many lines; those that hold only text are joined at once."""
        parts = []
        for line in frames:
            message = line.message
            if message is None or line.says_more_than_text() or not self.is_settled:
                return super().take_all(frames)
            if message.tool_calls or message.images or message.unknown or message.has_thoughts():
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
        "ollama-generate", "/api/generate", NDJSON, _generate_body, GenerateParser, _DEFAULTS
    ),
    WireFormat("ollama-chat", "/api/chat", NDJSON, _chat_body, ChatParser, _DEFAULTS),
)
