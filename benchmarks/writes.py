"""Table 4: bytes written for each byte of text, the log and the checkpoints included.

PostgreSQL tells its log (WAL) and what it wrote to tables and indexes, after a
checkpoint at the end; of SQLite everything is counted that its process writes, to
the log and to the file, up to the checkpoint at closing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks import databases, harness
from benchmarks.harness import Sample, Table

RUNS = 200
LAYOUTS = {
    "spool": "**Spool**",
    "texts": "texts alone, without a key or an index",
    "update": r"UPDATE text \|\| ...",  # as Markdown has it in a table
}
SIZES = ((256, 100), (4096, 16), (65536, 3))  # bytes of a flush, flushes of a run


def tables(*, short: bool) -> Iterator[Table]:
    """Spool beside the texts alone, and beside a text that grows by UPDATE."""
    table = Table(
        f"Writes: bytes written per byte of prose, {RUNS} concurrent runs, group commit",
        ("layout", "flush", "log", "tables and indexes", "total", "MB/s of text",
         "client processor time per flush"),
        notes=[databases.NAME],
    )  # fmt: skip
    with databases.databases() as made:
        for kind in databases.KINDS:
            for size, flushes in SIZES:
                contestants = {
                    layout: partial(_store, made, layout, kind, size, flushes) for layout in LAYOUTS
                }
                found = harness.alternated(contestants, 1 if short else 3)
                for layout, samples in found.items():
                    _add(table, layout, kind, size, samples)
    yield table


def _store(made: databases.Databases, layout: str, kind: str, size: int, flushes: int) -> Sample:
    url = made.new(kind)
    try:
        return harness.child("benchmarks.storing", layout, url, size, RUNS, flushes)
    finally:
        made.drop(url)  # PostgreSQL would go on to vacuum it beside the next one


def _add(table: Table, layout: str, kind: str, size: int, samples: list[Sample]) -> None:
    middle = partial(harness.median, samples)
    both = kind == "sqlite"
    table.add(
        f"{LAYOUTS[layout]}, {kind}",
        f"{size:,} B",
        "" if both else f"{middle('log'):.2f}",
        "" if both else f"{middle('files'):.2f}",
        f"{middle('total'):.2f}",
        harness.rounded(middle("rate")),
        f"{middle('cpu_us'):.0f} µs",
    )
