"""How far a batch is: its prompts by endpoint and state, read through the index on batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, String, bindparam, func, select

from worker.states import FINAL_PROMPT_STATES, PromptState
from worker.store.database.sql_expressions import in_states
from worker.store.schema.tables import batches, prompts

_OPEN = tuple(each for each in PromptState if each not in FINAL_PROMPT_STATES)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many prompts stand in each state, and where the unfinished ones go."""

    counts: Mapping[PromptState, int]
    endpoints: tuple[str, ...] = ()

    def number(self, *states: PromptState) -> int:
        """How many prompts are in one of these states."""
        return sum(self.counts.get(state, 0) for state in states)

    @property
    def left(self) -> int:
        """Prompts that are not finished."""
        return self.number(*_OPEN)

    @property
    def unanswered(self) -> int:
        """Prompts that are finished and not completed."""
        return self.number(PromptState.FAILED, PromptState.CANCELLED)


def _grouped() -> Select[Any]:
    number = func.count().label("number")
    return select(prompts.c.endpoint, prompts.c.status, number).group_by(
        prompts.c.endpoint, prompts.c.status
    )


@cache
def of_batch() -> Select[Any]:
    """The prompts of the batch called `batch`."""
    named = select(batches.c.id).where(batches.c.name == bindparam("batch", type_=String()))
    return _grouped().where(prompts.c.batch_id == named.scalar_subquery())


@cache
def unfinished() -> Select[Any]:
    """The unfinished prompts of all batches and of none."""
    return _grouped().where(in_states(prompts.c.status, _OPEN))


@cache
def unanswered() -> Select[Any]:
    """The prompts of all batches and of none that finished without an answer."""
    finished = (PromptState.FAILED, PromptState.CANCELLED)
    return _grouped().where(in_states(prompts.c.status, finished))


def look(connection: Connection, statement: Select[Any], batch: str | None = None) -> Outcome:
    """What one of the statements above finds."""
    given = {} if batch is None else {"batch": batch}
    counts: dict[PromptState, int] = {}
    endpoints = set()
    for row in connection.execute(statement, given):
        state = PromptState(row.status)
        counts[state] = counts.get(state, 0) + row.number
        if state in _OPEN:
            endpoints.add(row.endpoint)
    return Outcome(counts, tuple(sorted(endpoints)))
