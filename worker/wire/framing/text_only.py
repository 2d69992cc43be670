r"""The lane of plain text: frames that hold a piece of it and nothing else.

Most frames do.  The types of a msgspec struct refuse every other one, so what is
left to prove is that a line holds one object, no more and no less: each line is
decoded by itself.  To cut a block into lines takes a tenth of the time of
decoding them, if the cutting is left to ``io``; to prove the same of a block that
is decoded in one go took longer.

A block with any other frame is refused and goes down the other lanes, which give
the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Generic, TypeVar

import msgspec

F = TypeVar("F", bound=msgspec.Struct)
Decode = Callable[[bytes], Any]

LEAD = b"data: "


@dataclass(frozen=True, slots=True)
class TextOnly(Generic[F]):
    """The frames of a dialect that hold text and nothing else.

    Attributes:
        decode: refuses every other frame, by the types that it declares.
        texts: of many such frames; None if one of them means more than its text.
        passing: finds the one value, in its group, that is new in each frame and means nothing.
    """

    decode: Decode
    texts: Callable[[Sequence[F]], list[str] | None]
    passing: re.Pattern[bytes] | None = None


def plain(
    struct: type[F], texts: Callable[[Sequence[F]], list[str] | None], *, passing: str | None = None
) -> TextOnly[F]:
    """Frames of this shape, and their texts; `passing` is a string that `struct` does not name."""
    found = re.compile(rb'"%b":\s*"([^"\\]*)"' % passing.encode()) if passing else None
    return TextOnly(msgspec.json.Decoder(struct).decode, texts, found)


def plain_lines(block: bytes, decode: Decode) -> list[Any] | None:
    """The frames of a block of NDJSON, or None if it has to go down another lane."""
    return _decoded(BytesIO(block).readlines(), decode)


def plain_events(block: bytes, decode: Decode) -> list[Any] | None:
    """The frames of a block of server-sent events, or None if it has to go down another lane."""
    lines = BytesIO(block).readlines()
    events = lines[::2]
    # Half of the lines are blank, and every other one begins as data does: so those are not blank.
    if lines.count(b"\n") * 2 != len(lines):
        return None
    bare = [line.removeprefix(LEAD) for line in events]
    if sum(map(len, bare)) != len(block) - len(events) * len(LEAD + b"\n"):
        return None
    return _decoded(bare, decode)


def _decoded(lines: Iterable[bytes], decode: Decode) -> list[Any] | None:
    try:
        return list(map(decode, lines))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
