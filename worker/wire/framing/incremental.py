"""The careful lane: frames out of any bytes, however they are laid out.

``JsonLines`` knows LF; ``EventLines`` knows CR, CRLF, LF, comments, several
data lines, fields in any order and fields of any length.  Both hold no more of
a frame than its ``FrameBody`` does, and nothing at all of lines that are
nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from worker.wire.framing.frames import Frame, FrameBody, FrameKind, KeepNow

_EOL = re.compile(rb"\r\n?|\n")
_FIELD_NAME_BYTES_MAX = 16
_EVENT_NAME_BYTES_MAX = 256


class JsonLines:
    """The careful lane of NDJSON: lines end at LF only."""

    def __init__(self, limit: int, keep: KeepNow) -> None:
        self._limit = limit
        self._keep = keep
        self._line = FrameBody(limit, keep)

    @property
    def held_bytes(self) -> int:
        """Bytes in memory."""
        return self._line.held_bytes

    def frames(self, data: bytes) -> Iterator[Frame]:
        """The frames that these bytes complete."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._line.add(data[start:end])
            yield self._finish()
            start = end + 1
        self._line.add(data[start:])

    def end(self) -> Iterator[Frame]:
        """The last line, if it has no newline."""
        yield self._finish(tail=True)

    def _finish(self, *, tail: bool = False) -> Frame:
        line, self._line = self._line, FrameBody(self._limit, self._keep)
        return Frame(line.finish(), tail=tail)


class EventLines:
    """The careful lane of server-sent events."""

    def __init__(self, limit: int, keep: KeepNow) -> None:
        self._limit = limit
        self._keep = keep
        self._after_cr = False  # a LF that comes now belongs to the CR before it
        self._head = bytearray()  # of a line whose field is not known yet
        self._at_start = True  # of a line
        self._sink: FrameBody | bytearray | None = None  # where the value of this line goes
        self._nature: FrameKind | None = None
        self._strip = False  # the one space after the colon may still come
        self._data: FrameBody | None = None
        self._event = bytearray()

    @property
    def held_bytes(self) -> int:
        """Bytes in memory."""
        line = self._sink.held_bytes if isinstance(self._sink, FrameBody) else 0
        event = self._data.held_bytes if self._data and self._data is not self._sink else 0
        return len(self._head) + len(self._event) + line + event

    def frames(self, data: bytes) -> Iterator[Frame]:
        """The frames that these bytes complete."""
        if not data:
            return
        start = 1 if self._after_cr and data.startswith(b"\n") else 0
        self._after_cr = data.endswith(b"\r")
        for newline in _EOL.finditer(data, start):
            self._piece(data[start : newline.start()])
            yield from self._line_end()
            start = newline.end()
        self._piece(data[start:])

    def end(self) -> Iterator[Frame]:
        """The last line without its end, then the event without its blank line."""
        if not self._at_start:
            for frame in self._line_end():
                yield Frame(frame.data, frame.event, frame.nature, tail=True)
        for frame in self._dispatch():
            yield Frame(frame.data, frame.event, frame.nature, tail=True)

    def _piece(self, piece: bytes) -> None:
        """A part of a line, without its end."""
        if not piece:
            return
        if self._at_start or self._head:
            self._at_start = False
            self._head += piece
            piece = self._find_field()
        if self._strip and piece:
            self._strip = False
            piece = piece.removeprefix(b" ")
        if isinstance(self._sink, FrameBody):
            self._sink.add(piece)
        elif self._sink is not None:
            self._sink += piece[: _EVENT_NAME_BYTES_MAX - len(self._sink)]

    def _find_field(self) -> bytes:
        """Decide what this line is once its head says so; returns what follows the colon."""
        head = bytes(self._head)
        if head.startswith(b"{"):
            self._open_field(FrameKind.BARE)
            return head
        name, colon, value = head.partition(b":")
        if colon:
            self._open_named(name)
            return value
        if len(head) > _FIELD_NAME_BYTES_MAX:
            self._open_field(None)
        return b""

    def _open_named(self, name: bytes) -> None:
        self._strip = True
        if name == b"data":
            if self._data is not None:
                self._data.add(b"\n")
            self._open_field(FrameKind.DATA)
        elif name == b"error":
            self._open_field(FrameKind.ERROR_FIELD)
        else:
            self._open_field(None)
            if name == b"event":
                self._event.clear()
                self._sink = self._event

    def _open_field(self, nature: FrameKind | None) -> None:
        self._head.clear()
        self._nature = nature
        if nature is FrameKind.DATA:
            self._data = self._data or FrameBody(self._limit, self._keep)
            self._sink = self._data
        else:
            self._sink = FrameBody(self._limit, self._keep) if nature else None

    def _line_end(self) -> Iterator[Frame]:
        if self._at_start:
            yield from self._dispatch()
            return
        if self._head:  # a field name without a colon is a field without a value
            self._open_named(bytes(self._head))
        nature, sink = self._nature, self._sink
        self._at_start, self._sink, self._nature, self._strip = True, None, None, False
        if isinstance(sink, FrameBody) and nature is not FrameKind.DATA and nature is not None:
            yield Frame(sink.finish(), nature=nature)

    def _dispatch(self) -> Iterator[Frame]:
        data, self._data = self._data, None
        event = bytes(self._event)
        self._event.clear()
        if len(event) < _EVENT_NAME_BYTES_MAX:  # the start of a longer name is no name
            event = event.strip()  # of bytes, as the fast lane does: U+00A0 is a letter
        if data is not None:
            yield Frame(data.finish(), event.decode("utf-8", "replace"))
