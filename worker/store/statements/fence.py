"""The fence: which runs a worker may still write to, and what has to be stored of them before.

Each guard is one line: the run is this worker's, of this claim; it is still streaming; its prompt
is still running *this* run; what was acknowledged is still there; the rows are locked
against a rescue.  Whoever takes one away finds a test in `tests/store` that notices.

A run whose rows somebody else has locked is left out, so that it keeps nobody else waiting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    ScalarSelect,
    Select,
    String,
    bindparam,
    exists,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.types import TypeEngine

from worker.records import Beginning, Chunk, Ending
from worker.states import PromptEvent, RunEvent, sources
from worker.store.database.sql_expressions import Columns, Id, in_states, listed, unnested
from worker.store.schema.tables import chunks, prompts, runs

STREAMING = sources(RunEvent.COMPLETE)  # the same for every run event
CARRIED = sources(PromptEvent.COMPLETE)  # a prompt whose run is under way


def carried() -> tuple[ColumnElement[bool], ...]:
    """The prompt of a run is running, and it is running this run."""
    return (
        prompts.c.id == runs.c.prompt_id,
        prompts.c.run_id == runs.c.id,
        in_states(prompts.c.status, CARRIED),
    )


class Fence(NamedTuple):
    """What has to be true of a run before anything is written to it.

    Attributes:
        before: so many chunks are stored of it already.
    """

    run_id: int
    nonce: int | None
    before: int


def fences_of(arriving: Sequence[Chunk], endings: Sequence[Ending]) -> dict[int, Fence]:
    """The fence of each run of a commit."""
    first: dict[int, Chunk] = {}
    count: Counter[int] = Counter()
    for chunk in arriving:
        count[chunk.run_id] += 1
        if chunk.run_id not in first or chunk.seq < first[chunk.run_id].seq:
            first[chunk.run_id] = chunk
    fences = {run_id: Fence(run_id, chunk.nonce, chunk.seq) for run_id, chunk in first.items()}
    for end in endings:
        # Who does not know how many there were asks for none.
        before = 0 if end.chars is None else max(0, end.chunks - count[end.run_id])
        fences[end.run_id] = Fence(end.run_id, end.nonce, before)
    return fences


def beginnings_of(arriving: Sequence[Chunk]) -> dict[Fence, Beginning]:
    """The runs of a commit that begin with the text of an earlier one, each with its fence.

    Nothing is stored of them yet; what is copied has to be there before their own chunks are.
    """
    return {
        Fence(chunk.run_id, chunk.nonce, 0): chunk.beginning
        for chunk in arriving
        if chunk.beginning is not None
    }


# How a fence travels.
FENCE: Mapping[str, TypeEngine[Any]] = {"run_id": Id, "nonce": BigInteger(), "before": Integer()}


def fenced(*, is_sqlite: bool) -> Columns:
    """The rows of `FENCE`, as the database in use takes them."""
    return listed(FENCE, "fence") if is_sqlite else unnested(FENCE)


def own(given: Columns) -> tuple[ColumnElement[bool], ...]:
    """The run is `worker`'s, of the claim that it knows, and still streaming."""
    return (
        runs.c.id == given["run_id"],
        # An id that a database gives out again, after it went back, comes with another nonce.
        runs.c.nonce.is_not_distinct_from(given["nonce"]),
        runs.c.worker_id == bindparam("worker", type_=String()),
        in_states(runs.c.status, STREAMING).is_(true()),  # hides the index of streaming runs
    )


def _stored_before(given: Columns) -> ScalarSelect[int]:
    earlier = (chunks.c.run_id == given["run_id"], chunks.c.seq < given["before"])
    counted = select(func.count()).select_from(chunks).where(*earlier)
    # Of this row of `given`: in a lateral query they would be counted for all rows together.
    return counted.correlate_except(chunks).scalar_subquery()


def all_stored(given: Columns) -> ColumnElement[bool]:
    """Every chunk that was acknowledged is there: a database may forget what it has confirmed."""
    before = given["before"]
    return before.is_(None) | (before == _stored_before(given))


def _last_stored(given: Columns) -> ColumnElement[bool]:
    """The chunk before these is there; commits are forgotten from the end, so all others are."""
    last = exists().where(
        chunks.c.run_id == given["run_id"], chunks.c.seq == given["before"] - literal_column("1")
    )
    return (given["before"] == literal_column("0")) | last


@cache
def hold_flushing(*, is_sqlite: bool) -> Select[int]:
    """Of the runs `fence`, those that `worker` may write on in, locked against a rescue.

    Their prompts stay free.  Who is locked by somebody else is left out, not waited for.
    """
    given = fenced(is_sqlite=is_sqlite)
    return (
        select(runs.c.id)
        .where(*own(given), *carried(), _last_stored(given))
        .with_for_update(of=runs, read=True, skip_locked=True)
    )


@cache
def hold_ending_sqlite() -> Select[int]:
    """Of the runs `fence`, those that `worker` may end."""
    given = fenced(is_sqlite=True)
    return select(runs.c.id).where(*own(given), *carried(), all_stored(given))


@cache
def refused(*, is_sqlite: bool) -> Select[Any]:
    """How the runs `fence` that are `worker`'s stand, and their prompts, if they are there.

    One that has ended as it is asked to end was ended by this same call, whose answer got lost.
    One that is still streaming had its prompt changed by hand, or has less text than was
    acknowledged, or is locked by somebody.
    """
    given = fenced(is_sqlite=is_sqlite)
    of_prompt = prompts.c.id == runs.c.prompt_id
    running = (prompts.c.run_id == runs.c.id) & in_states(prompts.c.status, CARRIED)
    return select(
        runs.c.id,
        runs.c.prompt_id,
        runs.c.status,
        runs.c.error_code,
        select(prompts.c.status).where(of_prompt).scalar_subquery(),
        exists().where(of_prompt, running),
        all_stored(given),
    ).where(
        runs.c.id == given["run_id"],
        runs.c.nonce.is_not_distinct_from(given["nonce"]),
        runs.c.worker_id == bindparam("worker", type_=String()),
    )
