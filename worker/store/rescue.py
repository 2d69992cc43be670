"""Statements that take back what dead workers held.

Orphans are runs that still stream although their worker's lease ran out.  Each guard is one
line here, too: still streaming, still without a lease, and the prompt still carried by
this very run; whoever takes one away finds a test in `tests/store` that notices.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Integer, Select, Update, bindparam, case, null, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from worker.errors import ErrorCode
from worker.states import PromptEvent, RunEvent, target
from worker.store.claims import leased
from worker.store.commits import CARRIED, STREAMING, less, measured
from worker.store.constructs import among, now, spell, standing
from worker.store.tables import prompts, runs


@cache
def orphans() -> Select[int]:
    """Runs whose worker has no lease any more, locked; those that others lock are left to them."""
    return (
        select(runs.c.id)
        .where(standing(runs.c.status, STREAMING), ~leased(runs.c.worker_id))
        .order_by(runs.c.worker_id, runs.c.id)  # the order of the index that holds only these
        .limit(bindparam("limit", type_=Integer()))
        .with_for_update(of=runs, key_share=True, skip_locked=True)
    )


@cache
def interrupt_orphans() -> ReturningUpdate[Any]:
    """End the runs `ids`, if they are still streaming and their worker still has no lease."""
    return (
        update(runs)
        .where(
            among(runs.c.id, "ids"),
            standing(runs.c.status, STREAMING),
            ~leased(runs.c.worker_id),
        )
        .values(
            status=spell(target(RunEvent.INTERRUPT)),
            finished_at=now(),
            error_code=spell(ErrorCode.LEASE_EXPIRED),
            error=bindparam("words"),
            **measured(),
        )
        .returning(runs.c.id, runs.c.prompt_id, runs.c.worker_id)
    )


@cache
def requeue_orphans() -> Update:
    """Queue the prompts of the runs `ids` again, or end them; a crash is not charged."""
    crashes = prompts.c.crashes + 1
    capped = crashes >= bindparam("max_crashes", type_=Integer())
    unwanted = prompts.c.cancel_requested_at.is_not(None)
    return (
        update(prompts)
        .where(
            among(prompts.c.run_id, "ids"),
            among(prompts.c.id, "prompt_ids"),
            standing(prompts.c.status, CARRIED),
        )
        .values(
            status=case(
                (unwanted, spell(target(PromptEvent.CANCEL))),
                (capped, spell(target(PromptEvent.FAIL))),
                else_=spell(target(PromptEvent.REQUEUE)),
            ),
            finished_at=case((unwanted | capped, now()), else_=null()),
            crashes=crashes,
            attempts=less(prompts.c.attempts, 1),
            error_code=case(
                (unwanted, spell(ErrorCode.CANCELLED)),
                (capped, spell(ErrorCode.TOO_MANY_CRASHES)),
                else_=spell(ErrorCode.LEASE_EXPIRED),
            ),
            error=bindparam("words"),
        )
    )
