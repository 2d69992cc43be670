"""Statements by which people change their mind: cancel, retry, prune.

They work through a selection by the page, each page a short transaction: a queue of
a million is no reason to keep a flush waiting.  A page locks its prompts in the order
of their ids, so two people at once wait for each other and never for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Delete,
    Integer,
    Select,
    Update,
    and_,
    bindparam,
    case,
    delete,
    func,
    null,
    or_,
    select,
    update,
)

from worker.errors import ErrorCode
from worker.states import FINAL_PROMPT_STATES, PromptEvent, PromptState, sources, target
from worker.store.database.sql_expressions import in_list, in_states, inlined, now
from worker.store.rows import Selection
from worker.store.schema.tables import CANCEL_WANTED, prompts
from worker.store.statements.read import chosen

ASKED = frozenset({"model", "prompt", "system", "messages", "options"})  # as `request_hash`

CANCELLED_AT_ONCE = 1000  # prompts in one transaction: a worker's claims wait for it

_QUEUED = in_states(prompts.c.status, (PromptState.QUEUED,))
_RUNNING = in_states(prompts.c.status, (PromptState.RUNNING,))


def _page(selection: Selection, allowed: ColumnElement[bool]) -> Select[int]:
    # Along the key, from where the last page ended to the last id that the batch had at the start:
    # so that all pages together read each row once, and prompts that come meanwhile make no more.
    return (
        select(prompts.c.id)
        .where(
            *chosen(selection, walking=True),
            allowed,
            prompts.c.id > bindparam("after", type_=Integer()),
            prompts.c.id <= bindparam("last", type_=Integer()),
        )
        .order_by(prompts.c.id)
        .limit(bindparam("page", type_=Integer()))
        .with_for_update(of=prompts, key_share=True)
    )


def to_cancel(selection: Selection) -> Select[int]:
    """Lock the next `page` prompts behind `after` that can be cancelled, or asked to be."""
    not_asked = and_(_RUNNING, prompts.c.cancel_requested_at.is_(None))
    return _page(selection, or_(_QUEUED, not_asked))


def to_retry(selection: Selection) -> Select[int]:
    """Lock the next `page` prompts behind `after` that can be queued again."""
    return _page(selection, in_states(prompts.c.status, sources(PromptEvent.RETRY)))


def to_prune(selection: Selection) -> Select[int]:
    """Lock the next `page` prompts behind `after` that are finished."""
    return _page(selection, in_states(prompts.c.status, FINAL_PROMPT_STATES))


@cache
def cancel() -> Update:
    """Cancel the prompts `ids` that are queued; ask the workers to cancel those that run."""
    return (
        update(prompts)
        .where(
            in_list(prompts.c.id, "ids"),
            in_states(prompts.c.status, sources(PromptEvent.CANCEL)),
        )
        .values(
            cancel_requested_at=func.coalesce(prompts.c.cancel_requested_at, now()),
            **_cancelled_where(_QUEUED),
        )
    )


@cache
def cancel_queued() -> Update:
    """Cancel queued prompts that carry a request, at most 1,000."""
    # A prompt that another transaction has locked is left for the next sweep: nothing waits for it.
    free = (
        select(prompts.c.id)
        .where(CANCEL_WANTED, _QUEUED)
        .limit(CANCELLED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    return update(prompts).where(prompts.c.id.in_(free)).values(_cancelled_where(_QUEUED))


def _cancelled_where(condition: ColumnElement[bool]) -> dict[str, Any]:
    after = {
        "status": inlined(target(PromptEvent.CANCEL)),
        "finished_at": now(),
        "error_code": inlined(ErrorCode.CANCELLED),
        "error": null(),
    }
    return {name: case((condition, value), else_=prompts.c[name]) for name, value in after.items()}


def retry(changed: Sequence[str], *, fresh: bool = False) -> Update:
    """Queue the prompts `ids` again as if they were new; `changed` columns take `new_<name>`.

    fresh: their earlier texts are not gone on with.
    """
    changes: dict[str, Any]
    changes = {name: bindparam(f"new_{name}", type_=prompts.c[name].type) for name in changed}
    if fresh or not ASKED.isdisjoint(changed):
        changes |= anew()
    return (
        update(prompts)
        .where(
            in_list(prompts.c.id, "ids"),
            in_states(prompts.c.status, sources(PromptEvent.RETRY)),
        )
        .values(
            status=inlined(target(PromptEvent.RETRY)),
            available_at=now(),
            attempts=0,
            crashes=0,
            runs_without_progress=null(),
            cancel_requested_at=null(),
            finished_at=null(),
            error_code=null(),
            error=null(),
            **changes,
        )
    )


def anew() -> dict[str, Any]:
    """What is asked has changed: earlier runs, which stay, answer another question."""
    return {"run_id": null(), "first_attempt": prompts.c.runs + 1}


@cache
def prune() -> Delete:
    """Delete the prompts `ids`, if they are finished; their runs and chunks go with them."""
    return delete(prompts).where(
        in_list(prompts.c.id, "ids"), in_states(prompts.c.status, FINAL_PROMPT_STATES)
    )
