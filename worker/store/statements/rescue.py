"""Statements that take back what dead workers held.

Orphans are runs that still stream although their worker's lease ran out.  Each guard is one
line here, too: still streaming, still without a lease, and the prompt still carried by
this very run; whoever takes one away finds a test in `tests/store` that notices.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    String,
    Update,
    bindparam,
    case,
    exists,
    func,
    null,
    select,
    true,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from worker.errors import ErrorCode
from worker.states import PROGRESS_CHARS, PromptEvent, RunEvent, target
from worker.store.database.sql_expressions import Id, in_list, in_states, inlined, moment, now
from worker.store.schema.tables import prompts, runs, workers
from worker.store.statements.claim import leased
from worker.store.statements.commit import less, measured
from worker.store.statements.fence import CARRIED, STREAMING


@cache
def neighbours() -> Select[str, int, Any]:
    """Workers on `on_host` that hold a lease and say which process they are, but not `worker`."""
    return select(workers.c.id, workers.c.pid, workers.c.process).where(
        workers.c.host == bindparam("on_host"),
        workers.c.id != bindparam("worker"),
        workers.c.stopped_at.is_(None),
        workers.c.lease_until > moment(),
        workers.c.process.is_not(None),
    )


@cache
def bury() -> Update:
    """The leases of the workers `dead` are over now: their processes are gone."""
    return (
        update(workers)
        .where(in_list(workers.c.id, "dead"), workers.c.lease_until > moment())
        .values(lease_until=now())
    )


@cache
def orphans(*, of_dead: bool = False) -> Select[int, int]:
    """Runs whose worker has no lease any more, locked; those that others lock are left to them.

    of_dead: only those of the workers `dead`.
    """
    whose = in_list(runs.c.worker_id, "dead") if of_dead else true()
    return (
        select(runs.c.id, runs.c.prompt_id)
        .where(
            in_states(runs.c.status, STREAMING),
            ~leased(runs.c.worker_id),
            runs.c.worker_id != bindparam("rescuer", type_=String()),  # who asks is alive
            whose,
        )
        .order_by(runs.c.worker_id, runs.c.id)  # the order of the index that holds only these
        .limit(bindparam("limit", type_=Integer()))
        .with_for_update(of=runs, key_share=True, skip_locked=True)
    )


@cache
def hold_prompts() -> Select[int]:
    """Of the prompts `ids` those that nobody else has locked, locked: their runs can be taken."""
    free = select(prompts.c.id).where(in_list(prompts.c.id, "ids"))
    return free.with_for_update(key_share=True, skip_locked=True)


@cache
def interrupt_orphans() -> ReturningUpdate[Any]:
    """End the runs `ids`, if they are still streaming and their worker still has no lease."""
    return (
        update(runs)
        .where(
            in_list(runs.c.id, "ids"),
            in_states(runs.c.status, STREAMING),
            ~leased(runs.c.worker_id),
        )
        .values(
            status=inlined(target(RunEvent.INTERRUPT)),
            finished_at=now(),
            error_code=case(
                (_was_leaving(), inlined(ErrorCode.SHUTDOWN)),
                else_=inlined(ErrorCode.LEASE_EXPIRED),
            ),
            error=case((_was_leaving(), bindparam("leaving_words")), else_=bindparam("words")),
            **measured(),
        )
        .returning(runs.c.id, runs.c.prompt_id, runs.c.worker_id)
    )


@cache
def requeue_orphans() -> Update:
    """Queue the prompts of the runs `ids` again, or end them; no death uses up an attempt."""
    counts = exists().where(runs.c.id == prompts.c.run_id, *_counted(runs))
    crashes = prompts.c.crashes + case((counts, 1), else_=0)
    most = bindparam("max_crashes", type_=Integer())
    capped = counts & (crashes - _survived() >= most)
    unwanted = prompts.c.cancel_requested_at.is_not(None)
    return (
        update(prompts)
        .where(
            in_list(prompts.c.run_id, "ids"),
            in_list(prompts.c.id, "prompt_ids"),
            in_states(prompts.c.status, CARRIED),
        )
        .values(
            status=case(
                (unwanted, inlined(target(PromptEvent.CANCEL))),
                (capped, inlined(target(PromptEvent.FAIL))),
                else_=inlined(target(PromptEvent.REQUEUE)),
            ),
            finished_at=case((unwanted | capped, now()), else_=null()),
            crashes=crashes,
            attempts=less(prompts.c.attempts, 1),
            error_code=case(
                (unwanted, inlined(ErrorCode.CANCELLED)),
                (capped, inlined(ErrorCode.TOO_MANY_CRASHES)),
                else_=_said(runs.c.error_code),
            ),
            error=_said(runs.c.error),
            keeps_place=true(),
        )
    )


def _was_leaving() -> ColumnElement[bool]:
    """The worker of a run had been told to stop: whatever ended it then is a shutdown."""
    # A scalar subquery is looked up by the key; EXISTS would be hashed, from all workers ever.
    left_at = select(workers.c.leaving_at).where(workers.c.id == runs.c.worker_id)
    return left_at.scalar_subquery().is_not(None)


def _said(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """What was written down of the run of a prompt."""
    return select(column).where(runs.c.id == prompts.c.run_id).scalar_subquery()


def _counted(run: FromClause) -> tuple[ColumnElement[bool], ...]:
    """A run counts as a crash if its worker died and it came no further than any earlier run."""
    earlier = runs.alias("earlier")
    furthest = select(func.coalesce(func.max(earlier.c.chars), 0)).where(
        earlier.c.prompt_id == run.c.prompt_id, earlier.c.attempt < run.c.attempt
    )
    return (
        run.c.error_code == inlined(ErrorCode.LEASE_EXPIRED),
        run.c.chars - PROGRESS_CHARS < furthest.scalar_subquery(),
    )


def _survived() -> ColumnElement[int]:
    """How many of the deaths that were counted for a prompt its workers survived.

    A worker that renews its lease after its run was taken back was paused, and not dead.
    """
    run = runs.alias("survived")
    renewed = exists().where(
        workers.c.id == run.c.worker_id, workers.c.lease_until > run.c.finished_at
    )
    count = select(func.count()).select_from(run)
    return count.where(run.c.prompt_id == prompts.c.id, *_counted(run), renewed).scalar_subquery()


# --- a worker that comes back -----------------------------------------------------------------


@cache
def uncounted() -> Select[int, int]:
    """Of the runs `ids` of `worker`, those that count as its death; and their prompts, locked.

    A prompt that is finished stays as it is.
    """
    return (
        select(runs.c.id, prompts.c.id)
        .select_from(runs, prompts)
        .where(
            in_list(runs.c.id, "ids"),
            runs.c.worker_id == bindparam("worker", type_=String()),
            runs.c.error_code == inlined(ErrorCode.LEASE_EXPIRED),
            prompts.c.id == runs.c.prompt_id,
            prompts.c.finished_at.is_(None),
        )
        .order_by(runs.c.id)
        .with_for_update(of=[runs, prompts], key_share=True, skip_locked=True)
    )


@cache
def uncount_prompt() -> Update:
    """One crash less for prompt `of_prompt`, if its run `of_run` was counted."""
    counted = exists().where(runs.c.id == bindparam("of_run", type_=Id), *_counted(runs))
    fewer = case((counted, less(prompts.c.crashes, 1)), else_=prompts.c.crashes)
    mine = prompts.c.id == bindparam("of_prompt", type_=Id)
    return update(prompts).where(mine, prompts.c.finished_at.is_(None)).values(crashes=fewer)


@cache
def uncount_runs() -> Update:
    """The runs `ids` were lost, and their worker lives."""
    return (
        update(runs)
        .where(
            in_list(runs.c.id, "ids"),
            runs.c.worker_id == bindparam("worker", type_=String()),
            runs.c.error_code == inlined(ErrorCode.LEASE_EXPIRED),
        )
        .values(error_code=inlined(ErrorCode.LEASE_LOST), error=bindparam("words"))
    )
