"""JSON Lines: one request a line, in Spool's own words, OpenAI's, Anthropic's or a data set's.

Its keys say which of them a line is (`body`, `params`, or neither), line by line, so that mixed
files work.  Lines in Spool's own words are decoded straight into their fields, which is fast; all
others take the way of rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from worker.ingest.intake import BadLine, Intake, RequestLine, decoding_fault, unstorable
from worker.ingest.lines import not_utf8, read_lines
from worker.ingest.rows import from_line, from_row
from worker.records import NewPrompt

_LINE = msgspec.json.Decoder(RequestLine)
_ANY = msgspec.json.Decoder(dict[str, Any])
_NUL_ESCAPE = b"\\u0000"


def prompts(source: BinaryIO, intake: Intake) -> Iterator[NewPrompt | BadLine]:
    """Every line of the file, as a prompt or as what is wrong with it."""
    decode = _from_row if intake.template or intake.id_column else _from_line
    for item in read_lines(source, intake.max_line_bytes):
        if isinstance(item, BadLine):
            yield item
            continue
        number, raw = item
        if not raw or raw.isspace():
            continue
        try:
            yield decode(number, raw, intake)
        except msgspec.ValidationError as error:
            yield BadLine(number, decoding_fault(error))
        except UnicodeDecodeError:
            yield _encoding_fault(number, raw)
        except (msgspec.DecodeError, RecursionError) as error:
            yield BadLine(number, _syntax_fault(raw, error))


def _from_line(number: int, raw: bytes, intake: Intake) -> NewPrompt | BadLine:
    try:
        line = _LINE.decode(raw)
    except msgspec.ValidationError:
        # Not Spool's own words, or not their types: the table of other words is asked.
        return from_row(number, _ANY.decode(raw), raw, intake, checked=True)
    # JSON is checked for what databases cannot store by its bytes, which is quick and nearly
    # always says no; only then by its values (an escaped backslash before u0000 is harmless).
    if _NUL_ESCAPE in raw and (reason := unstorable(msgspec.structs.asdict(line))):
        return BadLine(number, reason)
    return from_line(number, line, raw, intake)


def _from_row(number: int, raw: bytes, intake: Intake) -> NewPrompt | BadLine:
    return from_row(number, _ANY.decode(raw), raw, intake)


def _encoding_fault(number: int, raw: bytes) -> BadLine:
    """Count from the start of the line; msgspec counts from the start of a string."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return not_utf8(number, error)
    return BadLine(number, "is not UTF-8")


def _syntax_fault(raw: bytes, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if b"\\ud" in raw.lower():
        try:
            return unstorable(json.loads(raw)) or f"is not valid JSON: {error}"
        except (ValueError, RecursionError):
            pass
    if not raw.lstrip().startswith(b"{"):
        return 'is not a JSON object: each line must be one, such as {"prompt": "..."}'
    words = str(error)
    if "truncated" in words:
        return "is not valid JSON: it ends too early"
    return f"is not valid JSON: {words.removeprefix('JSON is malformed: ')}"
