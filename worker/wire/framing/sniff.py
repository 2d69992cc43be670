"""The first bytes of a body: is this a stream at all?

A proxy may put a byte order mark before the first frame; it is taken off once.
And a 200 response may be no stream: a login page, a JSON error, or the whole
answer in one (pretty-printed) object because the server ignored `stream: true`.
Content types lie in both directions, so the bytes decide.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

_BOM = b"\xef\xbb\xbf"
_PATIENCE_BYTES = 1024


class BodyKind(Enum):
    """What a body is."""

    UNDECIDED = "more bytes are needed"
    STREAM = "frames"
    WHOLE = "one document"


Judge = Callable[[bytes], BodyKind]


class BodySniffer:
    """Holds the first bytes until it is clear what they are; a few of them, as a rule."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._held = b""
        self._checked_bom = False

    @property
    def held_bytes(self) -> int:
        """Bytes in memory."""
        return len(self._held)

    def feed(self, data: bytes) -> tuple[BodyKind, bytes]:
        """What the body is, with all bytes so far (without the mark) once that is decided."""
        held = self._held + data
        if not self._checked_bom:
            if len(held) < len(_BOM) and _BOM.startswith(held):
                self._held = held
                return BodyKind.UNDECIDED, b""
            held = held.removeprefix(_BOM)
            self._checked_bom = True
        sort = self._judge(held)
        if sort is BodyKind.UNDECIDED and len(held) > _PATIENCE_BYTES:
            sort = BodyKind.STREAM
        self._held = held if sort is BodyKind.UNDECIDED else b""
        return sort, (b"" if sort is BodyKind.UNDECIDED else held)

    def end(self) -> bytes:
        """The bytes of a body that ended undecided."""
        held, self._held = self._held, b""
        return held


def judge_lines(start: bytes) -> BodyKind:
    """NDJSON: no line of it is HTML or an opening bracket alone."""
    start = start.lstrip(b" \t\r\n")
    if start.startswith(b"<"):
        return BodyKind.WHOLE
    if not start.startswith((b"{", b"[")):
        return BodyKind.STREAM if start else BodyKind.UNDECIDED
    second = start[1:].lstrip(b" \t")[:1]
    if not second:
        return BodyKind.UNDECIDED
    return BodyKind.WHOLE if second in b"\r\n" else BodyKind.STREAM


def judge_events(start: bytes) -> BodyKind:
    """Server-sent events: no line of them starts with a bracket."""
    start = start.lstrip(b" \t\r\n")
    if not start:
        return BodyKind.UNDECIDED
    return BodyKind.WHOLE if start.startswith((b"<", b"{", b"[")) else BodyKind.STREAM
