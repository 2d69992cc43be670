"""Which format a file has: by its name where that says enough, else by its first bytes."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePath
from typing import Protocol

import msgspec

from worker.errors import InputError

_BY_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "lines",
    ".text": "lines",
}
_COMPRESSED = {
    b"\x1f\x8b": "zcat",
    b"\x28\xb5\x2f\xfd": "zstdcat",
    b"BZh": "bzcat",
    b"\xfd7zXZ": "xzcat",
}
_NO_TEXT = bytes(set(range(32)) - set(b"\t\n\x0b\f\r\x1b") | {127})
_BINARY_SHARE = 50  # text has a stray control character; of binary data every tenth byte is one


class Format(StrEnum):
    """The formats that `add` reads; batch files of OpenAI and Anthropic are `jsonl` or `json`."""

    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    LINES = "lines"
    TEXT = "text"


class Peekable(Protocol):
    """A source whose first bytes can be looked at without reading them."""

    def peek(self, size: int = 0, /) -> bytes:
        """Some bytes from where reading will begin."""
        ...


def detect(name: str, source: Peekable, *, whole: bool = False) -> Format:
    """The format of a file; with `whole`, what is no table or list of requests is one text.

    Raises:
        InputError: it cannot be prompts as it is.
    """
    start = source.peek(65536)
    for magic, tool in _COMPRESSED.items():
        if start.startswith(magic):
            raise InputError(f"is compressed: {tool} {name} | spool add -")
    if start.startswith(b"PAR1"):
        return Format.PARQUET
    if len(start) - len(start.translate(None, _NO_TEXT)) > 1 + len(start) // _BINARY_SHARE:
        raise InputError("is not text: prompts are jsonl, json, csv, parquet or plain text")
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    suffix = PurePath(name.lower().removesuffix(".gz")).suffix
    found = Format(_BY_SUFFIX[suffix]) if suffix in _BY_SUFFIX else _by_content(text)
    if found is Format.JSONL and text.startswith(b"["):
        return Format.JSON  # no line of JSON Lines begins so
    return Format.TEXT if whole and found is Format.LINES else found


def _by_content(start: bytes) -> Format:
    if start.startswith(b"["):
        return Format.JSON
    if not start.startswith(b"{"):
        return Format.LINES
    first, newline, _ = start.partition(b"\n")
    try:
        keys = msgspec.json.decode(first, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Not whole on one line: a document, unless the line is only longer than what was seen.
        return Format.JSON if newline or b'"requests"' in first[:4096] else Format.JSONL
    return Format.JSON if "requests" in keys else Format.JSONL
