"""The texts of many runs at once, for exports: two statements a page instead of three a run.

First how long each text is, then the text of those that are short enough to be held
together.  What is longer is left to `Store.text`, which reads it in pieces, so that a page
never takes more memory than its budget.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from sqlalchemy import BigInteger, Select, bindparam, func, select

from worker.records import Kind
from worker.store.database.engine import Database
from worker.store.database.sql_expressions import in_list
from worker.store.schema.tables import chunks, runs


class Held(NamedTuple):
    """The texts of one run.

    Attributes:
        kinds: what the run produced, or may have produced.
        texts: whole, by kind; None if the run is too long to be held.
    """

    kinds: Collection[Kind]
    texts: Mapping[Kind, str] | None


_KINDS = {kind.value: kind for kind in Kind}
_TOO_LONG = Held(frozenset(Kind), None)


class BulkTexts:
    """A reader with a connection of its own.

    Args:
        run_characters: a run that is longer is not held.
        page_characters: all runs of a page together; what goes beyond is not held either.
    """

    def __init__(
        self, url: str, *, run_characters: int = 1 << 16, page_characters: int = 1 << 20
    ) -> None:
        self._db = Database(url, connections=1, pinned=True)
        self._run_characters = run_characters
        self._page_characters = page_characters

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def of(self, run_ids: Collection[int]) -> dict[int, Held]:
        """What each of these runs produced; every one of them is in the answer."""
        asked = {"ids": list(run_ids), "most": self._run_characters}
        with self._db.reading() as connection:
            sizes = self._db.prepared(_sizes()).run(connection, asked)
            short = self._affordable(sizes)
            given = {"ids": short}
            read = self._db.prepared(_texts()).run(connection, given) if short else ()
        parts: dict[int, dict[Kind, list[str]]] = {run_id: {} for run_id in short}
        for run_id, kind, text in read:
            parts[run_id].setdefault(_KINDS[kind], []).append(text)
        return {
            run_id: _whole(parts[run_id]) if run_id in parts else _TOO_LONG for run_id in run_ids
        }

    def _affordable(self, sizes: Sequence[tuple[int, int]]) -> list[int]:
        left = self._page_characters
        chosen = []
        for run_id, size in sizes:
            if size <= min(left, self._run_characters):
                left -= size
                chosen.append(run_id)
        return chosen


def _whole(parts: Mapping[Kind, list[str]]) -> Held:
    texts = {kind: "".join(each) for kind, each in parts.items()}
    return Held(texts.keys(), texts)


@cache
def _sizes() -> Select[int, int]:
    """How long the runs `ids` are; those whose text alone has more than `most` are not measured.

    A run's own count says so at once (it is 0 while it streams): measuring means reading.
    """
    size = func.coalesce(func.sum(func.length(chunks.c.text)), 0)
    return (
        select(runs.c.id, size)
        .select_from(runs.outerjoin(chunks, chunks.c.run_id == runs.c.id))
        .where(in_list(runs.c.id, "ids"), runs.c.chars <= bindparam("most", type_=BigInteger()))
        .group_by(runs.c.id)
    )


@cache
def _texts() -> Select[int, str, str]:
    return (
        select(chunks.c.run_id, chunks.c.kind, chunks.c.text)
        .where(in_list(chunks.c.run_id, "ids"))
        .order_by(chunks.c.run_id, chunks.c.seq)
    )
