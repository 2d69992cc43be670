"""JSON Lines: one object a prompt, the texts streamed into it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from worker.clock import iso
from worker.export.columns import columns
from worker.export.pieces import Texts, write_line

if TYPE_CHECKING:
    from worker.store.rows import ResultRow


def write(rows: Iterable[ResultRow], texts: Texts, out: TextIO, *, partial: bool) -> int:
    """Write every row; returns how many."""
    count = 0
    for row in rows:
        values = columns(row, texts, partial=partial)
        for name in ("created_at", "finished_at"):
            values[name] = None if values[name] is None else iso(values[name])
        write_line(out, values)
        count += 1
    return count
