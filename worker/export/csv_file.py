"""CSV as RFC 4180 has it; cells are written in pieces, so a long answer is never whole in memory.

An absent value is an empty cell, an empty text is `""`: readers that care can tell.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from worker.export.columns import COLUMNS, columns
from worker.export.pieces import Pieces, Texts, iso

if TYPE_CHECKING:
    from worker.store.rows import ResultRow


def write(rows: Iterable[ResultRow], texts: Texts, out: TextIO, *, partial: bool) -> int:
    """Write a header and every row; returns how many rows."""
    out.write(",".join(COLUMNS) + "\r\n")
    count = 0
    for row in rows:
        for number, value in enumerate(columns(row, texts, partial=partial).values()):
            if number:
                out.write(",")
            _write_cell(out, value)
        out.write("\r\n")
        count += 1
    return count


def _write_cell(out: TextIO, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, (bool, int, float)):
        out.write(str(value))
        return
    if isinstance(value, datetime):
        out.write(iso(value))
        return
    if isinstance(value, str):
        value = Pieces((value,))
    elif not isinstance(value, Pieces):
        value = Pieces((json.dumps(value, ensure_ascii=False),))
    out.write('"')
    out.writelines(part.replace('"', '""') for part in value)
    out.write('"')
