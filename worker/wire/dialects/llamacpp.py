"""llama.cpp's own `/completion`: server-sent events.

Done is a frame whose top-level `stop` is true; it may carry text, and it repeats
the whole prompt and all settings (among them another `stop`, a list).  There is
no `[DONE]`.  Why it stopped is `stop_type`, before 2024-12 one of three flags.
Counts stand on every frame; the last ones count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from worker.errors import Refused
from worker.records import Json, Run
from worker.wire.decoder import EVENTS
from worker.wire.dialects.request import Options, single_prompt
from worker.wire.dialects.wire_format import WireFormat
from worker.wire.frame_schema import FrameSchema
from worker.wire.response import ErrorFrame, ResponseParser
from worker.wire.thoughts import Thoughts


class _Frame(Thoughts, gc=False, kw_only=True):
    content: Any = None
    stop: bool = False
    stop_type: str | None = None
    stopped_eos: bool = False
    stopped_limit: bool = False
    stopped_word: bool = False
    tokens_evaluated: int | None = None
    tokens_predicted: int | None = None
    error: Any = None
    completion_probabilities: Any = None
    probs: Any = None


class _TextFrame(msgspec.Struct, gc=False):
    """A frame of text, where none has thoughts."""

    content: str
    stop: bool = False
    tokens_evaluated: int | None = None
    tokens_predicted: int | None = None
    error: None = None
    completion_probabilities: None = None
    probs: None = None


class CompletionParser(ResponseParser[_Frame]):
    """Reads `/completion`."""

    shape: ClassVar[FrameSchema[Any]] = FrameSchema(_Frame)
    narrow: ClassVar[msgspec.json.Decoder[Any] | None] = msgspec.json.Decoder(_TextFrame)
    done_frame = "a frame with stop = true"

    def take(self, frame: _Frame, event: str) -> None:
        """Understand one frame."""
        del event
        if frame.error:
            self.add_text(frame.content if type(frame.content) is str else None)
            raise ErrorFrame(frame)
        self.frames += 1
        self._add(frame)
        self.count(frame.tokens_evaluated, frame.tokens_predicted)
        if frame.stop:
            self.note_finish(_reason(frame))
            self.finish()

    def take_all(self, frames: Sequence[_Frame]) -> bool:
        """Understand many frames; those that hold only text are joined at once."""
        may_think = self.may_think
        if not self.is_settled:
            return super().take_all(frames)
        for frame in frames:
            if (
                frame.stop
                or frame.error
                or type(frame.content) is not str
                or frame.completion_probabilities
                or frame.probs
                or (may_think and frame.has_thoughts())
            ):
                return super().take_all(frames)
        for frame in frames:
            self.count(frame.tokens_evaluated, frame.tokens_predicted)
        self.take_text(len(frames), "".join([frame.content for frame in frames]))
        return True

    def take_narrow(self, frames: Sequence[_TextFrame]) -> bool:
        """Understand many frames of text."""
        if any(frame.stop for frame in frames):
            return False
        for frame in frames:
            self.count(frame.tokens_evaluated, frame.tokens_predicted)
        self.take_text(len(frames), "".join([frame.content for frame in frames]))
        return True

    def take_whole(self, said: Mapping[str, Json]) -> bool:
        """The single object of a server that did not stream."""
        frame = self.shape.read(said)
        if not frame.stop:
            return False
        self._add(frame)
        self.count(frame.tokens_evaluated, frame.tokens_predicted)
        self.note_finish(_reason(frame))
        return True

    def _add(self, frame: _Frame) -> None:
        self.add_thoughts(frame)
        self.add_text(frame.content)
        for value in (frame.completion_probabilities, frame.probs):
            if value:
                self.output.add_extra("logprobs", value)


def _reason(frame: _Frame) -> str | None:
    if frame.stop_type:
        return frame.stop_type
    flags = {
        "word": frame.stopped_word,
        "limit": frame.stopped_limit,
        "eos": frame.stopped_eos,
    }
    return next((reason for reason, is_set in flags.items() if is_set), None)


def _body(run: Run, options: Options) -> Options:
    if "response_fields" in options:
        raise Refused(
            "the option response_fields can filter the end mark out of the stream; remove it"
        )
    prompt, system = single_prompt(
        run,
        dialect="llamacpp-completion",
        cure="dialect openai-chat (llama.cpp serves it below /v1)",
    )
    # No template is applied here, so a system text is the start of the prompt.
    return {"prompt": f"{system}\n\n{prompt}" if system else prompt, **options}


DIALECTS = (WireFormat("llamacpp-completion", "/completion", EVENTS, _body, CompletionParser),)
