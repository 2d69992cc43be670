"""JSON written in pieces: a text in the middle of an object is never whole in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Protocol, TextIO

import msgspec

from worker.clock import iso
from worker.records import Json, Kind
from worker.wire.tool_calls import assemble_tool_calls

# `json.dumps` with these options would make an encoder for every single value.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Texts(Protocol):
    """Where the text of a run is read from, piece by piece."""

    def text(
        self, run_id: int, kind: Kind = Kind.TEXT, after_seq: int = -1
    ) -> Iterable[tuple[int, str]]:
        """The chunks of one kind of a run, in order."""
        ...


class Pieces:
    """A string value that is written as it is read; can be gone through once.

    Attributes:
        only: the text, if it is a single piece and therefore in memory already.
    """

    __slots__ = ("_parts", "only")

    def __init__(self, parts: Iterable[str], *, only: str | None = None) -> None:
        self._parts = parts
        self.only = only

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def whole(self) -> str:
        """All of it, for formats that hold a value in memory."""
        return "".join(self._parts)


class AsStored:
    """JSON as it is stored: it is handed on, whether or not anybody could read it."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def of(cls, text: str | None) -> AsStored | None:
        """The document, if there is one."""
        return None if text is None else cls(text)

    def line(self) -> str:
        """The document without line ends; between its values they mean nothing."""
        return self.text.replace("\r", " ").replace("\n", " ")


def text_of(texts: Texts, run_id: int | None, kind: Kind = Kind.TEXT) -> Pieces | None:
    """What a run produced of one kind; None if it produced nothing."""
    if run_id is None:
        return None
    chunks = iter(texts.text(run_id, kind))
    first = next(chunks, None)
    if first is None:
        return None
    second = next(chunks, None)
    if second is None:
        return Pieces((first[1],), only=first[1])

    def parts() -> Iterator[str]:
        yield first[1]
        yield second[1]
        yield from (text for _, text in chunks)

    return Pieces(parts())


def calls_of(texts: Texts, run_id: int | None) -> list[dict[str, Json]]:
    """The whole tool calls of a run, put together from their pieces."""
    pieces = text_of(texts, run_id, Kind.TOOL_CALLS)
    return assemble_tool_calls(pieces.whole()) if pieces else []


class _InPieces(Exception):
    """Some text in the value is not in memory."""


def _at_once(value: Any) -> Any:
    if isinstance(value, Pieces):
        if value.only is None:
            raise _InPieces
        return value.only
    if isinstance(value, AsStored):
        return msgspec.Raw(value.line().encode())
    raise TypeError(f"{type(value).__name__} is no JSON")


_encode_at_once = msgspec.json.Encoder(enc_hook=_at_once).encode


def write_line(out: TextIO, value: Any) -> None:
    """Write a value that holds no times as `write_json` does, and end the line.

    A value whose texts are all in memory is written at once, which takes a tenth of the time.
    """
    try:
        encoded = _encode_at_once(value)
    except (_InPieces, OverflowError):  # msgspec writes no number of more than 64 bits
        write_json(out, value)
        out.write("\n")
    else:
        out.write(encoded.decode() + "\n")


def write_json(out: TextIO, value: Any) -> None:
    """Write a value as compact JSON; `Pieces` anywhere inside become strings."""
    if isinstance(value, Pieces):
        out.write('"')
        out.writelines(_encode(part)[1:-1] for part in value)
        out.write('"')
    elif isinstance(value, AsStored):
        out.write(value.line())
    elif isinstance(value, dict):
        _write_items(out, "{}", value.items())
    elif isinstance(value, list):
        _write_items(out, "[]", ((None, item) for item in value))
    else:
        out.write(_encode(_plain(value)))


def _write_items(out: TextIO, brackets: str, items: Iterable[tuple[str | None, Any]]) -> None:
    out.write(brackets[0])
    for number, (key, item) in enumerate(items):
        if number:
            out.write(",")
        if key is not None:
            out.write(_encode(key) + ":")
        write_json(out, item)
    out.write(brackets[1])


def _plain(value: Any) -> Any:
    return iso(value) if isinstance(value, datetime) else value
