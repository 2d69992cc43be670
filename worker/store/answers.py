"""The texts of many runs at once, for exports: two statements a page instead of three a run.

First how long each text is, then the text of those that are short enough to be held
together.  What is longer is left to `Store.text`, which reads it in pieces, so that a page
never takes more memory than its budget.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import NamedTuple

from sqlalchemy import Select, func, select

from worker.records import Kind
from worker.store.constructs import among
from worker.store.engine import Database
from worker.store.tables import chunks


class Held(NamedTuple):
    """The texts of one run.

    Attributes:
        kinds: what the run produced.
        texts: whole, by kind; None if the run is too long to be held.
    """

    kinds: Collection[Kind]
    texts: Mapping[Kind, str] | None


_KINDS = {kind.value: kind for kind in Kind}


class Answers:
    """A reader with a connection of its own.

    Args:
        run_characters: a run that is longer is not held.
        page_characters: all runs of a page together; what goes beyond is not held either.
    """

    def __init__(
        self, url: str, *, run_characters: int = 1 << 16, page_characters: int = 1 << 20
    ) -> None:
        self._db = Database(url, connections=1)
        self._run_characters = run_characters
        self._page_characters = page_characters

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def of(self, run_ids: Collection[int]) -> dict[int, Held]:
        """What each of these runs produced; every one of them is in the answer."""
        sizes = dict.fromkeys(run_ids, 0)
        with self._db.reading() as connection:
            measured = self._db.prepared(_sizes()).run(connection, {"ids": list(run_ids)})
            for run_id, _, size in measured:
                sizes[run_id] += size
            short = self._affordable(sizes)
            read = self._db.prepared(_texts()).run(connection, {"ids": short}) if short else ()
        parts: dict[int, dict[Kind, list[str]]] = {run_id: {} for run_id in short}
        for run_id, kind, text in read:
            parts[run_id].setdefault(_KINDS[kind], []).append(text)
        found = {run_id: _whole(each) for run_id, each in parts.items()}
        if len(short) < len(sizes):
            kinds: dict[int, list[Kind]] = {id_: [] for id_ in sizes if id_ not in found}
            for run_id, kind, _ in measured:
                if run_id in kinds:
                    kinds[run_id].append(_KINDS[kind])
            found |= {run_id: Held(frozenset(each), None) for run_id, each in kinds.items()}
        return found

    def _affordable(self, sizes: Mapping[int, int]) -> list[int]:
        left = self._page_characters
        chosen = []
        for run_id, size in sizes.items():
            if size <= min(left, self._run_characters):
                left -= size
                chosen.append(run_id)
        return chosen


def _whole(parts: Mapping[Kind, list[str]]) -> Held:
    texts = {kind: "".join(each) for kind, each in parts.items()}
    return Held(texts.keys(), texts)


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
