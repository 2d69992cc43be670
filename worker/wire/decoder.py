r"""The decoder that all dialects share: bytes in, events out.

It joins three parts: an ``BodySniffer`` that looks whether the body is a stream, a
framing with its lanes (blocks.py, incremental.py), and an ``ResponseParser`` that knows what the
frames of one dialect mean.  The decoder itself only decides what goes where:

    bytes -> Opening -> Intake -> block -> template.py --------> Answer.take_text
                                       |-> text_only.py --------> Answer.take_plain
                                       |-> msgspec ---------> Answer.take_all
                                       \-> Machine -> Frame -> parse -> Answer.take

A block goes down an upper lane whole or not at all.  Held are at most the
rest of a read, ``SKIM_FROM_BYTES`` of an unfinished frame, and what a dialect
wants of a longer one, up to ``max_frame_bytes``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from worker.errors import Malformed, SpoolError
from worker.records import Json, Usage
from worker.wire.errors.bodies import page_words
from worker.wire.events import Event
from worker.wire.framing.blocks import BlockReader, Packed, pack_events, pack_lines
from worker.wire.framing.frames import (
    PINGS,
    SENTINEL,
    Frame,
    FrameBody,
    FrameKind,
    KeepNow,
    Machine,
    most_raw_bytes,
)
from worker.wire.framing.incremental import EventLines, JsonLines
from worker.wire.framing.noise import is_noise, plain_words
from worker.wire.framing.sniff import BodyKind, BodySniffer, Judge, judge_events, judge_lines
from worker.wire.framing.template import FrameTemplate
from worker.wire.framing.text_only import Decode, plain_events, plain_lines
from worker.wire.response import ErrorFrame, ResponseParser
from worker.wire.thoughts import NAMES_BEGIN
from worker.wire.tolerant_json import parse
from worker.wire.unicode import QUOTED_CHARS_MAX, clip

_SPACE = b" \t\r\n"
PROMPT_PROGRESS = b'"prompt_progress"'  # llama.cpp tells how far it has read a long prompt
# What is looked at for a message, of a frame or a body that may be as long as it likes.
_WORDS_BYTES_MAX = 2000
_PAGE_BYTES_MAX = 20_000
_PAGE_CHARS_MAX = 200  # of the words of a page, in a message


@dataclass(frozen=True, slots=True)
class FrameReader:
    """A way to put frames into a body."""

    media_type: str
    boundary: bytes
    machine: Callable[[int, KeepNow], Machine]
    plain: Callable[[bytes, Decode], list[Any] | None]
    pack: Callable[[bytes], Packed | None]
    judge: Judge
    has_events: bool


NDJSON = FrameReader(
    "application/x-ndjson", b"\n", JsonLines, plain_lines, pack_lines, judge_lines, False
)
EVENTS = FrameReader(
    "text/event-stream", b"\n\n", EventLines, plain_events, pack_events, judge_events, True
)


class StreamDecoder:
    """Decodes one response; see ``worker.wire.events.Decoder`` for the contract."""

    def __init__(
        self,
        framing: FrameReader,
        answer: ResponseParser[Any],
        *,
        max_frame_bytes: int,
        content_type: str | None = None,
    ) -> None:
        self._framing = framing
        self._answer = answer
        self._limit = max_frame_bytes
        self._content_type = content_type or ""
        self._whole: FrameBody | None = None
        self._start_of_body = b""  # for a message, as long as no frame has come
        self._mould = FrameTemplate(framing.boundary)
        self._state = 0  # changes with all that is known of the answer but its output
        self._progress = 0
        self._start()

    def _start(self) -> None:
        self._opening: BodySniffer | None = BodySniffer(self._framing.judge)
        answer = self._answer  # not `self`, which holds the machine
        self._machine = self._framing.machine(self._limit, lambda: answer.keep)
        self._intake = BlockReader(
            self._framing.boundary,
            self._machine,
            limit=self._limit,
            lone_cr=self._framing.has_events,
        )

    @property
    def frames(self) -> int:
        """Protocol frames that carried progress so far."""
        return self._answer.frames

    @property
    def usage(self) -> Usage:
        """The last counts seen."""
        return self._answer.usage

    @property
    def finish_reason(self) -> str | None:
        """The last raw finish reason seen, done or not."""
        return self._answer.finish_reason

    @property
    def held_bytes(self) -> int:
        """Bytes of the body that are held in memory between calls."""
        opening = self._opening.held_bytes if self._opening else 0
        whole = self._whole.held_bytes if self._whole else 0
        return opening + whole + self._intake.held_bytes

    @property
    def progress(self) -> int:
        """How often what is known of the answer has changed."""
        return self._progress

    def feed(self, data: bytes) -> Sequence[Event]:
        """Take one network read; `b""` is legal and quiet."""
        events = self._guarded(self._feed, data)
        answer = self._answer
        state = answer.changes
        state += answer.frames if answer.frames_are_states else bool(answer.frames)
        if events or state != self._state or PROMPT_PROGRESS in data:
            self._state = state
            self._progress += 1
        return events

    def close(self) -> Sequence[Event]:
        """The body ended."""
        return self._guarded(self._end_whole if self._whole is not None else self._end_stream)

    def _guarded(self, step: Callable[..., None], *given: bytes) -> Sequence[Event]:
        if self._answer.is_over():
            return ()
        try:
            step(*given)
        except SpoolError as error:
            self._answer.fail(error)
        except RecursionError:
            self._answer.fail(Malformed("a frame that is nested too deeply"))
        if self._answer.is_over():  # nothing will be read any more: let go of what is held
            self._whole = None
            self._start()
        return self._answer.events()

    def _feed(self, data: bytes) -> None:
        if not self._answer.frames and len(self._start_of_body) < _WORDS_BYTES_MAX:
            self._start_of_body += data[:_WORDS_BYTES_MAX]
        if self._opening is not None:
            sort, data = self._opening.feed(data)
            if sort is not BodyKind.UNDECIDED:
                self._opening = None
            if sort is BodyKind.WHOLE:
                self._whole = FrameBody(self._limit, None)
        if self._whole is not None:
            self._whole.add(data)
        elif data:
            self._read(data)

    # --- a stream

    def _read(self, data: bytes) -> None:
        if self._intake.is_block(data):
            if not self._take_block(data):
                self._take_frames(self._machine.frames(data))
            return
        for block, may_be_plain in self._intake.blocks(data):
            if not (may_be_plain and self._take_block(block)):
                self._take_frames(self._machine.frames(block))
            if self._answer.is_over():
                return

    def _take_block(self, block: bytes) -> bool:
        """The fast lanes; False if the block has to go down the careful one."""
        if self._take_plain(block):
            return True
        packed = self._framing.pack(block)
        if packed is None or self._has_long_line(packed.lines):
            return False
        self._answer.may_think = any(name in block for name in NAMES_BEGIN)
        return self._take_narrow(packed) or self._take_packed(packed)

    def _take_packed(self, packed: Packed) -> bool:
        """Many frames of any kind."""
        try:
            frames = self._answer.shape.decode_lines(packed.lines)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        if not packed.holds(len(frames)):
            return False
        try:
            if not self._answer.take_all(frames):
                return False
        except ErrorFrame as reported:
            number = next(n for n, frame in enumerate(frames) if frame is reported.frame)
            self._take_report(packed.lines.split(b"\n")[number])
        if packed.sentinel and not self._answer.is_over():
            self._answer.sentinel()
        return True

    def _take_narrow(self, packed: Packed) -> bool:
        """Text and nothing else, in frames that are not plain."""
        answer = self._answer
        if answer.narrow is None or answer.may_think or packed.sentinel or not answer.is_settled:
            return False
        try:
            frames = answer.narrow.decode_lines(packed.lines)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        return packed.holds(len(frames)) and answer.take_narrow(frames)

    def _take_report(self, line: bytes) -> None:
        try:
            said = parse(line)
        except ValueError as error:  # msgspec reads deeper than Python's own parser
            raise Malformed("an error report that cannot be read") from error
        self._answer.fail_with_report(said)

    def _take_plain(self, block: bytes) -> bool:
        """The fastest lanes: text and nothing else."""
        plain = self._answer.plain if self._answer.is_settled else None
        if plain is None or len(block) > self._limit:
            return False
        if (cast := self._mould.read(block, plain)) is not None:
            self._answer.take_text(cast.frames, cast.text)
            return True
        frames = self._framing.plain(block, plain.decode)
        return frames is not None and self._answer.take_plain(plain.texts(frames))

    def _has_long_line(self, lines: bytes) -> bool:
        most = most_raw_bytes(self._limit)
        return len(lines) > most and max(map(len, lines.split(b"\n"))) > most

    def _take_frames(self, frames: Iterator[Frame]) -> None:
        for frame in frames:
            self._take_frame(frame)
            if self._answer.is_over():
                return

    def _take_frame(self, frame: Frame) -> None:
        text = frame.data.strip(_SPACE)
        is_error = frame.nature is FrameKind.ERROR_FIELD or frame.event == "error"
        if not text or frame.event in PINGS or is_noise(text):
            return
        if self._framing.has_events and text == SENTINEL and not is_error:
            self._answer.sentinel()
            return
        try:
            said = parse(text)
        except ValueError as error:
            self._take_garbage(frame, text, error, is_error=is_error)
            return
        if is_error:
            self._answer.fail_with_report(said)
        elif frame.nature is FrameKind.DATA:
            self._take_said(said, frame.event)
        elif isinstance(said, dict) and said.get("error"):
            self._answer.fail_with_report(said)

    def _take_said(self, said: Json, event: str) -> None:
        if not isinstance(said, dict):
            raise Malformed(
                f"a frame that is not a JSON object: {clip(str(said), QUOTED_CHARS_MAX)}"
            )
        self._answer.raw = said
        try:
            self._answer.take(self._answer.shape.read(said), event)
        except ErrorFrame:
            self._answer.fail_with_report(said)
        except Malformed:
            if not said.get("error"):
                raise
            self._answer.fail_with_report(said)
        finally:
            self._answer.raw = None
        if not self._answer.is_settled:
            self._answer.is_settled = self._answer.settles()

    def _take_garbage(
        self, frame: Frame, text: bytes, error: ValueError, *, is_error: bool
    ) -> None:
        """A frame that is not JSON: what was said in it, if anything, is lost."""
        words = text[:_WORDS_BYTES_MAX].decode("utf-8", "replace")
        if is_error and not frame.tail:
            self._answer.fail_with_report(words)
        elif frame.nature is FrameKind.BARE and text == b"{" and not frame.tail:
            raise Malformed("a JSON document over several lines inside the stream, as errors are")
        elif frame.nature is FrameKind.DATA:
            hint = ""
            if not self._framing.has_events and text.startswith((b"data:", b"event:")):
                hint = "; this looks like an event stream: is the endpoint's dialect right?"
            raise Malformed(
                f"a frame that is not JSON: {clip(words, QUOTED_CHARS_MAX)}{hint}"
            ) from error

    # --- the end

    def _end_stream(self) -> None:
        """Use the tail if it is whole, else drop it without a word."""
        rest = self._opening.end() if self._opening else self._intake.end()
        with suppress(SpoolError):
            self._take_frames(self._machine.frames(rest))
            self._take_frames(self._machine.end())
        if self._answer.is_over():
            return
        if not self.frames and "html" in self._content_type:
            raise Malformed("the server sent HTML with status 200 instead of a stream")
        words = "" if self.frames else plain_words(self._start_of_body)
        self._answer.end_of_body(clip(words, QUOTED_CHARS_MAX))

    def _end_whole(self) -> None:
        """The body was a document: a page of a proxy, an error, an answer in one piece."""
        text = self._whole.finish().strip(_SPACE) if self._whole else b""
        if text.startswith(b"<"):
            words = clip(
                page_words(text[:_PAGE_BYTES_MAX].decode("utf-8", "replace")), _PAGE_CHARS_MAX
            )
            raise Malformed(f"a page with status 200 instead of a stream: {words}")
        try:
            said = parse(text)
        except ValueError:
            self._end_broken_document(text)
            return
        said = said[0] if isinstance(said, list) and said else said
        if not isinstance(said, dict) or not self._framing.has_events:
            self._take_said(said, "")
            self._answer.end_of_body()
        elif _is_report(said):
            self._answer.fail_with_report(said)
        else:
            self._answer.raw = said
            self._answer.end_of_whole(said)

    def _end_broken_document(self, text: bytes) -> None:
        """It began like a document and is none."""
        if self._framing.has_events:  # an error line before the events of a stream?
            self._take_frames(self._machine.frames(text))
            self._take_frames(self._machine.end())
        if text.endswith((b"}", b"]")) and not self.frames:
            words = clip(text[:_WORDS_BYTES_MAX].decode("utf-8", "replace"), QUOTED_CHARS_MAX)
            self._answer.fail(Malformed(f"neither a stream nor JSON, but {words}"))
        self._answer.end_of_body()


def _is_report(said: Mapping[str, Json]) -> bool:
    return bool(said.get("error")) or "error" in (said.get("object"), said.get("type"))
