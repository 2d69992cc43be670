"""A whole file as one prompt: its custom_id is the name of the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from worker.errors import InputError
from worker.ingest.intake import BadLine, Intake, RequestLine, unstorable
from worker.ingest.lines import BOM, not_utf8
from worker.ingest.rows import check_columns, from_row
from worker.records import NewPrompt

STDIN = "-"
_UNIT = "file"
_ID_CHARS_MAX = 512
_COLUMNS = ("text", "custom_id")  # what a template can name


def prompts(source: BinaryIO, intake: Intake) -> Iterator[NewPrompt | BadLine]:
    """The only prompt of a file; none of a file that holds nothing but blanks."""
    if intake.template or intake.id_column:
        check_columns(_COLUMNS, intake)
    text = whole_text(source, intake.max_line_bytes)
    if not text.strip():
        return
    named = intake.batch is not None and intake.name != STDIN
    if named and unstorable(intake.name):
        raise InputError("has a name that is not UTF-8: rename it")
    custom_id = intake.name if named and len(intake.name) <= _ID_CHARS_MAX else None
    if intake.template or intake.id_column:
        row = {"text": text, "custom_id": custom_id}
        yield from_row(1, row, text.encode(), intake, unit=_UNIT)
        return
    line = RequestLine(prompt=text, custom_id=custom_id)
    yield intake.finished(1, line, text.encode("utf-8", "replace"), unit=_UNIT, check_text=True)


def whole_text(source: BinaryIO, max_bytes: int) -> str:
    """All of a source as text, with LF at the ends of its lines.

    Raises:
        InputError: it is longer than `max_bytes`, or not UTF-8.
    """
    data = source.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise InputError(f"has more than max_line_bytes ({max_bytes}): raise it in spool.toml")
    try:
        return data.removeprefix(BOM).decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(not_utf8(1, error).reason) from error
