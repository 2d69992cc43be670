"""Statements by which people change their mind: cancel, retry, prune."""

from __future__ import annotations

from functools import cache

from sqlalchemy import Update, update

from worker.errors import ErrorCode
from worker.states import PromptEvent, PromptState, target
from worker.store.constructs import now, spell, standing
from worker.store.tables import prompts


@cache
def cancel_queued() -> Update:
    """Cancel every queued prompt that carries a request."""
    return (
        update(prompts)
        .where(
            prompts.c.cancel_requested_at.is_not(None),
            prompts.c.finished_at.is_(None),
            standing(prompts.c.status, (PromptState.QUEUED,)),
        )
        .values(
            status=spell(target(PromptEvent.CANCEL)),
            finished_at=now(),
            error_code=spell(ErrorCode.CANCELLED),
            error=None,
        )
    )
