"""From bytes to frames: JSON lines and server-sent events, split on bytes only.

There are two lanes with one result.

The fast lane (``Intake``) cuts a read at the last boundary between frames and
hands on the whole frames as one block; ``pack_lines`` and ``pack_events`` turn
a block without surprises into bare JSON lines for one call of msgspec.  Nothing
is searched twice and nothing is copied but the rest of a read.

The careful lane (``JsonLines``, ``EventLines``) takes any bytes: CR, CRLF, LF,
comments, several data lines, fields in any order, frames of any length.  It is
used for a block that the fast lane refused, while a frame is too long to be
held raw, and for good once a lone CR was seen.

A frame longer than ``SKIM_FROM_BYTES`` goes through a ``Skimmer``, which keeps
what the dialect wants of it; what is kept may not exceed ``max_frame_bytes``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from worker.errors import FrameTooLarge, Malformed
from worker.wire.skim import Keep, Skimmer

SKIM_FROM_BYTES = 256 * 1024
SENTINEL = b"[DONE]"
PINGS = frozenset({"ping", "keepalive", "keep-alive", "heartbeat"})

_EOL = re.compile(rb"\r\n?|\n")
_COMMENTS = re.compile(rb"\n\n:[^\n]*(?=\n\n)")  # starts with a literal: six times faster
_LONGEST_FIELD_NAME = 16
_LONGEST_EVENT_NAME = 256
_SPECIAL_NAMES = frozenset({b"error", *(name.encode() for name in PINGS)})

KeepNow = Callable[[], Mapping[str, Keep]]


class Nature(Enum):
    """What a frame is, besides its content."""

    DATA = "data"
    ERROR_FIELD = "an `error:` field"  # old llama.cpp; not in the standard
    BARE = "a bare line that starts with {"  # gateways append error objects without `data:`


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of the protocol, not yet parsed.

    Attributes:
        event: the event name of a server-sent event, "" if it had none.
        tail: the body ended before the frame was complete by the rules of the framing.
    """

    data: bytes
    event: str = ""
    nature: Nature = Nature.DATA
    tail: bool = False


class Machine(Protocol):
    """A careful lane."""

    @property
    def held_bytes(self) -> int:
        """Bytes in memory."""
        ...

    def frames(self, data: bytes) -> Iterator[Frame]:
        """The frames that these bytes complete."""
        ...

    def end(self) -> Iterator[Frame]:
        """What is left at the end of the body, marked as tail."""
        ...


class FrameBody:
    """The content of one frame, arriving in pieces; held raw only while it is short."""

    __slots__ = ("_keep", "_limit", "_raw", "_size", "_skimmer")

    def __init__(self, limit: int, keep: KeepNow | None) -> None:
        self._limit = limit
        self._keep = keep  # None: every byte is wanted
        self._raw = bytearray()
        self._size = 0
        self._skimmer: Skimmer | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes in memory."""
        return len(self._raw) + (self._skimmer.kept if self._skimmer else 0)

    def add(self, data: bytes) -> None:
        """Take the next piece.

        Raises:
            FrameTooLarge: what has to be kept exceeds the limit.
        """
        self._size += len(data)
        if self._skimmer is None:
            self._raw += data
            if self._keep is None or self._size <= min(SKIM_FROM_BYTES, self._limit):
                self._check(self._size)
                return
            self._skimmer = Skimmer(self._keep())
            data = bytes(self._raw)
            self._raw.clear()
        self._skimmer.feed(data)
        self._check(self._skimmer.kept)

    def finish(self) -> bytes:
        """The content, or what is wanted of it.

        Raises:
            Malformed: a long frame is not a JSON object.
        """
        if self._skimmer is None:
            return bytes(self._raw)
        try:
            return self._skimmer.finish()
        except ValueError as error:
            raise Malformed(f"a frame of {self._size} bytes is not JSON: {error}") from error

    def _check(self, held: int) -> None:
        if held > self._limit:
            raise FrameTooLarge(
                f"a frame of at least {self._size} bytes, {held} of which have to be held,"
                f" exceeds max_frame_bytes = {self._limit}; raise that setting"
            )


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
        self._nature: Nature | None = None
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
        elif self._sink is not None and len(self._sink) <= _LONGEST_EVENT_NAME:
            self._sink += piece[:_LONGEST_EVENT_NAME]

    def _find_field(self) -> bytes:
        """Decide what this line is once its head says so; returns what follows the colon."""
        head = bytes(self._head)
        if head.startswith(b"{"):
            self._open_field(Nature.BARE)
            return head
        name, colon, value = head.partition(b":")
        if colon:
            self._open_named(name)
            return value
        if len(head) > _LONGEST_FIELD_NAME:
            self._open_field(None)
        return b""

    def _open_named(self, name: bytes) -> None:
        self._strip = True
        if name == b"data":
            if self._data is not None:
                self._data.add(b"\n")
            self._open_field(Nature.DATA)
        elif name == b"error":
            self._open_field(Nature.ERROR_FIELD)
        else:
            self._open_field(None)
            if name == b"event":
                self._event.clear()
                self._sink = self._event

    def _open_field(self, nature: Nature | None) -> None:
        self._head.clear()
        self._nature = nature
        if nature is Nature.DATA:
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
        if isinstance(sink, FrameBody) and nature is not Nature.DATA and nature is not None:
            yield Frame(sink.finish(), nature=nature)

    def _dispatch(self) -> Iterator[Frame]:
        data, self._data = self._data, None
        event = self._event.decode("utf-8", "replace").strip()
        self._event.clear()
        if data is not None:
            yield Frame(data.finish(), event)


class Intake:
    """The fast lane: cuts reads into blocks of whole frames.

    Args:
        boundary: what ends a frame: one LF in NDJSON, two in server-sent events.
        machine: the careful lane, for everything else.
        lone_cr: whether a CR alone may end a line (not in NDJSON).
    """

    def __init__(self, boundary: bytes, machine: Machine, *, limit: int, lone_cr: bool) -> None:
        self._boundary = boundary
        self._machine = machine
        self._most = min(SKIM_FROM_BYTES, limit)
        self._lone_cr = lone_cr
        self._cr = b""  # a CR at the end of a read: the LF may still come
        self._rest = bytearray()
        self._careful = False  # the machine is inside a frame
        self._for_good = False

    @property
    def held_bytes(self) -> int:
        """Bytes in memory."""
        return len(self._rest) + self._machine.held_bytes

    def blocks(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """Blocks in order, each with whether the fast lane may try it.

        The caller reads each block before it asks for the next one.
        """
        data = self._without_cr(data)
        if self._careful and not self._for_good:
            # Back to the fast lane where the long frame ends.
            found = data.find(self._boundary)
            if found >= 0:
                self._careful = False
                end = found + len(self._boundary)
                yield data[:end], False
                data = data[end:]
        if self._careful:
            yield self._release() + data, False
        elif data:
            yield from self._cut(data)

    def end(self) -> bytes:
        """What is left when the body ends, for the machine."""
        return self._release() + self._cr

    def _cut(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        end = data.rfind(self._boundary) + len(self._boundary)
        if end < len(self._boundary):
            straddles = self._rest.endswith(b"\n") and data.startswith(b"\n")
            end = 1 if straddles and len(self._boundary) > 1 else 0
        if end:
            yield self._release() + data[:end], True
        self._rest += data[end:]
        if len(self._rest) > self._most:
            self._careful = True
            yield self._release(), False

    def _release(self) -> bytes:
        rest = bytes(self._rest)
        self._rest.clear()
        return rest

    def _without_cr(self, data: bytes) -> bytes:
        """CRLF as LF; a CR that stands alone sends the rest of the stream to the machine."""
        if self._for_good or not (self._cr or b"\r" in data):
            return data
        data = self._cr + data
        self._cr = b"\r" if data.endswith(b"\r") else b""
        data = data.removesuffix(b"\r")
        plain = data.replace(b"\r\n", b"\n")
        if self._lone_cr and b"\r" in plain:
            self._careful = self._for_good = True
            data, self._cr = data + self._cr, b""
            return data
        return plain


@dataclass(frozen=True, slots=True)
class Packed:
    """A block without surprises: bare JSON lines, none of them named `error`.

    Attributes:
        sentinel: `[DONE]` followed them.
    """

    lines: bytes
    sentinel: bool = False


def pack_lines(block: bytes) -> Packed | None:
    """A block of NDJSON for the fast lane."""
    return Packed(block[:-1])


def pack_events(block: bytes) -> Packed | None:
    """A block of server-sent events for the fast lane, or None if it is not of the plain kind.

    The plain kinds are events of one data line each, with or without one event
    line before it, and comments between events.  Whatever slips through here does not look like bare JSON
    lines and is refused by the caller, who counts them.
    """
    if block.startswith(b":") or b"\n:" in block:
        block = _COMMENTS.sub(b"", b"\n\n" + block)[2:]
    if not block:
        return Packed(b"")
    if block.startswith(b"data:"):
        lead = b"data: " if block.startswith(b"data: ") else b"data:"
        last = lead + SENTINEL + b"\n\n"
        if block == last:
            return Packed(b"", sentinel=True)
        sentinel = block.endswith(b"\n" + last)
        if sentinel:
            block = block[: -len(last)]
        return Packed(block[len(lead) : -2].replace(b"\n\n" + lead, b"\n"), sentinel)
    if not block.startswith(b"event: "):
        return None
    lines = block.split(b"\n")
    names, blanks = set(lines[0:-1:3]), lines[2::3]
    if len(lines) % 3 != 1 or any(blanks) or not _all_plain_names(names):
        return None
    return Packed(b"\n".join(lines[1::3]).removeprefix(b"data: ").replace(b"\ndata: ", b"\n"))


def _all_plain_names(names: set[bytes]) -> bool:
    return all(
        name.startswith(b"event: ") and name[7:].strip() not in _SPECIAL_NAMES for name in names
    )


def is_plain(lines: bytes, frames: int) -> bool:
    """Whether the packed bytes were exactly one JSON object per line, given how many were found.

    A line break between `}` and `{` can only stand between two objects, so when
    there are as many of these as line breaks, and one object more than that, no
    object spans lines and no line holds two.
    """
    breaks = lines.count(b"\n")
    return breaks == frames - 1 == lines.count(b"}\n{")
