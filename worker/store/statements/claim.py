"""Statements that put prompts into the queue, keep workers' leases, and hand prompts to workers.

The claim inserts the new run and moves the prompt in one transaction: the attempt is
counted before anything is sent, so a prompt that kills its worker is counted too.
On PostgreSQL it is one statement, on SQLite two; the parts are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    Text,
    Update,
    bindparam,
    case,
    cast,
    exists,
    func,
    insert,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate
from sqlalchemy.types import TypeEngine

from worker.errors import ErrorCode
from worker.states import PromptEvent, sources, target
from worker.store.database.column_types import Json, Seconds
from worker.store.database.sql_expressions import (
    Upsert,
    bound,
    in_list,
    in_states,
    inlined,
    inserting,
    later,
    moment,
    now,
    unnested,
)
from worker.store.schema.tables import batches, prompts, runs, workers
from worker.store.statements import suspects
from worker.store.statements.conditions import COUNT_MAX
from worker.store.statements.priority_levels import Share, belonging, in_order, ready

# --- prompts in -----------------------------------------------------------------------------

# How each column of a new prompt travels; JSON travels as text, dumped once.
NEW_PROMPT: Mapping[str, TypeEngine[Any]] = {
    "custom_id": Text(),
    "endpoint": Text(),
    "model": Text(),
    "prompt": Text(),
    "system": Text(),
    "messages": Text(),
    "options": Text(),
    "priority": Integer(),
    "metadata": Text(),
    "max_attempts": Integer(),
    "request_hash": Text(),
}


@cache
def add_batch(*, is_sqlite: bool) -> Upsert:
    """Create the batch `name` unless it exists."""
    values: dict[str, ColumnElement[str]] = {
        "name": bindparam("b_name"),
        "source": bindparam("b_source"),
    }
    row = inserting(batches, is_sqlite=is_sqlite).values(values)
    return row.on_conflict_do_nothing(index_elements=["name"])


@cache
def batch() -> Select[int, str | None]:
    """The id of the batch `name`, and where it was first added from."""
    return select(batches.c.id, batches.c.source).where(batches.c.name == bindparam("name"))


@cache
def add_prompts(*, is_sqlite: bool) -> Upsert:
    """Insert prompts into batch `batch`; those that it has already are left alone."""
    columns = ["batch_id", *NEW_PROMPT]
    batch = bindparam("batch", type_=BigInteger())
    rows = inserting(prompts, is_sqlite=is_sqlite)
    if is_sqlite:
        rows = rows.values({"batch_id": batch, **bound(NEW_PROMPT)})
    else:
        arriving = unnested(NEW_PROMPT).items()
        rows = rows.from_select(columns, select(batch, *map(_as_stored, arriving)), False)
    return rows.on_conflict_do_nothing(index_elements=["batch_id", "custom_id"])


@cache
def known() -> Select[int, str, str | None]:
    """Id, `custom_id` and hash of the prompts of batch `batch` that are called `custom_ids`."""
    return (
        select(prompts.c.id, prompts.c.custom_id, prompts.c.request_hash)
        .where(
            prompts.c.batch_id == bindparam("batch", type_=BigInteger()),
            in_list(prompts.c.custom_id, "custom_ids"),
        )
        .order_by(prompts.c.id)
    )


@cache
def asked() -> Select[Any]:
    """What prompt `id` asks: for those that were added without a hash."""
    columns = ("model", "prompt", "system", "messages", "options")
    return select(*(prompts.c[name] for name in columns)).where(
        prompts.c.id == bindparam("id", type_=BigInteger())
    )


@cache
def replace_prompt() -> Update:
    """Queue prompt `p_id` anew with another request; its runs and their texts stay."""
    given = {
        name: _as_stored((name, bindparam(f"p_{name}", type_=kind)))
        for name, kind in NEW_PROMPT.items()
        if name != "custom_id"
    }
    return (
        update(prompts)
        .where(
            prompts.c.id == bindparam("p_id", type_=BigInteger()),
            in_states(prompts.c.status, sources(PromptEvent.REPLACE)),
        )
        .values(
            status=inlined(target(PromptEvent.REPLACE)),
            available_at=now(),
            attempts=0,
            crashes=0,
            run_id=null(),
            first_attempt=prompts.c.runs + 1,
            keeps_place=null(),
            runs_without_progress=null(),
            cancel_requested_at=null(),
            finished_at=null(),
            error_code=null(),
            error=null(),
            **given,
        )
    )


def _as_stored(arriving: tuple[str, ColumnElement[Any]]) -> ColumnElement[Any]:
    name, value = arriving
    kind = prompts.c[name].type
    return cast(value, kind) if isinstance(kind, Json) else value


# --- workers --------------------------------------------------------------------------------


@cache
def register(*, is_sqlite: bool) -> Upsert:
    """Insert the worker with its first lease; sent again, it renews.

    A row that somebody signed off by hand is signed on again: its worker lives.
    """
    row = inserting(workers, is_sqlite=is_sqlite).values(
        id=bindparam("w_id"),
        host=bindparam("w_host"),
        pid=bindparam("w_pid"),
        version=bindparam("w_version"),
        process=bindparam("w_process", type_=workers.c.process.type),
        lease_until=later(bindparam("lease", type_=Seconds())),
    )
    return row.on_conflict_do_update(
        index_elements=["id"],
        set_={"lease_until": row.excluded.lease_until, "stopped_at": null()},
    )


@cache
def renew() -> Update:
    """Move the lease of a worker that has not signed off."""
    return (
        update(workers)
        .where(workers.c.id == bindparam("worker"), workers.c.stopped_at.is_(None))
        .values(lease_until=later(bindparam("lease", type_=Seconds())))
    )


@cache
def report() -> Update:
    """What a worker says of its endpoints."""
    return (
        update(workers)
        .where(workers.c.id == bindparam("worker"))
        .values(endpoints=bindparam("said", type_=workers.c.endpoints.type))
    )


@cache
def leave() -> Update:
    """The worker has been told to stop: if it is killed from now on, that is no crash."""
    return (
        update(workers)
        .where(workers.c.id == bindparam("worker"), workers.c.leaving_at.is_(None))
        .values(leaving_at=now())
    )


@cache
def sign_off() -> Update:
    """The worker is gone, and says so."""
    return (
        update(workers)
        .where(workers.c.id == bindparam("worker"), workers.c.stopped_at.is_(None))
        .values(stopped_at=now())
    )


def leased(worker_id: ColumnElement[str]) -> ColumnElement[bool]:
    """That worker holds a lease which has not run out: the one definition of being alive."""
    return exists().where(
        workers.c.id == worker_id,
        workers.c.stopped_at.is_(None),
        workers.c.lease_until > moment(),
    )


# --- the claim ------------------------------------------------------------------------------


@cache
def start_runs(share: Share, *, held: bool = False) -> ReturningInsert[int, int, int]:
    """Insert a run for each of the next `limit` prompts of this share of the queue.

    held: leave the batches `without` out; 0 stands for prompts without one.
    """
    worker = bindparam("worker", type_=String())
    model = bindparam("default_model", type_=String())
    batch = func.coalesce(prompts.c.batch_id, literal_column("0"), type_=BigInteger())
    without = [~in_list(batch, "without")] if held else []
    picked = (
        select(
            prompts.c.id,
            _next_attempt(),
            worker,
            prompts.c.endpoint,
            bindparam("in_dialect", type_=String()),
            func.coalesce(prompts.c.model, model),
            bindparam("nonce", type_=BigInteger()),
        )
        .where(*ready(), *belonging(share))
        .where(leased(worker), suspects.apart(worker), suspects.few(), *without)
        .order_by(*in_order(share))
        .limit(bindparam("limit", type_=Integer()))
        .with_for_update(key_share=True, skip_locked=True)
    )
    columns = ["prompt_id", "attempt", "worker_id", "endpoint", "dialect", "model", "nonce"]
    started = insert(runs).from_select(columns, picked, include_defaults=False)
    return started.returning(runs.c.id, runs.c.prompt_id, runs.c.attempt)


def _next_attempt() -> ColumnElement[int]:
    """Counted from the runs that exist: the prompt's own counter may have been set by hand."""
    earlier = runs.alias("earlier")
    latest = select(func.coalesce(func.max(earlier.c.attempt), literal_column("0")))
    return latest.where(earlier.c.prompt_id == prompts.c.id).scalar_subquery() + 1


def _one_more(count: ColumnElement[int]) -> ColumnElement[int]:
    """A counter at its bound stays there: whoever set it must not stop the claim of all others."""
    return case((count < COUNT_MAX, count + 1), else_=COUNT_MAX)


@cache
def take_prompts_sqlite() -> ReturningUpdate[Any]:
    """Move the prompts of the runs `started` to running."""
    # What an UPDATE returns there is its own table's: which attempt it is, `start_runs` has told.
    unknown = literal_column("0", type_=Integer())
    return _take(runs.c.id, runs.c.prompt_id, unknown).where(in_list(runs.c.id, "started"))


@cache
def claim_postgresql(share: Share, *, held: bool = False) -> ReturningUpdate[Any]:
    """Start runs and take their prompts, in one statement."""
    started: CTE = start_runs(share, held=held).cte("started")
    return _take(started.c.id, started.c.prompt_id, started.c.attempt)


def _take(
    run_id: ColumnElement[int], prompt_id: ColumnElement[int], attempt: ColumnElement[int]
) -> ReturningUpdate[Any]:
    model = bindparam("default_model", type_=String())
    return (
        update(prompts)
        .where(
            prompts.c.id == prompt_id,
            in_states(prompts.c.status, sources(PromptEvent.CLAIM)),
        )
        .values(
            status=inlined(target(PromptEvent.CLAIM)),
            run_id=run_id,
            attempts=_one_more(prompts.c.attempts),
            runs=_one_more(prompts.c.runs),
        )
        .returning(
            prompts.c.run_id,
            prompts.c.id,
            attempt,
            prompts.c.attempts,
            func.coalesce(
                prompts.c.max_attempts, bindparam("default_max_attempts", type_=Integer())
            ).label("max_attempts"),
            prompts.c.endpoint,
            func.coalesce(prompts.c.model, model).label("model"),
            prompts.c.custom_id,
            prompts.c.prompt,
            prompts.c.system,
            # As text: what cannot be read is the trouble of one prompt, not of the whole claim.
            cast(prompts.c.messages, Text),
            cast(prompts.c.options, Text),
            func.coalesce(prompts.c.batch_id, literal_column("0")).label("batch"),
            func.coalesce(prompts.c.runs_without_progress, literal_column("0")).label("in_vain"),
            prompts.c.error_code,
            prompts.c.error,
            _best_chars(),
        )
    )


def _best_chars() -> ColumnElement[int]:
    """How long the longest text of an earlier run is; looked up if there was one."""
    earlier = runs.alias("earlier")
    # Spelled out: of what SQLite returns, SQLAlchemy takes all table names away, in here as well.
    best: Select[int] = select(
        func.coalesce(func.max(literal_column("earlier.chars")), literal_column("0"))
    )
    best = best.select_from(earlier).where(
        literal_column("earlier.prompt_id") == literal_column("prompts.id"),
    )
    ran_before = prompts.c.runs > literal_column("1")
    return case((ran_before, best.scalar_subquery()), else_=literal_column("0")).label("best")


@cache
def give_up() -> Update:
    """Fail the prompt `only`, which cannot be claimed; its counters may be the reason."""
    counters = (prompts.c.attempts, prompts.c.crashes, prompts.c.runs)
    bounded = {each.name: case((each > COUNT_MAX, COUNT_MAX), else_=each) for each in counters}
    return (
        update(prompts)
        .where(
            prompts.c.id == bindparam("only", type_=BigInteger()),
            in_states(prompts.c.status, sources(PromptEvent.CLAIM)),
        )
        .values(
            status=inlined(target(PromptEvent.FAIL)),
            finished_at=now(),
            error_code=inlined(ErrorCode.UNCLAIMABLE),
            error=bindparam("words"),
            **bounded,
        )
    )
