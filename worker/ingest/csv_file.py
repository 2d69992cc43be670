"""CSV with a header line; commas, semicolons or tabs, whichever the header uses.

Rows may span lines inside quotes.  A quote that is never closed would swallow
the rest of the file, so a row has the same limit as a line; past it nobody can
say where the next row begins, and reading ends with the number of that line.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO

from worker.errors import InputError
from worker.ingest.intake import BadLine, Intake
from worker.ingest.lines import not_utf8, read_lines
from worker.ingest.rows import check_columns, from_cells
from worker.records import NewPrompt

_DELIMITERS = ",;\t"


class _Feed:
    """Lines for `csv.reader`, counted, and kept as bytes until their row is complete."""

    def __init__(self, source: BinaryIO, max_bytes: int) -> None:
        self._lines = read_lines(source, max_bytes)
        self._max_bytes = max_bytes
        self._row: list[bytes] = []
        self._row_bytes = 0
        self._number = 0
        self.starts_at = 0  # the line on which the row at hand begins
        self.fault: str | None = None  # what is wrong with the row at hand

    def begin_row(self) -> None:
        self._row.clear()
        self._row_bytes = 0
        self.starts_at = self._number + 1
        self.fault = None

    @property
    def raw(self) -> bytes:
        return b"\n".join(self._row)

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        item = next(self._lines)
        if isinstance(item, BadLine):
            self._number = item.number
            self.fault = item.reason
            return "\n"
        self._number, raw = item
        self._row_bytes += len(raw) + 1
        if self._row_bytes > self._max_bytes:
            raise InputError(
                f"line {self.starts_at} begins a row of more than max_line_bytes"
                f" ({self._max_bytes}): is a quote never closed? The rest was not read"
            )
        self._row.append(raw)
        try:
            return raw.decode() + "\n"
        except UnicodeDecodeError as error:
            self.fault = not_utf8(self._number, error).reason
            # The quotes still count, or the rows that follow would be misread.
            return raw.decode(errors="replace") + "\n"


def prompts(source: BinaryIO, intake: Intake) -> Iterator[NewPrompt | BadLine]:
    """Every row as a prompt, or as what is wrong with it; numbers are those of lines."""
    # The module's own 128 KiB is too small for prompts; past this one the feed says it better.
    csv.field_size_limit(intake.max_line_bytes + 1)
    feed = _Feed(source, intake.max_line_bytes)
    header, rows = _opened(feed)
    if header:
        check_columns(header, intake)
    while True:
        feed.begin_row()
        try:
            cells = next(rows, None)
        except csv.Error as error:
            yield BadLine(feed.starts_at, f"is not valid CSV: {error}")
            continue
        if cells is None:
            return
        if feed.fault:
            yield BadLine(feed.starts_at, feed.fault)
        elif len(cells) == len(header):
            named = dict(zip(header, cells, strict=True))
            yield from_cells(feed.starts_at, named, feed.raw, intake)
        elif cells:
            yield BadLine(
                feed.starts_at,
                f"has {len(cells)} of the header's {len(header)} cells: quote what holds commas",
            )


def _opened(feed: _Feed) -> tuple[list[str], Iterator[list[str]]]:
    """The header, and the rows that follow it."""
    feed.begin_row()
    first = next(feed, "")
    if feed.fault:
        raise InputError(f"line 1 {feed.fault}")
    delimiter = max(_DELIMITERS, key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise InputError(f"has the column {min(twice)!r} twice in its header: rename one")
    return header, csv.reader(feed, delimiter=delimiter, strict=True)
