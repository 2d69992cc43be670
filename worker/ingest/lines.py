"""Bytes into lines, with a limit: a line that is too long is skipped, not loaded.

Lines end with LF or CRLF; a UTF-8 byte order mark at the start is dropped.
Only bytes are split, so that the line separators of Unicode, which may stand
inside a JSON string, do not end a line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from worker.ingest.intake import BadLine, Intake
from worker.ingest.rows import check_columns, from_row
from worker.records import NewPrompt

_BLOCK_BYTES = 1 << 18
SAVE_AS_UTF8 = "save it as UTF-8 (Windows or Latin-1 wrote it? iconv -f WINDOWS-1252 -t UTF-8)"
BOM = b"\xef\xbb\xbf"


def read_lines(source: BinaryIO, max_bytes: int) -> Iterator[tuple[int, bytes] | BadLine]:
    """Every line with its number, counted from 1; `BadLine` for one above `max_bytes`."""
    number = 0
    held: list[bytes] = []  # pieces of a line whose end has not been read yet
    held_bytes = 0  # how long that line is so far, also when its pieces were let go
    first = True
    while block := source.read(_BLOCK_BYTES):
        if first:
            block = block.removeprefix(BOM)
            first = False
        head, *rest = block.split(b"\n")
        held_bytes += len(head)
        if held_bytes <= max_bytes:
            held.append(head)
        else:
            held.clear()
        if not rest:
            continue
        number += 1
        yield _finished(number, held, held_bytes, max_bytes)
        *whole, tail = rest
        for line in whole:
            number += 1
            yield _finished(number, [line], len(line), max_bytes)
        held, held_bytes = [tail], len(tail)
    if held_bytes:
        yield _finished(number + 1, held, held_bytes, max_bytes)


def _finished(
    number: int, pieces: list[bytes], size: int, max_bytes: int
) -> tuple[int, bytes] | BadLine:
    if size > max_bytes:
        return BadLine(
            number, f"has {size:,} bytes, more than max_line_bytes ({max_bytes}): raise it"
        )
    return number, b"".join(pieces).removesuffix(b"\r")


def plain_prompts(source: BinaryIO, intake: Intake) -> Iterator[NewPrompt | BadLine]:
    """Every line that is not blank is a prompt; templates know it as `text`."""
    templated = intake.template is not None or intake.id_column is not None
    if templated:
        check_columns(("text",), intake)
    for item in read_lines(source, intake.max_line_bytes):
        if isinstance(item, BadLine):
            yield item
            continue
        number, raw = item
        if not raw.strip():
            continue
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            yield not_utf8(number, error)
            continue
        if templated:
            yield from_row(number, {"text": text}, raw, intake)
        else:
            yield intake.from_text(number, text, raw)


def not_utf8(number: int, error: UnicodeDecodeError) -> BadLine:
    """The line is not UTF-8; the position is counted in bytes from its start."""
    return BadLine(number, f"is not UTF-8 at byte {error.start + 1}: {SAVE_AS_UTF8}")
