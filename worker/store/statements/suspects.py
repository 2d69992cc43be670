"""Which prompts a claim keeps apart: those that may kill their worker, or their server.

Two kinds of suspects.  One more death of its worker would fail a prompt: no worker carries two of
those.  Or it broke off twice without evidence and progress: of those a claim takes as many as the
worker asks for, so that they are told apart by halves (worker/endpoints/cuts.py).
"""

from __future__ import annotations

from sqlalchemy import (
    ColumnElement,
    Integer,
    String,
    bindparam,
    exists,
    func,
    literal_column,
    select,
)

from worker.states import SUSPECT_RUNS, PromptState
from worker.store.database.sql_expressions import in_states, moment
from worker.store.schema.tables import UNDER_WAY, prompts, runs

NO_SUSPECTS = 2**31 - 1  # as `suspect_from`: nothing is ever suspected


def apart(worker: ColumnElement[str]) -> ColumnElement[bool]:
    """Not a suspect; or the first one here, while this worker carries none.

    A suspect would be failed if one more worker died with it.  No worker carries two of them, so
    the one that kills its worker takes no other prompt's last chance with it.
    """
    suspect_from = bindparam("suspect_from", type_=Integer())
    other, carried = prompts.alias("other"), prompts.alias("carried")
    first = ~exists().where(
        in_states(other.c.status, (PromptState.QUEUED,)),
        other.c.cancel_requested_at.is_(None),
        other.c.crashes > literal_column("0"),  # a parameter would hide the partial index
        other.c.crashes >= suspect_from,
        other.c.endpoint == prompts.c.endpoint,
        other.c.available_at <= moment(),
        other.c.id < prompts.c.id,
    )
    carries_none = ~exists().where(
        runs.c.worker_id == worker,
        UNDER_WAY,
        carried.c.run_id == runs.c.id,
        carried.c.id == runs.c.prompt_id,
        carried.c.crashes >= suspect_from,
    )
    return (prompts.c.crashes < suspect_from) | (first & carries_none)


def few() -> ColumnElement[bool]:
    """Not one of those that broke off twice without evidence and progress; or one of the first."""
    like = prompts.alias("like")
    first = (
        select(like.c.id)
        .where(
            in_states(like.c.status, (PromptState.QUEUED,)),
            like.c.cancel_requested_at.is_(None),
            like.c.runs_without_progress >= literal_column(str(SUSPECT_RUNS)),
            like.c.endpoint == bindparam("for_endpoint", type_=String()),
            like.c.available_at <= moment(),
        )
        .order_by(like.c.available_at)
        .limit(bindparam("suspects", type_=Integer()))
    )
    counted = func.coalesce(prompts.c.runs_without_progress, literal_column("0"))
    return (counted < literal_column(str(SUSPECT_RUNS))) | prompts.c.id.in_(first)
