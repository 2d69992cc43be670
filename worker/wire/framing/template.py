r"""The lane above all: frames that differ in their text, and in nothing else that matters.

A server that streams over one connection repeats itself: the same id, the same
model, the same everything around a few new letters.  What stands around the text
is the *mould*; a block is read by taking it off every frame, and all that is left
is decoded as one string.  One more thing may be new in each frame, if it means
nothing and its dialect names it: the time at which Ollama made a token.

That the mould is what it seems is proved once, by decoding it around texts of
ours.  That every frame is cast in it is seen by comparing (pour.c), or where
nothing was compiled proved by arithmetic: to take a prefix and a suffix off can
shorten a line by no more than both, so when all lines together are shorter by as
much, each of them had both.  The arithmetic knows one hole and events only.

What is left of a frame is its text if it is the inside of a JSON string; so it is
joined by a character after which no escape, no letter and no half of one can go
on, and decoded in one go.

A frame that shows no mould (thinking, a tool call, an empty or an escaped text)
says nothing against the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import msgspec

from worker.wire.framing.text_only import LEAD, TextOnly

try:
    from worker.wire import _pour
except ImportError:  # built without a C compiler
    pour: Callable[[bytes, tuple[bytes, ...], int], tuple[int, bytes] | None] | None = None
else:
    pour = _pour.pour

_BETWEEN = "\x7f"  # allowed in a string of JSON, and not after a backslash
_PROBE = b"a text of ours"
# Blocks in a row whose frames were not all cast as the first: then this server puts something new
# into every frame, and is left to the other lanes.
_MOST_MISFITS = 8

_decode_text = msgspec.json.Decoder(str).decode


class Match(msgspec.Struct, frozen=True, gc=False):
    """What a block said: one text for all of its frames."""

    frames: int
    text: str


@dataclass(frozen=True, slots=True)
class _Form:
    """What all frames have in common.

    Attributes:
        literals: from a frame's first byte to its last; between each two is a hole.
        text: the index of the literal that the text follows.
    """

    literals: tuple[bytes, ...]
    text: int


class FrameTemplate:
    """Reads blocks of frames; belongs to one response.

    Args:
        boundary: what ends a frame: one LF in NDJSON, two in server-sent events.
    """

    __slots__ = ("_boundary", "_form", "_lead", "_misfits")

    def __init__(self, boundary: bytes) -> None:
        self._boundary = boundary
        self._lead = LEAD if boundary == b"\n\n" else b""
        self._form: _Form | None = None
        self._misfits = 0

    def read(self, block: bytes, plain: TextOnly[Any]) -> Match | None:
        """The text of a block, or None if it has to go down another lane."""
        if self._misfits >= _MOST_MISFITS or not (pour or self._lead):
            return None
        if self._form is None or not block.startswith(self._form.literals[0]):
            self._form = self._found(block, plain)
        if self._form is None:
            return None
        cast = _cast(block, self._form)
        if cast is None:
            self._form = None
            self._misfits += 1
        else:
            self._misfits = 0
        return cast

    def _found(self, block: bytes, plain: TextOnly[Any]) -> _Form | None:
        """The mould of the first frame, or None if that does not show it."""
        frame = block[: block.find(self._boundary) + len(self._boundary)]
        if frame.count(b"\n") != len(self._boundary):
            return None  # JSON over several lines, which is one frame to msgspec alone
        said = self._only_text(frame, plain)
        text = said.encode() if said else b""
        at = frame.rfind(b'"%b"' % text) + 1
        if not (text and at) or text == _PROBE:
            return None
        holes = [hole := (at, at + len(text))]
        passing = plain.passing.search(frame) if pour and plain.passing else None
        if passing:
            holes = sorted([hole, passing.span(1)])
        literals = _around(frame, holes)
        if not all(literal.startswith(b'"') for literal in literals[1:]):
            return None  # one hole inside the other
        if self._only_text(_PROBE.join(literals), plain) != _PROBE.decode():
            return None  # the same words stood elsewhere as well
        return _Form(literals, holes.index(hole))

    def _only_text(self, frame: bytes, plain: TextOnly[Any]) -> str | None:
        """The text of one frame, if it is a plain one."""
        if not frame.startswith(self._lead):
            return None
        try:
            said = plain.decode(frame[len(self._lead) :])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        texts = plain.texts([said])
        return texts[0] if texts else None


def _cast(block: bytes, form: _Form) -> Match | None:
    read = pour or _by_arithmetic
    poured = read(block, form.literals, form.text)
    if poured is None:
        return None
    frames, texts = poured
    try:
        text = _decode_text(texts)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    joined = text.replace(_BETWEEN, "")
    if len(text) - len(joined) != frames - 1:
        return None  # a text has one of its own
    return Match(frames, joined)


def _around(frame: bytes, holes: Sequence[tuple[int, int]]) -> tuple[bytes, ...]:
    """What is left of a frame without its holes."""
    starts = [0, *(end for _, end in holes)]
    ends = [*(start for start, _ in holes), len(frame)]
    return tuple(frame[start:end] for start, end in zip(starts, ends, strict=True))


def _by_arithmetic(
    block: bytes, literals: tuple[bytes, ...], text: int
) -> tuple[int, bytes] | None:
    """What ``pour`` gives for events with one hole."""
    del text
    prefix, suffix = literals
    suffix = suffix.removesuffix(b"\n")
    lines = BytesIO(block).readlines()
    events = lines[::2]
    if not events[-1].endswith(suffix) or lines.count(b"\n") * 2 != len(lines):
        return None
    texts = [line.removeprefix(prefix).removesuffix(suffix) for line in events]
    whole = len(prefix) + len(suffix) + len(b"\n")
    if sum(map(len, texts)) != len(block) - len(events) * whole:
        return None
    return len(events), b'"%b"' % _BETWEEN.encode().join(texts)
