"""A worker that slept longer than its lease wakes up to find that nothing is its own any more.

SIGSTOP is what a suspended laptop, a paused virtual machine and a long collection of garbage
have in common: the process does not know that time has passed.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.crash.stage import Stage, sentence, until

Rows = list[tuple[Any, ...]]


def rows_of(stage: Stage, run_id: int) -> tuple[Rows, Rows]:
    """Everything that is stored of a run, apart from why its worker lost it."""
    return (
        stage.sql(
            "SELECT status, started_at, first_text_at, finished_at, finish_reason, chars, chunks,"
            f" prompt_tokens, completion_tokens, done_frame FROM runs WHERE id = {run_id}"
        ),
        stage.sql(f"SELECT * FROM chunks WHERE run_id = {run_id} ORDER BY seq"),
    )


@pytest.mark.parametrize(
    "manner", ["tokens=400 rate=40", "tokens=60 rate=40"], ids=["goes-on", "has-ended-meanwhile"]
)
def test_a_zombie_writes_nothing(stage: Stage, manner: str) -> None:
    """Neither the text that waited in its socket nor a done frame gets into the run it has lost."""
    (prompt_id,) = stage.add(f"A story. [[{manner}]]")
    zombie = stage.start()
    run_id = stage.until_text(prompt_id)
    zombie.pause()
    other = stage.start()
    until("the prompt is taken over", lambda: len(stage.runs(prompt_id)) == 2)
    assert stage.runs(prompt_id)[0] == (run_id, "interrupted", "lease_expired")
    stored = rows_of(stage, run_id)

    zombie.resume()
    zombie.until_said("run_lost")

    until("the prompt is completed", lambda: stage.status(prompt_id) == "completed")
    assert rows_of(stage, run_id) == stored
    assert [each[1:] for each in stage.runs(prompt_id)] == [
        ("interrupted", "lease_lost"),
        ("completed", None),
    ]
    zombie.terminate()
    other.terminate()
    assert (zombie.ended(), other.ended()) == (0, 0)
    audit = stage.audit()
    assert not audit.broken, sentence(audit)


def test_a_zombie_gets_up_and_works_again(stage: Stage) -> None:
    """It has lost its runs, not its mind: with a lease renewed, it claims and completes."""
    (lost,) = stage.add("A story. [[tokens=400 rate=40]]")
    zombie = stage.start()
    stage.until_text(lost)
    zombie.pause()
    other = stage.start()
    until("the prompt is taken over", lambda: len(stage.runs(lost)) == 2)
    other.kill()
    zombie.resume()
    zombie.until_said("run_lost")
    (fresh,) = stage.add("Another. [[tokens=5]]")
    until("the new prompt is completed", lambda: stage.status(fresh) == "completed")
    until("the old one is", lambda: stage.status(lost) == "completed")
    audit = stage.audit()
    assert not audit.broken, sentence(audit)


def test_a_pause_shorter_than_the_lease_costs_nothing(stage: Stage) -> None:
    """The stream goes on where it was; what gathered meanwhile is not lost, nor taken for a stall."""
    (prompt_id,) = stage.add("A story. [[tokens=100 rate=40]]")
    worker = stage.start()
    stage.until_text(prompt_id)
    for _ in range(3):
        chunks = stage.sql.one("SELECT COUNT(*) FROM chunks")
        sent = stage.requests()[0]["chars_sent"]
        worker.pause()
        until(
            "the server has sent more",
            lambda sent=sent: stage.requests()[0]["chars_sent"] > sent + 20,
            seconds=1.5,
        )
        worker.resume()
        until(
            "more is stored, or all",
            lambda chunks=chunks: (
                stage.sql.one("SELECT COUNT(*) FROM chunks") > chunks
                or stage.status(prompt_id) == "completed"
            ),
        )
    until("it is completed", lambda: stage.status(prompt_id) == "completed")
    assert len(stage.runs(prompt_id)) == 1
    audit = stage.audit()
    assert not audit.broken, sentence(audit)


def test_sleep_is_not_the_servers_silence(new_stage: Any, database_url: str, sql: Any) -> None:
    """A worker that slept past a deadline reads what has arrived before it judges the server."""
    stage = new_stage(database_url, sql, lease_seconds=60)
    (prompt_id,) = stage.add("A story. [[tokens=400 rate=40]]")
    worker = stage.start()
    run_id = stage.until_text(prompt_id)
    sent = stage.requests()[0]["chars_sent"]
    worker.pause()  # for longer than idle_timeout_seconds
    until(
        "the server has sent 5 s of text",
        lambda: stage.requests()[0]["chars_sent"] > sent + 5 * 40 * 5,
    )
    worker.resume()
    until("it is completed", lambda: stage.status(prompt_id) == "completed")
    assert stage.runs(prompt_id) == [(run_id, "completed", None)]
    audit = stage.audit()
    assert not audit.broken, sentence(audit)


def test_sleeping_through_the_headers_is_not_charged(stage: Stage) -> None:
    """Who knows what the server said while nobody listened: the prompt may be tried once more."""
    (prompt_id,) = stage.add("A story. [[delay=4 tokens=5]]")
    worker = stage.start()
    until("the server was asked", stage.requests)
    worker.pause()  # for longer than first_frame_timeout_seconds
    asked_at = time.monotonic()
    until("7 s have passed", lambda: time.monotonic() - asked_at > 7)
    worker.resume()
    until("it is completed", lambda: stage.status(prompt_id) == "completed")
    assert stage.sql.one(f"SELECT attempts FROM prompts WHERE id = {prompt_id}") == 1
