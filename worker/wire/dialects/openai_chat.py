"""OpenAI chat completions and legacy completions: server-sent events, and all who imitate them.

Done is `data: [DONE]`, nothing else: not a finish reason, not the usage chunk.
`[DONE]` after a finish reason that means "the server gave up" is an error, and
so is any chunk with a truthy `error`, whatever follows it (vLLM always sends
`[DONE]`).  Some report errors without that envelope, in a chunk without choices
(FastChat) or under `x_groq`.  Usage may come in a chunk of its own, on the
finishing chunk, on all chunks, or under `x_groq`; the last one counts.

The sole choice of a stream is the answer, whatever its index (choices.py).
`content` may be a list of parts (Mistral), a whole `message` may stand in place of
deltas or repeat them, and text of a completion may come in a chat chunk and the
other way round.  What is output and no text (log probabilities, audio, images,
annotations, fields of a delta that are not known) is kept as an extra.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from worker.errors import Malformed
from worker.records import Json, Kind, Run
from worker.wire.choices import SoleChoice
from worker.wire.decoder import EVENTS
from worker.wire.dialects.openai_frames import (
    Choice,
    Chunk,
    Delta,
    PlainChatChunk,
    PlainTextChunk,
    Usage,
    chat_texts,
    is_report,
    texts,
)
from worker.wire.dialects.request import NOTHING_ASKED, Asked, Options, chat_messages, single_prompt
from worker.wire.dialects.wire_format import WireFormat
from worker.wire.frame_schema import FrameSchema
from worker.wire.framing.text_only import TextOnly, plain
from worker.wire.parts import named, parts_of
from worker.wire.response import ErrorFrame, ResponseParser
from worker.wire.unicode import QUOTED_CHARS_MAX, clip

_DEFAULTS = {"stream_options": {"include_usage": True}}
_REPETITION_CHARS_MIN = 40  # of an answer that is sent once more at its end; a word may come twice
_DROPPABLE = {"stream_options": ("stream_options", "include_usage")}


class _OpenAIParser(ResponseParser[Chunk]):
    shape: ClassVar[FrameSchema[Any]] = FrameSchema(Chunk)
    done_frame = "data: [DONE]"

    def __init__(
        self, *, accept_finish_without_done: bool = False, asked: Asked = NOTHING_ASKED
    ) -> None:
        super().__init__(accept_finish_without_done=accept_finish_without_done, asked=asked)
        self._choice = SoleChoice()

    def sentinel(self) -> None:
        """`[DONE]`: the done frame of these dialects."""
        self.finish()

    def settle(self) -> None:
        """The answer is said to be whole."""
        self._choice.settle()
        super().settle()

    def settles(self) -> bool:
        """Whether it is clear by now what kind of a stream this is."""
        return self._choice.is_first and super().settles()

    def take(self, frame: Chunk, event: str) -> None:
        """Understand one chunk; text beside an error is kept."""
        del event
        if frame.usage is not None:
            self._count(frame.usage)
        if frame.x_groq is not None and frame.x_groq.usage is not None:
            self._count(frame.x_groq.usage)
        reports = is_report(frame)
        self._choice.begin_frame()
        for choice in frame.choices or ():
            self._take_choice(choice, is_report=reports)
        if reports:
            raise ErrorFrame(frame)
        self.frames += 1
        for name in ("citations", "search_results"):
            if value := getattr(frame, name):
                self.output.add_extra(name, value)

    def take_all(self, frames: Sequence[Chunk]) -> bool:
        """Understand many chunks; those that hold only text are joined at once."""
        if not self.is_settled:
            return super().take_all(frames)
        parts = []
        for frame in frames:
            if not frame.is_plain():
                return super().take_all(frames)
            for choice in frame.choices or ():
                delta = choice.delta
                if (
                    choice.index
                    or choice.finish_reason
                    or choice.logprobs
                    or choice.usage
                    or choice.message
                    or (self.may_think and choice.has_thoughts())
                    or (delta is not None and delta.says_more_than_text())
                ):
                    return super().take_all(frames)
                parts.append(choice.text or "")
                parts.append("" if delta is None else delta.content or "")
        try:
            text = "".join(parts)
        except TypeError:
            return super().take_all(frames)
        self.take_text(len(frames), text)
        return True

    def take_whole(self, said: Mapping[str, Json]) -> bool:
        """A `chat.completion` or a `text_completion` object."""
        frame = self.shape.read(said)
        choices = frame.choices or ()
        if not any(choice.message is not None or choice.text is not None for choice in choices):
            return False
        self.take(frame, "")
        return True

    def _count(self, usage: Usage) -> None:
        self.count(usage.prompt_tokens, usage.completion_tokens)

    def _take_choice(self, choice: Choice, *, is_report: bool) -> None:
        if choice.speaks():
            self._choice.spoke(choice.index)
        self.add_thoughts(choice)
        self.add_text(choice.text)
        if choice.delta is not None:
            ends = bool(choice.finish_reason)
            self._take_delta(choice.delta, may_repeat=ends)
        if choice.message is not None:
            self._take_message(choice.message)
        if choice.logprobs and not is_report:
            self.output.add_extra("logprobs", choice.logprobs)
        if choice.finish_reason and not is_report and self._choice.ended(choice.index):
            self.note_finish(choice.finish_reason)
        if choice.usage is not None:
            self._count(choice.usage)

    def _take_message(self, message: Delta) -> None:
        """Everything at once, by a gateway; after deltas, or once more, it is a repetition."""
        if not self.output.has_any():
            self._take_delta(message, may_repeat=False)
            return
        pieces = [] if type(message.content) is str else list(parts_of(message.content))
        text = message.content if type(message.content) is str else ""
        text += "".join(said for kind, said in pieces if kind is Kind.TEXT)
        if text or type(message.refusal) is str:
            self.output.repeat(Kind.TEXT, text or message.refusal)
        if not self.output.has(Kind.THINKING):
            self.add_thoughts(message)
        calls = message.tool_calls if type(message.tool_calls) is list else []
        for turn, call in enumerate(call for call in calls if type(call) is dict):
            name, arguments = named(call)
            self.output.calls.whole(
                arguments, index=None, ids=[call.get("id")], name=name, turn=turn
            )

    def _take_delta(self, delta: Delta, *, may_repeat: bool) -> None:
        self.add_thoughts(delta)
        if type(delta.content) is list:
            self._take_parts(delta.content)
        elif not (may_repeat and self._repeats(delta.content)):
            self.add_text(delta.content)
        if delta.refusal:
            self.refused = True
            self.add_text(delta.refusal)
        if delta.tool_calls:
            self._take_tools(delta.tool_calls)
        elif delta.function_call:
            name, arguments = named({"function": delta.function_call})
            self.output.calls.piece(arguments, index=0, name=name)
        if type(delta.audio) is dict:  # of what is spoken, the words
            self.add_text(delta.audio.get("transcript"))
        self._keep(delta)

    def _keep(self, delta: Delta) -> None:
        """What is no text."""
        if delta.audio and (type(delta.audio) is not dict or delta.audio.get("data")):
            self.output.add_extra("audio", delta.audio)
        for name in ("images", "annotations", "citations"):
            if value := getattr(delta, name):
                self.output.add_extra(name, value)
        for name, value in (delta.unknown or {}).items():
            if value:
                self.output.add_extra("unknown", {name: value})

    def _repeats(self, content: Json) -> bool:
        """Whether the last delta is the whole answer once more."""
        if type(content) is not str or len(content) < _REPETITION_CHARS_MIN:
            return False
        streamed = self.output.streamed(Kind.TEXT)
        return streamed.length == len(content) and streamed.rest(content) == ""

    def _take_parts(self, parts: list[Json]) -> None:
        for kind, said in parts_of(parts):
            if kind is None:
                self.output.add_extra("parts", said)
            else:
                self.add_text(said, kind)

    def _take_tools(self, calls: Json) -> None:
        if type(calls) is not list:
            raise Malformed(f"tool_calls that are no list: {clip(repr(calls), QUOTED_CHARS_MAX)}")
        for call in calls:
            if call is not None:
                name, arguments = named(call)
                self.output.calls.piece(
                    arguments, index=call.get("index"), call_id=call.get("id"), name=name
                )


class ChatParser(_OpenAIParser):
    """Reads `/chat/completions`."""

    plain: ClassVar[TextOnly[Any] | None] = plain(PlainChatChunk, chat_texts)


class CompletionsParser(_OpenAIParser):
    """Reads `/completions`."""

    plain: ClassVar[TextOnly[Any] | None] = plain(PlainTextChunk, texts)


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
        ChatParser,
        defaults=_DEFAULTS,
        droppable=_DROPPABLE,
    ),
    WireFormat(
        "openai-completions",
        "/completions",
        EVENTS,
        _completions_body,
        CompletionsParser,
        defaults=_DEFAULTS,
        droppable=_DROPPABLE,
    ),
)
