"""One JSON document of many requests: `[{...}, ...]`, or Anthropic's `{"requests": [...]}`.

Such a file has no lines to split at, and may be larger than memory.  A window
slides over it: one element at a time is parsed by the standard library's
scanner, which says where it ended; when it runs out of text the window grows,
by doubling, up to the limit of a line.  After a fault in the syntax nobody can
say where the next element begins, so reading ends there.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from worker.errors import InputError
from worker.ingest.intake import BadLine, Intake, RequestLine, unstorable
from worker.ingest.lines import SAVE_AS_UTF8
from worker.ingest.rows import from_line, from_row
from worker.records import NewPrompt

_BLOCK_BYTES = 1 << 16
_SPACE = " \t\r\n"
_REQUESTS = "requests"
_UNIT = "request"


def prompts(source: BinaryIO, intake: Intake) -> Iterator[NewPrompt | BadLine]:
    """Every element as a prompt, or as what is wrong with it; elements count from 1."""
    window = _Window(source, intake.max_line_bytes)
    _enter_array(window)
    number = 0
    while window.ahead() != "]":
        number += 1
        window.where = f"request {number}"
        yield _prompt(number, window.value(), intake)
        if window.ahead() != ",":
            break
        window.take(",")
    window.take("]")


def _prompt(number: int, value: Any, intake: Intake) -> NewPrompt | BadLine:
    if isinstance(value, str):
        value = {"prompt": value}
    if not isinstance(value, dict):
        return BadLine(number, "is not an object", _UNIT)
    if reason := unstorable(value):
        return BadLine(number, reason, _UNIT)
    raw = json.dumps(value, sort_keys=True).encode()
    if intake.template or intake.id_column:
        return from_row(number, value, raw, intake, unit=_UNIT)
    try:
        line = msgspec.convert(value, RequestLine)
    except msgspec.ValidationError:
        return from_row(number, value, raw, intake, unit=_UNIT, checked=True)
    return from_line(number, line, raw, intake, _UNIT)


def _enter_array(window: _Window) -> None:
    """Go to the first element of the array, past the keys before `requests` if there are any."""
    if window.ahead() == "[":
        window.take("[")
        return
    window.take("{")
    while window.ahead() == '"':
        key = window.value()
        window.take(":")
        if key == _REQUESTS:
            window.take("[")
            return
        window.value()
        if window.ahead() == ",":
            window.take(",")
    raise InputError('is one JSON object without "requests": put one request on each line instead')


def _habit(found: str) -> str:
    """What other languages allow at this place, and JSON does not."""
    if found and found in "/#":
        return " (JSON allows no comments: remove them)"
    return f" (JSON allows no comma before {found}: remove it)" if found and found in "]}" else ""


class _Window:
    """The part of the file at hand, as text."""

    def __init__(self, source: BinaryIO, max_bytes: int) -> None:
        self._source = source
        self._max_bytes = max_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._scan = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._ended = False
        self.where = "its beginning"

    def ahead(self) -> str:
        """The next character that is not space; nothing at the end of the file."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._grow(_BLOCK_BYTES):
                return ""

    def take(self, wanted: str) -> None:
        """Go past a character that must be next."""
        found = self.ahead()
        if found != wanted:
            what = f"found {found!r}" if found else "the file ends"
            raise InputError(
                f"is not valid JSON after {self.where}: {what} where {wanted!r} must be"
                f"{_habit(found)}; the rest was not read"
            )
        self._at += 1

    def value(self) -> Any:
        """Go past a whole value, and return it."""
        self.ahead()
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except RecursionError:
                raise InputError(f"is nested too deeply in {self.where}") from None
            except json.JSONDecodeError as error:
                found = self._text[error.pos : error.pos + 1]
                held = len(self._text) - self._at
                if held <= self._max_bytes and self._grow(max(_BLOCK_BYTES, held)):
                    continue
                raise InputError(self._fault(held, error.msg + _habit(found))) from None
            # A number may go on behind the edge of the window; nothing else can.
            if end == len(self._text) and self._grow(_BLOCK_BYTES):
                continue
            self._at = end
            return value

    def _fault(self, held: int, words: str) -> str:
        if held > self._max_bytes:
            return (
                f"has more than max_line_bytes ({self._max_bytes}) in {self.where}, or is not"
                " valid JSON there; the rest was not read"
            )
        return f"is not valid JSON in {self.where}: {words}; the rest was not read"

    def _grow(self, size: int) -> bool:
        """Let go of what was read, and read on; False at the end of the file."""
        if self._ended:
            return False
        block = self._source.read(size)
        self._ended = not block
        try:
            more = self._decoder.decode(block, final=self._ended)
        except UnicodeDecodeError:
            raise InputError(f"is not UTF-8 in or after {self.where}: {SAVE_AS_UTF8}") from None
        self._text = self._text[self._at :] + more
        self._at = 0
        return not self._ended or bool(more)
