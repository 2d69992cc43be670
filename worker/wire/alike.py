r"""The fastest lane: blocks in which every frame is laid out like the first.

A server makes all its frames with the same code, and most of them hold a piece
of text and nothing else.  So the bytes around the end of one object and the
start of the next are the same throughout a block: its *seam*, such as
``null}]}\n\ndata: {"id":"chatcm``.  A long seam is found faster than a short
mark, for the search may skip as many bytes as it is long.

A block is accepted only if that proves that every frame is one JSON object, no
more and no less: a seam has ``}`` before its line break and ``{"`` after it,
which inside an object no valid JSON can have.  Everything else is refused, at
little cost, and goes down the other lanes, which give the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Generic, TypeVar

import msgspec

F = TypeVar("F", bound=msgspec.Struct)
Decode = Callable[[bytes], list[Any]]

_BEFORE = 12  # bytes of a seam before its line break
_AFTER = 16
_PAD = b"      "  # as long as "data: ", and nothing to JSON


@dataclass(frozen=True, slots=True)
class Plain(Generic[F]):
    """The frames of a dialect that hold text and nothing else.

    Attributes:
        decode_lines: refuses every other frame, by the types that it declares.
        texts: of many such frames; None if one of them means more than its text.
    """

    decode_lines: Decode
    texts: Callable[[Sequence[F]], list[str] | None]


def plain(struct: type[F], texts: Callable[[Sequence[F]], list[str] | None]) -> Plain[F]:
    """Frames of this shape, and their texts."""
    return Plain(msgspec.json.Decoder(struct).decode_lines, texts)


def lines_alike(block: bytes, decode_lines: Decode) -> list[Any] | None:
    """The frames of a block of NDJSON, or None if it has to go down another lane."""
    first = block.find(b"\n")
    seam = _seam(block, first, first + 1, b"\n", start=0)
    lines = len(BytesIO(block).readlines())  # a third of the time of block.count
    # Every line break but the last is within a seam: so each line holds whole objects ...
    if seam is None or (lines > 1 and block.count(seam) != lines - 1):
        return None
    frames = _decoded(block, decode_lines)
    return frames if frames is not None and len(frames) == lines else None  # ... and just one


def events_alike(block: bytes, decode_lines: Decode) -> list[Any] | None:
    """The frames of a block of server-sent events, or None if it has to go down another lane."""
    if not block.startswith(b"data: ") or b"\0" in block:
        return None
    first = block.find(b"\n\n")
    seam = _seam(block, first, first + 8, b"\0\0data: ", start=6)
    if seam is None:
        return None
    # A line break that is in no seam stays a NUL, which JSON has nowhere.
    events = block[6:-2].replace(b"\n", b"\0").split(seam)
    frames = _decoded(seam.replace(b"\0\0data: ", b"\n" + _PAD).join(events), decode_lines)
    return frames if frames is not None and len(frames) == len(events) else None


def _seam(block: bytes, end: int, next_start: int, between: bytes, *, start: int) -> bytes | None:
    """What stands between the frame that begins at `start` and ends at `end`, and the next."""
    after = block[start : min(start + _AFTER, end)]
    before = block[max(start, end - _BEFORE) : end]
    if not after.startswith(b'{"') or not before.endswith(b"}"):
        return None
    if next_start < len(block) and not block.startswith(after, next_start):
        return None
    return before + between + after


def _decoded(lines: bytes, decode_lines: Decode) -> list[Any] | None:
    try:
        return decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
