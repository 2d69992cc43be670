r"""The lane above all: events that differ in their text alone.

A server that streams over one connection repeats itself: the same id, the same
model, the same everything around a few new letters.  What stands before the text
and what stands after it is the *mould*; a block is read by taking it off every
line, and all that is left is decoded as one string.

That the mould is what it seems is proved once, by decoding it around a text of
ours.  That every line is cast in it is proved by arithmetic: to take a prefix
and a suffix off can shorten a line by no more than both, so when all lines
together are shorter by as much, each of them had both.  What is left of a line is
the text of its frame if it is the inside of a JSON string; so it is joined by a
character after which no escape, no letter and no half of one can go on, and
decoded in one go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import msgspec

from worker.wire.plain import LEAD, Plain

_BETWEEN = "\x7f"  # allowed in a string of JSON, and not after a backslash
_PROBE = "a text of ours"
_MOST_FAILURES = 8  # in a row; then this server puts something new into every frame

_decode_text = msgspec.json.Decoder(str).decode


@dataclass(frozen=True, slots=True)
class Cast:
    """What a block said: one text for all of its frames."""

    frames: int
    text: str


class Mould:
    """Reads blocks of server-sent events; belongs to one response."""

    __slots__ = ("_failures", "_prefix", "_suffix")

    def __init__(self) -> None:
        self._prefix = b""  # none found yet
        self._suffix = b""
        self._failures = 0

    def read(self, block: bytes, plain: Plain[Any]) -> Cast | None:
        """The text of a block, or None if it has to go down another lane."""
        if self._failures >= _MOST_FAILURES:
            return None
        if not self._fits(block) and not self._find(block, plain):
            self._failures += 1
            return None
        cast = _cast(BytesIO(block).readlines(), len(block), self._prefix, self._suffix)
        self._failures = 0 if cast else self._failures + 1
        return cast

    def _fits(self, block: bytes) -> bool:
        return bool(self._prefix) and block.startswith(self._prefix)

    def _find(self, block: bytes, plain: Plain[Any]) -> bool:
        """Take the mould of the first frame; False if that does not show it."""
        line = block[: block.find(b"\n") + 1]
        text = _only_text(line, plain)
        if not text or not text.isascii() or not text.isprintable():
            return False
        at = line.rfind(b'"%b"' % text.encode()) + 1
        prefix, suffix = line[:at], line[at + len(text) :]
        if at and _only_text(prefix + _PROBE.encode() + suffix, plain) == _PROBE:
            self._prefix, self._suffix = prefix, suffix
            return True
        return False


def _only_text(line: bytes, plain: Plain[Any]) -> str | None:
    """The text of one line, if it is a plain frame."""
    if not line.startswith(LEAD):
        return None
    try:
        frame = plain.decode(line[len(LEAD) :])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    texts = plain.texts([frame])
    return texts[0] if texts else None


def _cast(lines: Sequence[bytes], size: int, prefix: bytes, suffix: bytes) -> Cast | None:
    events = lines[::2]
    count = len(events)
    if not events[-1].endswith(suffix) or lines.count(b"\n") * 2 != len(lines):
        return None
    texts = [line.removeprefix(prefix).removesuffix(suffix) for line in events]
    if sum(map(len, texts)) != size - count * (len(prefix) + len(suffix) + len(b"\n")):
        return None
    between = _BETWEEN.encode()
    try:
        text = _decode_text(b'"%b"' % between.join(texts))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Cast(count, text.replace(_BETWEEN, "")) if text.count(_BETWEEN) == count - 1 else None
