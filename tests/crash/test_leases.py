"""A lease belongs to the worker: a stream may be as slow as it likes, and a death shows soon."""

from __future__ import annotations

from collections.abc import Callable

from tests.conftest import Client
from tests.crash.stage import Stage, sentence, until

LEASE_SECONDS = 3.0
SLACK_SECONDS = 3.0  # for a machine that is busy with something else


def test_a_slow_stream_is_never_rescued_while_its_worker_lives(
    new_stage: Callable[..., Stage], database_url: str, sql: Client
) -> None:
    """One token every two seconds, for many leases, while another worker sweeps all the time."""
    stage = new_stage(database_url, sql, lease_seconds=LEASE_SECONDS)
    (prompt_id,) = stage.add("Slowly. [[tokens=8 rate=0.5]]")
    carrying = stage.start()
    until("it is running", lambda: stage.status(prompt_id) == "running")
    other = stage.start()
    until("it is completed", lambda: stage.status(prompt_id) == "completed")
    assert len(stage.runs(prompt_id)) == 1
    assert [worker.said("prompts_rescued") for worker in (carrying, other)] == [[], []]
    audit = stage.audit()
    assert not audit.broken, sentence(audit)


def test_a_dead_workers_prompt_runs_again_within_about_a_lease(
    new_stage: Callable[..., Stage], database_url: str, sql: Client
) -> None:
    """The others look three times a lease; nobody has to do anything."""
    stage = new_stage(database_url, sql, lease_seconds=LEASE_SECONDS)
    (prompt_id,) = stage.add("Slowly. [[tokens=100 rate=2]]")
    carrying = stage.start()
    stage.until_text(prompt_id)
    other = stage.start()
    other.until_said("worker_started")
    killed_at = carrying.kill()
    until("it runs again", lambda: len(stage.runs(prompt_id)) == 2)
    seconds = "julianday(started_at) * 86400.0 - 2440587.5 * 86400.0"
    started = seconds if stage.sql.is_sqlite else "EXTRACT(EPOCH FROM started_at)"
    took = float(stage.sql.one(f"SELECT MAX({started}) FROM runs")) - killed_at
    assert took < LEASE_SECONDS * 4 / 3 + SLACK_SECONDS
    assert stage.sql("SELECT attempts, crashes FROM prompts") == [(1, 1)]
