"""Whether all text of completed runs is stored: for `spool doctor`, and its `--verify`.

A commit that a database acknowledged and forgot later leaves no trace but this: fewer chunks than
the run counted, or numbers that are not one after the other.  Runs are looked at in pages of ids,
each page two statements in a transaction of its own, so that memory stays flat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Select, bindparam, func, select

from worker.states import RunState
from worker.store.database.engine import Database
from worker.store.database.sql_expressions import in_list, in_states
from worker.store.schema.tables import batches, chunks, prompts, runs

PAGE_IDS = 1000  # ids of runs that are looked at in one transaction
NEWEST = 1000  # completed runs that `doctor` looks at by itself
NEWEST_IDS = 50_000  # ids, from the newest back, among which it looks for them


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A completed run of which something is missing.

    Attributes:
        chunks: how many chunks it had when it was completed.
        stored: how many there are.
        last_seq: the number of the last one; None if there is none.
    """

    run_id: int
    prompt_id: int
    chunks: int
    stored: int
    last_seq: int | None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of completed runs: how many were looked at, and which are incomplete."""

    looked_at: int
    incomplete: tuple[Incomplete, ...]


def newest(database: Database) -> Page:
    """The last completed runs."""
    with database.reading() as connection:
        last = connection.execute(_last()).scalar() or 0
    looked_at = 0
    incomplete: list[Incomplete] = []
    for after in range(last - PAGE_IDS, last - NEWEST_IDS, -PAGE_IDS):
        page = _page(database, {"after": after, "last": after + PAGE_IDS}, limit=NEWEST - looked_at)
        looked_at += page.looked_at
        incomplete += page.incomplete
        if after <= 0 or looked_at >= NEWEST:
            break
    return Page(looked_at, tuple(incomplete))


def pages(
    database: Database, *, batch: str | None = None, since: datetime | None = None
) -> Iterator[Page]:
    """All completed runs that there are now, or those of a batch, or that ended since a moment."""
    with database.reading() as connection:
        last = connection.execute(_last()).scalar() or 0
    named = {name: value for name, value in (("batch", batch), ("since", since)) if value}
    for after in range(0, last, PAGE_IDS):
        given = {"after": after, "last": min(after + PAGE_IDS, last), **named}
        yield _page(database, given, limit=PAGE_IDS)


def _page(database: Database, given: dict[str, Any], *, limit: int) -> Page:
    with database.reading() as connection:
        asked = _completed(of_batch="batch" in given, since="since" in given)
        found = connection.execute(asked, {**given, "limit": limit}).all()
        ids = [run.id for run in found]
        rows = connection.execute(_stored(), {"ids": ids}).all() if ids else ()
    stored = {row.run_id: row for row in rows}
    return Page(len(found), tuple(_incomplete(found[::-1], stored)))


def _incomplete(found: Sequence[Any], stored: dict[int, Any]) -> Iterator[Incomplete]:
    for run in found:
        row = stored.get(run.id)
        number, last_seq = (0, None) if row is None else (row.stored, row.last_seq)
        # Numbers begin with 0 and are never given twice: that many, and the last of them, is all.
        if number != run.chunks or (number and last_seq != number - 1):
            yield Incomplete(run.id, run.prompt_id, run.chunks, number, last_seq)


@cache
def _last() -> Select[int]:
    return select(func.max(runs.c.id))


@cache
def _completed(*, of_batch: bool, since: bool) -> Select[Any]:
    """Completed runs behind `after` up to `last`, the newest first."""
    found = select(runs.c.id, runs.c.prompt_id, runs.c.chunks).where(
        runs.c.id > bindparam("after", type_=BigInteger()),
        runs.c.id <= bindparam("last", type_=BigInteger()),
        in_states(runs.c.status, (RunState.COMPLETED,)),
    )
    if of_batch:
        found = found.join(prompts, prompts.c.id == runs.c.prompt_id).join(
            batches, batches.c.id == prompts.c.batch_id
        )
        found = found.where(batches.c.name == bindparam("batch"))
    if since:
        found = found.where(runs.c.finished_at >= bindparam("since", type_=runs.c.finished_at.type))
    return found.order_by(runs.c.id.desc()).limit(bindparam("limit", type_=BigInteger()))


@cache
def _stored() -> Select[int, int, int]:
    """How many chunks of the runs `ids` are stored, and the number of the last one."""
    return (
        select(
            chunks.c.run_id,
            func.count().label("stored"),
            func.max(chunks.c.seq).label("last_seq"),
        )
        .where(in_list(chunks.c.run_id, "ids"))
        .group_by(chunks.c.run_id)
    )
