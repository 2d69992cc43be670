"""JSON Lines: one object a prompt, the texts streamed into it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from worker.export.columns import columns
from worker.export.pieces import Texts, write_json

if TYPE_CHECKING:
    from worker.store.rows import ResultRow


def write(rows: Iterable[ResultRow], texts: Texts, out: TextIO, *, partial: bool) -> int:
    """Write every row; returns how many."""
    count = 0
    for row in rows:
        write_json(out, columns(row, texts, partial=partial))
        out.write("\n")
        count += 1
    return count
