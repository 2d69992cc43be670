"""The texts of many runs at once, for exports: two statements a page instead of three a run.

First how long each text is, then the text of those that are short enough to be held
together.  What is longer is left to `Store.text`, which reads it in pieces, so that a page
never takes more memory than its budget.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Select, func, select

from worker.records import Kind
from worker.store.constructs import among
from worker.store.engine import Database
from worker.store.tables import chunks


@dataclass(frozen=True, slots=True)
class Held:
    """The texts of one run.

    Attributes:
        kinds: what the run produced.
        texts: whole, by kind; None if the run is too long to be held.
    """

    kinds: frozenset[Kind]
    texts: Mapping[Kind, str] | None


class Answers:
    """A reader with a connection of its own.

    Args:
        run_characters: a run that is longer is not held.
        page_characters: all runs of a page together; what goes beyond is not held either.
    """

    def __init__(
        self, url: str, *, run_characters: int = 1 << 20, page_characters: int = 1 << 24
    ) -> None:
        self._db = Database(url, connections=1)
        self._run_characters = run_characters
        self._page_characters = page_characters

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def of(self, run_ids: Collection[int]) -> dict[int, Held]:
        """What each of these runs produced; every one of them is in the answer."""
        with self._db.reading() as connection:
            sizes: dict[int, dict[Kind, int]] = {run_id: {} for run_id in run_ids}
            for run_id, kind, size in connection.execute(_sizes(), {"ids": list(run_ids)}):
                sizes[run_id][Kind(kind)] = size
            short = self._affordable(sizes)
            parts: dict[int, dict[Kind, list[str]]] = {
                run_id: {kind: [] for kind in sizes[run_id]} for run_id in short
            }
            if short:
                for run_id, kind, text in connection.execute(_texts(), {"ids": short}):
                    # A run that streams may have gone on since its size was asked.
                    parts[run_id].setdefault(Kind(kind), []).append(text)
        return {
            run_id: Held(
                frozenset(sizes[run_id]) | parts.get(run_id, {}).keys(),
                {kind: "".join(each) for kind, each in parts[run_id].items()}
                if run_id in parts
                else None,
            )
            for run_id in sizes
        }

    def _affordable(self, sizes: Mapping[int, Mapping[Kind, int]]) -> list[int]:
        left = self._page_characters
        chosen = []
        for run_id, kinds in sizes.items():
            size = sum(kinds.values())
            if 0 < size <= min(left, self._run_characters):
                left -= size
                chosen.append(run_id)
        return chosen


@cache
def _sizes() -> Select[int, str, int]:
    return (
        select(chunks.c.run_id, chunks.c.kind, func.sum(func.length(chunks.c.text)))
        .where(among(chunks.c.run_id, "ids"))
        .group_by(chunks.c.run_id, chunks.c.kind)
    )


@cache
def _texts() -> Select[int, str, str]:
    return (
        select(chunks.c.run_id, chunks.c.kind, chunks.c.text)
        .where(among(chunks.c.run_id, "ids"))
        .order_by(chunks.c.run_id, chunks.c.seq)
    )
