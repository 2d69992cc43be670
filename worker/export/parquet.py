"""Parquet, with the extra `parquet`.

The format wants whole values and whole columns, so this is the one export that
holds texts in memory: at most a row group, which ends at a number of rows or of
characters, whichever comes first; and at least one row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO

from worker.errors import InputError
from worker.export.columns import COLUMNS, columns
from worker.export.pieces import AsStored, Pieces, Texts
from worker.installation.install_advice import install_command

if TYPE_CHECKING:
    from worker.store.rows import ResultRow

_GROUP_ROWS = 10_000
_GROUP_CHARACTERS = 32 * 1024 * 1024
_INTEGERS = (
    *("id", "run_id", "text_run_id", "prompt_tokens", "completion_tokens", "attempts"),
    *("carried_chars", "total_prompt_tokens", "total_completion_tokens"),
)
_TIMES = ("created_at", "finished_at")


def write(rows: Iterable[ResultRow], texts: Texts, out: BinaryIO, *, partial: bool) -> int:
    """Write every row; returns how many.  Raises InputError without pyarrow."""
    arrow, parquet = library()
    schema = _schema(arrow)
    count = 0
    group: list[dict[str, Any]] = []
    characters = 0
    with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        for row in rows:
            values = {
                name: _whole(value) for name, value in columns(row, texts, partial=partial).items()
            }
            group.append(values)
            characters += sum(len(value) for value in values.values() if isinstance(value, str))
            count += 1
            if len(group) >= _GROUP_ROWS or characters >= _GROUP_CHARACTERS:
                writer.write_table(arrow.Table.from_pylist(group, schema=schema))
                group, characters = [], 0
        if group:
            writer.write_table(arrow.Table.from_pylist(group, schema=schema))
    return count


def library() -> tuple[Any, Any]:
    """Pyarrow, which is large and optional: imported when a Parquet file is written."""
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise InputError(
            f"writing Parquet needs pyarrow: run `{install_command('pyarrow>=18')}`"
        ) from None


def _schema(arrow: Any) -> Any:
    types = dict.fromkeys(COLUMNS, arrow.large_string())
    types |= dict.fromkeys(_INTEGERS, arrow.int64())
    types |= dict.fromkeys(_TIMES, arrow.timestamp("us", tz="UTC"))
    types |= dict.fromkeys(("seconds", "first_text_seconds"), arrow.float64())
    types |= dict.fromkeys(("truncated", "spliced"), arrow.bool_())
    return arrow.schema(list(types.items()))


def _whole(value: Any) -> Any:
    if isinstance(value, Pieces):
        return value.whole()
    if isinstance(value, AsStored):
        return value.text
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, ensure_ascii=False)
    return value
