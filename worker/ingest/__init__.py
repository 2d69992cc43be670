"""Files in: prompts from JSON Lines, JSON, CSV, Parquet, batch files, plain lines and whole texts.

Every reader is a generator over a binary source and holds one line, row or
request at a time, so a file may be as long as it likes.  It yields a
``NewPrompt`` or a ``BadLine`` for each; a good line is never lost to a bad one.
Only what leaves no way to find the next line (a broken JSON document, an
unreadable Parquet file) raises ``InputError``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO

from worker.ingest import csv_file, document, jsonl, lines, parquet, whole_files
from worker.ingest.detect import Format, detect
from worker.ingest.encoding import readable
from worker.ingest.intake import BadLine, Intake, RequestLine
from worker.ingest.rows import check_columns, from_row
from worker.ingest.whole_files import whole_text
from worker.records import NewPrompt

__all__ = [
    "BadLine", "Format", "Intake", "detect", "from_texts", "prompts", "readable", "whole_text",
]  # fmt: skip

_READERS = {
    Format.JSONL: jsonl.prompts,
    Format.JSON: document.prompts,
    Format.CSV: csv_file.prompts,
    Format.PARQUET: parquet.prompts,
    Format.LINES: lines.plain_prompts,
    Format.TEXT: whole_files.prompts,
}


def prompts(source: BinaryIO, file_format: Format, intake: Intake) -> Iterator[NewPrompt | BadLine]:
    """Every prompt of a source, in order, as it is read."""
    return _READERS[file_format](source, intake)


def from_texts(
    texts: Sequence[str], intake: Intake, custom_id: str | None = None
) -> Iterator[NewPrompt | BadLine]:
    """Prompts typed on a command line: each is meant as new, so none gets a derived id."""
    if intake.template or intake.id_column:
        check_columns(("text",), intake)
    for number, text in enumerate(texts, start=1):
        if intake.template:
            row = {"text": text, "custom_id": custom_id}
            yield from_row(number, row, b"", replace(intake, batch=None), unit="-p")
        else:
            line = RequestLine(prompt=text, custom_id=custom_id)
            yield intake.finished(number, line, None, unit="-p", check_text=True)
