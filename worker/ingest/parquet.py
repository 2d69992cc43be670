"""Parquet, a thousand rows at a time; needs the extra `parquet`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, BinaryIO

import msgspec

from worker.errors import InputError
from worker.ingest.conversation import without_gaps
from worker.ingest.intake import BadLine, Intake
from worker.ingest.rows import check_columns, from_row
from worker.installation.install_advice import install_command
from worker.records import NewPrompt

_ROWS = 1000


def prompts(source: BinaryIO, intake: Intake) -> Iterator[NewPrompt | BadLine]:
    """Every row as a prompt, or as what is wrong with it; rows count from 1."""
    arrow, parquet = _library()
    if not source.seekable():
        raise InputError("is Parquet, which cannot be read from a pipe: save it to a file first")
    number = 0
    try:
        file = parquet.ParquetFile(source)
        check_columns(file.schema_arrow.names, intake)
        for batch in file.iter_batches(batch_size=_ROWS):
            for values in batch.to_pylist():
                number += 1
                yield _prompt(number, values, intake)
    except arrow.ArrowException as error:
        where = f"row {number + 1}: " if number else ""
        raise InputError(f"{where}is not readable as Parquet: {error}") from error


def _library() -> tuple[Any, Any]:
    """Pyarrow, which is large and optional: imported when a Parquet file is read."""
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise InputError(
            f"reading Parquet needs pyarrow: run `{install_command('pyarrow>=18')}`"
        ) from None


def _prompt(number: int, values: dict[str, Any], intake: Intake) -> NewPrompt | BadLine:
    try:
        # Times, decimals and bytes become what JSON can hold.
        row = without_gaps(msgspec.to_builtins(values))
        raw = msgspec.json.encode(row)
    except (TypeError, ValueError, RecursionError) as error:
        return BadLine(number, f"holds a value that JSON cannot: {error}", "row")
    return from_row(number, row, raw, intake, unit="row")
