"""What has been understood of one response so far; the part that knows a dialect.

The decoder hands frames in the declared shape to an ``ResponseParser``, one by one or
many at once.  A dialect subclasses it and says in ``take`` what one frame
means.  ``take_all``, ``take_plain`` and ``take_text`` are short cuts past it for many
frames of the fast lanes; they have to say the same as ``take``, frame by frame, and
``tests/wire/test_any_stream.py`` holds them to it.

Terminal are ``finish`` and ``fail``; the first of them wins and everything
after it is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic

import msgspec

from worker.errors import ErrorCode, Malformed, ServerFailed, SpoolError, Truncated, Verdict
from worker.records import Json, Kind, Usage
from worker.wire.dialects.request import NOTHING_ASKED, Asked
from worker.wire.errors.classify import stream_failure
from worker.wire.events import Done, Event, Fault
from worker.wire.finish_reason import FinishGroup, finish_group
from worker.wire.frame_schema import F, FrameSchema
from worker.wire.framing.json_filter import Keep
from worker.wire.framing.text_only import TextOnly
from worker.wire.output import Output
from worker.wire.snapshots import SnapshotGuard
from worker.wire.thoughts import Thoughts, said_of, texts_of
from worker.wire.unicode import QUOTED_CHARS_MAX, clip

_REASON_CHARS_MAX = 200
_REFUSAL = "refusal"
_LENGTH = "length"
_TOKENS_MAX = 2**31 - 1


class ErrorFrame(Exception):  # a signal between take and its caller, not an error of the tree
    """The frame is an error report; the caller has the raw frame and reads it."""

    def __init__(self, frame: object) -> None:
        super().__init__()
        self.frame = frame


class ResponseParser(Generic[F]):
    """State and meaning of one response; subclasses know one dialect.

    Attributes:
        shape: of the dialect's frames.
        plain: those of them that hold text and nothing else, where that is worth a lane.
        narrow: decodes many lines of JSON that hold text and no thoughts; refuses all others.
        done_frame: what ends a completion, in words for messages.
        frames_are_states: a frame without output tells a state of its own: a block that begins,
            a tool that runs.
        frames: frames that carried progress.
        finish_reason: the last raw reason seen, storable.
        refused: the visible output is a refusal, so a plain stop is one too.
        asked: what the request says about the answer.
        changes: how often the counts or the finish reason have changed.
        is_settled: it is clear what kind of a stream this is; only then are short cuts open.
        may_think: the frames at hand may hold thoughts, by the bytes of their names.
        raw: the frame at hand as it came, while frames are understood one by one.
    """

    shape: ClassVar[FrameSchema[Any]]
    plain: ClassVar[TextOnly[Any] | None] = None
    narrow: ClassVar[msgspec.json.Decoder[Any] | None] = None
    done_frame: ClassVar[str]
    frames_are_states: ClassVar[bool] = False

    def __init__(
        self, *, accept_finish_without_done: bool = False, asked: Asked = NOTHING_ASKED
    ) -> None:
        self.asked = asked
        self.is_settled = False
        self.may_think = True
        self.raw: Mapping[str, Json] | None = None
        self.frames = 0
        self.changes = 0
        self.finish_reason: str | None = None
        self.output = Output()
        self.refused = False
        self._accepts_finish = accept_finish_without_done
        self._snapshots: SnapshotGuard | None = SnapshotGuard()  # until it has seen enough
        self._prompt_tokens: int | None = None
        self._completion_tokens: int | None = None
        self._terminal: Done | Fault | None = None
        self._told = False

    # --- what a dialect says

    def take(self, frame: F, event: str) -> None:
        """Understand one frame.

        Args:
            frame: in the declared shape.
            event: name of the server-sent event, "" if it had none.

        Raises:
            Reported: the frame is an error report.
            Malformed: it holds output of a type that the protocol does not know.
        """
        raise NotImplementedError

    def settles(self) -> bool:
        """Whether it is clear by now what kind of a stream this is."""
        return self._snapshots is None

    def take_all(self, frames: Sequence[F]) -> bool:
        """Understand many frames without event names; False to be given them one by one instead.

        Nothing may have been understood when it returns False.
        """
        for number, frame in enumerate(frames, start=1):
            self.take(frame, "")
            if self._terminal:
                break
            if not self.is_settled and self.settles():
                self.is_settled = True  # so there may be a short cut for the others
                rest = frames[number:]
                return self.take_all(rest) or ResponseParser.take_all(self, rest)
        return True

    def take_narrow(self, frames: Sequence[Any]) -> bool:
        """Understand many frames of the narrow shape; False if they mean more after all."""
        del frames
        return False

    def take_plain(self, texts: Sequence[str] | None) -> bool:
        """Understand the texts of many plain frames; False if they were not plain after all."""
        if texts is None:
            return False
        self.take_text(len(texts), "".join(texts))
        return True

    def take_text(self, frames: int, text: str) -> None:
        """Understand the text of so many frames that hold nothing else."""
        self.frames += frames
        self.output.add(Kind.TEXT, text)

    def sentinel(self) -> None:
        """`[DONE]` arrived; most dialects do not know it and go on."""

    def take_whole(self, said: Mapping[str, Json]) -> bool:
        """Understand a whole answer in one object that is not a stream; False if it is none."""
        del said
        return False

    @property
    def keep(self) -> Mapping[str, Keep]:
        """What to keep of a frame that is too long to be held, as things stand."""
        return self.shape.keep

    # --- what the dialects use

    def count(self, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        """Note token counts; the last one that is there and makes sense counts."""
        if prompt_tokens is not None and 0 <= prompt_tokens <= _TOKENS_MAX:
            self.changes += prompt_tokens != self._prompt_tokens
            self._prompt_tokens = prompt_tokens
        if completion_tokens is not None and 0 <= completion_tokens <= _TOKENS_MAX:
            self.changes += completion_tokens != self._completion_tokens
            self._completion_tokens = completion_tokens

    def note_finish(self, reason: str | None) -> None:
        """Note a finish reason; None and "" (old Ollama, on every chunk) say nothing."""
        before = self.finish_reason
        if reason:
            self.finish_reason = clip(reason, _REASON_CHARS_MAX)
        if self.refused and finish_group(self.finish_reason) is FinishGroup.NATURAL:
            self.finish_reason = _REFUSAL
        self.changes += self.finish_reason != before

    def add_text(self, value: Json, kind: Kind = Kind.TEXT) -> None:
        """Append a value that has to be text or null.

        Raises:
            Malformed: it is neither, so output would be lost.
        """
        if type(value) is str:
            if self._snapshots is not None and kind is Kind.TEXT and self._snapshots.saw(value):
                self._snapshots = None
            self.output.add(kind, value)
        elif value is not None:
            raise Malformed(
                f"text was expected, but the server sent {clip(repr(value), QUOTED_CHARS_MAX)}"
            )

    def add_thoughts(self, part: Thoughts) -> None:
        """Append the thoughts in a part of a frame."""
        if not part.has_thoughts():
            return
        thoughts = list(texts_of(part))
        for thought in thoughts:
            self.output.add(Kind.THINKING, thought)
        if not thoughts:  # encrypted, as a rule
            self.output.add_extra("thoughts", said_of(part))

    def finish(self, *, done_frame: bool = True) -> None:
        """The done frame arrived; with a reason such as `abort` it is no completion.

        Args:
            done_frame: False if the finish reason is taken for it.
        """
        if self._terminal:
            return
        self.settle()
        self.note_finish(None)  # the refusal may have come after the reason
        self._check_length()
        if finish_group(self.finish_reason) is FinishGroup.BROKEN:
            self.fail(
                ServerFailed(
                    f"the server gave up: finish reason {self.finish_reason}",
                    code=ErrorCode.GENERATION_ABORTED,
                )
            )
        else:
            self._terminal = Done(self.finish_reason, self.usage, done_frame)

    def settle(self) -> None:
        """The answer is said to be whole: what was held back is written.

        Raises:
            Malformed: it cannot be whole, or not as it was streamed.
        """
        self.output.calls.settle()
        if self._snapshots is not None:
            self._snapshots.settle()

    def _check_length(self) -> None:
        """As many tokens as were allowed, and a natural reason: the limit cut the answer."""
        limit, reason = self.asked.max_tokens, self.finish_reason
        if (
            limit
            and (self._completion_tokens or 0) >= limit
            and (finish_group(reason) is FinishGroup.NATURAL)
        ):
            self.output.add_extra("finish_reason", reason)
            self.finish_reason = _LENGTH

    def fail(self, error: SpoolError) -> None:
        """The stream is over with an error."""
        self._terminal = self._terminal or Fault(error)

    # --- what the decoder uses

    def is_over(self) -> bool:
        """Whether a terminal frame was understood."""
        return self._terminal is not None

    @property
    def usage(self) -> Usage:
        """The last counts seen."""
        return Usage(self._prompt_tokens, self._completion_tokens)

    def fail_with_report(self, said: Json) -> None:
        """The server reported an error inside the stream."""
        self.fail(stream_failure(said, had_output=self.output.has_any()))

    def end_of_body(self, words: str = "") -> None:
        """The body ended without a terminal frame; `words` stood where frames belong."""
        if self._accepts_finish and self.finish_reason:
            self.finish(done_frame=False)
        what = "" if self.frames else "; no frame came"
        what += f", but the text: {words}" if words else ""
        self.fail(Truncated(f"the response ended without {self.done_frame}{what}"))

    def end_of_whole(self, said: Mapping[str, Json]) -> None:
        """The body was one object, not a stream."""
        if not self.take_whole(said):
            self.fail(Malformed(f"not a stream but one JSON object: {clip(str(said), 200)}"))
        elif self._accepts_finish and self.finish_reason:
            self.finish(done_frame=False)
        else:
            self.fail(
                Malformed(
                    "the server ignored `stream: true` and sent its answer in one piece; use an"
                    " endpoint that streams, or set accept_finish_without_done = true to take it",
                    verdict=Verdict.FAIL,
                )
            )

    def events(self) -> list[Event]:
        """What is new since the last call, the terminal event last and once."""
        over = self._terminal is not None
        if over and self._told:
            return []
        events = self.output.take(final=over)
        if self._terminal is not None:
            events.append(self._terminal)
            self._told = True
        return events
