"""Two workers, one queue: every prompt is carried by one of them, and by one run."""

from __future__ import annotations

from collections.abc import Callable

from tests.conftest import Client
from tests.crash.stage import Stage, sentence

PROMPTS = 2000


def test_two_workers_share_two_thousand_prompts_without_meeting(
    new_stage: Callable[..., Stage], database_url: str, sql: Client
) -> None:
    """Each is completed exactly once, at the first attempt, and both have worked."""
    stage = new_stage(database_url, sql, lease_seconds=30)
    lines = [f"Number {n}. [[tokens=3]]" for n in range(PROMPTS)]
    stage.add(*lines)
    workers = [stage.start("--drain") for _ in range(2)]
    assert [worker.ended(170) for worker in workers] == [0, 0]
    assert stage.sql(
        "SELECT COUNT(*), COUNT(DISTINCT prompt_id), MAX(attempt) FROM runs"
        " WHERE status = 'completed'"
    ) == [(PROMPTS, PROMPTS, 1)]
    assert stage.sql.one("SELECT COUNT(DISTINCT worker_id) FROM runs") == 2
    assert len(stage.requests()) == PROMPTS
    audit = stage.audit()
    assert not audit.broken, sentence(audit)
