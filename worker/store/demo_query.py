"""The query with which `spool demo` shows that answers are rows, and what it finds.

It is shown word for word as it is run, and is the same for both databases, so
that people can type it themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from worker.store.database.engine import Database

QUERY = """\
SELECT id, custom_id, substr(output, 1, 44) AS output,
       completion_tokens AS tokens, seconds
FROM results
WHERE batch = 'demo'
ORDER BY id"""


@dataclass(frozen=True, slots=True)
class DemoQuery:
    """What a query found."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def look(url: str) -> DemoQuery:
    """Run `QUERY`; raises StoreBusy or StoreBroken."""
    database = Database(url)
    try:
        with database.reading() as connection:
            found = connection.exec_driver_sql(QUERY)
            return DemoQuery(tuple(found.keys()), [tuple(row) for row in found])
    finally:
        database.close()
