"""Statements that only ask."""

from __future__ import annotations

from functools import cache

from sqlalchemy import Select, func, select

from worker.states import RunState
from worker.store.constructs import among, elapsed, moment, standing
from worker.store.tables import CLAIMABLE, prompts, runs


@cache
def waiting() -> Select[int, int, float | None]:
    """Of the queued prompts of `endpoints`: ready, waiting, seconds until the first is ready."""
    ready = prompts.c.available_at <= moment()
    return select(
        func.count().filter(ready),
        func.count().filter(~ready),
        elapsed(moment(), func.min(prompts.c.available_at).filter(~ready)),
    ).where(CLAIMABLE, among(prompts.c.endpoint, "endpoints"))


@cache
def running() -> Select[int]:
    """How many runs of `endpoints` are under way."""
    return (
        select(func.count())
        .select_from(runs)
        .where(
            standing(runs.c.status, (RunState.STREAMING,)),
            among(runs.c.endpoint, "endpoints"),
        )
    )
