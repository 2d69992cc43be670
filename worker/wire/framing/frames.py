"""Frames: what a body is cut into, by the rules of NDJSON or of server-sent events.

Bytes are split, never decoded text, and there are several ways with one result:
fast lanes (template.py, text_only.py, blocks.py) for blocks without surprises, and the careful
one (incremental.py) for everything else, which puts what it finds into the types of this
file.  decoder.py chooses.

A frame longer than ``SKIM_FROM_BYTES`` goes through a ``JsonFilter``, which keeps
what the dialect wants of it; what is kept may not exceed ``max_frame_bytes``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from worker.errors import FrameTooLarge, Malformed
from worker.wire.framing.json_filter import JsonFilter, Keep

SKIM_FROM_BYTES = 32 * 1024
VALUES_MAX = 30_000  # of one frame; each takes some microseconds, and nothing else runs meanwhile
SENTINEL = b"[DONE]"
PINGS = frozenset({"ping", "keepalive", "keep-alive", "heartbeat"})

KeepNow = Callable[[], Mapping[str, Keep]]


def most_raw_bytes(limit: int) -> int:
    """How much of one frame is held as it came, given the limit of a frame."""
    return min(SKIM_FROM_BYTES, limit)


class FrameKind(Enum):
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
    nature: FrameKind = FrameKind.DATA
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
        self._skimmer: JsonFilter | None = None

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
            if self._keep is None or self._size <= most_raw_bytes(self._limit):
                self._check(self._size)
                return
            self._skimmer = JsonFilter(self._keep())
            data = bytes(self._raw)
            self._raw.clear()
        self._skimmer.feed(data)
        self._check(self._skimmer.kept)

    def finish(self) -> bytes:
        """The content, or what is wanted of it.

        Raises:
            FrameTooLarge: it holds more than `VALUES_MAX` values.
            Malformed: a long frame is not a JSON object.
        """
        if self._skimmer is None:
            return _with_few_values(bytes(self._raw))
        try:
            return _with_few_values(self._skimmer.finish())
        except ValueError as error:
            raise Malformed(f"a long frame that is not JSON: {error}") from error

    def _check(self, held: int) -> None:
        if held > self._limit:
            raise FrameTooLarge(
                f"a frame is longer than max_frame_bytes = {self._limit}; raise that setting"
            )


def _with_few_values(text: bytes) -> bytes:
    """The same JSON text, unless it holds more values than may be parsed at one go."""
    if text.count(b",") <= VALUES_MAX:
        return text
    # Commas inside of strings are text: drop escaped quotes, then every other part is outside.
    parts = text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    if sum(part.count(b",") for part in parts[::2]) > VALUES_MAX:
        raise FrameTooLarge(f"a frame with more than {VALUES_MAX} values")
    return text
