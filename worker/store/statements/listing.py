"""Prompts by the page, the newest first, for people who look around.

Without conditions a page is a walk along the end of the primary key.  With conditions it looks
through at most `LOOKED_THROUGH` prompts, so that what is rare in a long table costs no walk over
all of it: where the look ended is part of the page, and the next one goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    Select,
    String,
    bindparam,
    cast,
    func,
    select,
)

from worker.states import PromptState
from worker.store.rows import Selection
from worker.store.schema.tables import batches, prompts
from worker.store.statements import read

LOOKED_THROUGH = 100_000  # prompts, for one page with conditions
_EXCERPT_CHARS = 400
_LARGEST_ID = 2**63 - 1


class Entry(NamedTuple):
    """One prompt of a list.

    Attributes:
        text: how the prompt begins; for messages, how their JSON begins.
        is_json: whether `text` is the beginning of JSON.
    """

    id: int
    batch: str | None
    custom_id: str | None
    endpoint: str
    model: str | None
    status: PromptState
    attempts: int
    runs: int
    error_code: str | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None
    text: str
    is_json: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Some prompts, the newest first.

    Attributes:
        before: the next page holds ids below it; None if there is none.
        looked_through: whether it ended because `LOOKED_THROUGH` prompts were looked through.
    """

    rows: tuple[Entry, ...] = ()
    before: int | None = None
    looked_through: bool = False


@cache
def floor() -> Select[int]:
    """The id behind which `most` prompts below `before` are; none if there are not so many."""
    return (
        select(prompts.c.id)
        .where(prompts.c.id < bindparam("before", type_=BigInteger()))
        .order_by(prompts.c.id.desc())
        .offset(bindparam("most", type_=Integer()))
        .limit(1)
    )


def page(selection: Selection) -> Select[Any]:
    """The newest `page` prompts of a selection whose ids are above `after` and below `before`."""
    begins = func.substr(
        func.coalesce(prompts.c.prompt, cast(prompts.c.messages, String)), 1, _EXCERPT_CHARS
    )
    listed = (
        prompts.c.id,
        batches.c.name.label("batch"),
        prompts.c.custom_id,
        prompts.c.endpoint,
        prompts.c.model,
        prompts.c.status,
        prompts.c.attempts,
        prompts.c.runs,
        prompts.c.error_code,
        prompts.c.error,
        prompts.c.created_at,
        prompts.c.finished_at,
        begins.label("text"),
        prompts.c.prompt.is_(None).label("is_json"),
    )
    return (
        select(*listed)
        .select_from(prompts.outerjoin(batches))
        .where(
            *read.chosen(selection, walking=True),
            prompts.c.id > bindparam("after", type_=BigInteger()),
            prompts.c.id < bindparam("before", type_=BigInteger()),
        )
        .order_by(prompts.c.id.desc())
        .limit(bindparam("page", type_=Integer()))
    )


def newest(
    connection: Connection, selection: Selection, *, limit: int, before: int | None = None
) -> Page:
    """The newest prompts of a selection whose ids are below `before`."""
    top = _LARGEST_ID if before is None else before
    after = 0
    if selection.batch is not None:
        first, last = connection.execute(read.span(selection)).one()
        if first is None or last is None:
            return Page()
        after, top = first, min(top, last + 1)
    bottom: int | None = None
    if selection != Selection():
        given = {"before": top, "most": LOOKED_THROUGH - 1}
        bottom = connection.execute(floor(), given).scalar()
    if bottom is not None and bottom - 1 > after:
        after = bottom - 1
    else:
        bottom = None
    within = {"after": after, "before": top, "page": limit + 1}
    found = connection.execute(page(selection), within).mappings().all()
    rows = _rows(found[:limit])
    if len(found) > limit:
        return Page(rows, before=rows[-1].id)
    return Page(rows, before=bottom, looked_through=bottom is not None)


def _rows(found: Sequence[Any]) -> tuple[Entry, ...]:
    return tuple(
        Entry(**{**row, "status": PromptState(row["status"]), "is_json": bool(row["is_json"])})
        for row in found
    )
