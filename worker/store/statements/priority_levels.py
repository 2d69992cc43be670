"""Where the next prompts of a queue are: by priority, and within one by their shares.

Each priority has two shares: the ready ones that keep their place, oldest first, and then
all that are ready, in the order of `available_at`.  A claim goes through the priorities one
by one: the index has what is ready in front, so what waits for later costs it nothing.
"""

from __future__ import annotations

from enum import Enum
from functools import cache

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    bindparam,
    exists,
    func,
    literal_column,
    select,
)

from worker.store.database.sql_expressions import moment
from worker.store.schema.tables import CLAIMABLE, KEEPS_PLACE, prompts

LEVELS = 10_000  # priorities that are looked at one by one, in 14 ms at most
ABOVE_ALL = 2**40  # no priority is as high
PLACES = 500  # of those that keep their place, so many are put in order for one claim


class Share(Enum):
    """Which of the ready prompts a statement claims."""

    PLACED = "placed"  # those of one priority that keep their place
    NEXT = "next"  # those of one priority
    ALONE = "alone"  # one, by its id


def ready() -> tuple[ColumnElement[bool], ...]:
    """A prompt of the endpoint that may be claimed now."""
    return (
        CLAIMABLE,
        prompts.c.endpoint == bindparam("for_endpoint", type_=String()),
        prompts.c.available_at <= moment(),
    )


def belonging(share: Share) -> tuple[ColumnElement[bool], ...]:
    """A ready prompt that belongs to the share."""
    if share is Share.ALONE:
        return (prompts.c.id == bindparam("only", type_=BigInteger()),)
    here = prompts.c.priority == bindparam("priority", type_=Integer())
    if share is Share.NEXT:
        return (here,)
    # Thousands may be ready after an outage: those that have been so for longest are put in order.
    first = (
        select(prompts.c.id)
        .where(KEEPS_PLACE, *ready(), here)
        .order_by(prompts.c.available_at)
        .limit(literal_column(str(PLACES)))
    )
    return (here, prompts.c.id.in_(first.correlate(None)))


def in_order(share: Share) -> tuple[ColumnElement[object], ...]:
    """The order within the share."""
    if share is Share.NEXT:
        return (prompts.c.available_at, prompts.c.id)
    return (prompts.c.id,)


@cache
def next_level() -> Select[int, bool]:
    """The highest priority below `below` with anything ready, and whether any of it has a place.

    After LEVELS priorities without anything it is the last of them: the search goes on from there.
    """
    here = (CLAIMABLE, prompts.c.endpoint == bindparam("for_endpoint", type_=String()))
    highest = select(func.max(prompts.c.priority).label("priority")).where(*here)
    top = highest.where(prompts.c.priority < bindparam("below", type_=BigInteger()))
    levels = top.add_columns(literal_column("1").label("level")).cte("levels", recursive=True)
    priority, level = levels.c.priority, levels.c.level
    lower = select(highest.where(prompts.c.priority < priority).scalar_subquery(), level + 1)
    levels = levels.union_all(lower.where(priority.is_not(None), level < LEVELS))
    priority, level = levels.c.priority, levels.c.level
    anything = exists().where(*ready(), prompts.c.priority == priority)
    placed = exists().where(KEEPS_PLACE, *ready(), prompts.c.priority == priority)
    found = priority.is_not(None) & (anything | (level == LEVELS))
    return select(priority, placed).where(found).limit(1)


@cache
def candidates() -> Select[int]:
    """The next `limit` ready prompts, neither locked nor claimed."""
    return (
        select(prompts.c.id)
        .where(*ready())
        .order_by(prompts.c.priority.desc(), prompts.c.available_at, prompts.c.id)
        .limit(bindparam("limit", type_=Integer()))
    )


@cache
def anything_ready() -> Select[int]:
    """A row, if a claim would find something: asked before SQLite's one write lock is taken.

    Each priority is looked at by itself: the index has its ready prompts in front.  Else every
    prompt that waits for later would be looked at each time, all three hundred thousand of them.
    Below the first LEVELS priorities they are: to look at one takes as long as to read nine rows.
    """
    here = (CLAIMABLE, prompts.c.endpoint == bindparam("for_endpoint", type_=String()))
    highest = select(func.max(prompts.c.priority).label("priority")).where(*here)
    levels = highest.add_columns(literal_column("1").label("level")).cte("levels", recursive=True)
    priority, level = levels.c.priority, levels.c.level
    lower = select(highest.where(prompts.c.priority < priority).scalar_subquery(), level + 1)
    levels = levels.union_all(lower.where(priority.is_not(None), level < LEVELS))
    priority, level = levels.c.priority, levels.c.level
    anything = exists().where(*ready(), prompts.c.priority == priority)
    below = exists().where(*ready(), prompts.c.priority < priority)
    return select(priority).where(anything | ((level == LEVELS) & below)).limit(1)
