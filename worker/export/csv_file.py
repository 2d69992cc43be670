"""CSV as RFC 4180 has it; cells are written in pieces, so a long answer is never whole in memory.

An absent value is an empty cell, an empty text is `""`: readers that care can tell.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from worker.clock import iso
from worker.export.columns import COLUMNS, columns
from worker.export.pieces import AsStored, Pieces, Texts

if TYPE_CHECKING:
    from worker.store.rows import ResultRow

_encode = json.JSONEncoder(ensure_ascii=False).encode


def write(rows: Iterable[ResultRow], texts: Texts, out: TextIO, *, partial: bool) -> int:
    """Write a header and every row; returns how many rows."""
    out.write(",".join(COLUMNS) + "\r\n")
    count = 0
    for row in rows:
        line: list[str] = []  # what is in memory is written at once
        for value in columns(row, texts, partial=partial).values():
            if isinstance(value, Pieces) and value.only is None:
                out.write(",".join([*line, '"']))
                out.writelines(part.replace('"', '""') for part in value)
                line = ['"']
            else:
                line.append(_cell(value))
        out.write(",".join(line) + "\r\n")
        count += 1
    return count


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()  # as JSON spells it
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Pieces):
        value = value.only
    elif isinstance(value, AsStored):
        value = value.text
    elif not isinstance(value, str):
        value = _encode(value)
    quoted = value.replace('"', '""')
    return f'"{quoted}"'
