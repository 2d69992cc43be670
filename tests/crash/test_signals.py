"""A worker that is told to stop hands everything back, charges nobody, and says so if it cannot."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Client
from tests.crash.stage import Stage, sentence, until
from tests.fakes import postgres
from worker.store.schema import migrate

LONG = "A long story. [[tokens=2000 rate=40]]"


def handed_back(stage: Stage, prompt_id: int, run_id: int, sent: int) -> None:
    """The prompt waits as if nothing had been tried, and the text up to the signal is there."""
    assert stage.runs(prompt_id) == [(run_id, "interrupted", "shutdown")]
    found = stage.sql(f"SELECT status, attempts, crashes FROM prompts WHERE id = {prompt_id}")
    assert found == [("queued", 0, 0)]
    assert len(stage.text(run_id)) >= sent
    assert stage.sql.one("SELECT COUNT(*) FROM workers WHERE stopped_at IS NULL") == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_of_a_stream_flushes_and_hands_back(
    stage: Stage, number: signal.Signals
) -> None:
    """Exit 0; what the server had sent is stored; the prompt may be claimed at once, uncharged."""
    (prompt_id,) = stage.add(LONG)
    worker = stage.start()
    run_id = stage.until_text(prompt_id)
    sent = stage.requests()[0]["chars_sent"]
    worker.terminate(number)
    assert worker.ended() == 0, worker.output
    handed_back(stage, prompt_id, run_id, sent)
    with_room = stage.sql.one(
        "SELECT COUNT(*) FROM prompts WHERE available_at <= CURRENT_TIMESTAMP"
        if not stage.sql.is_sqlite
        else "SELECT COUNT(*) FROM prompts"
        " WHERE available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')"
    )
    assert with_room == 1
    stage.sql(f"DELETE FROM prompts WHERE id = {prompt_id} AND status <> 'queued'")
    audit = stage.audit()
    assert set(audit.findings) <= {"stuck"}, sentence(audit)  # the prompt is queued, as it should


def test_streams_that_end_within_the_grace_are_completed(
    new_stage: Callable[..., Stage], database_url: str, sql: Client
) -> None:
    """Stopping in peace throws nothing away; only new prompts stay where they are."""
    stage = new_stage(database_url, sql, shutdown_grace_seconds=60)
    (running,) = stage.add("A story. [[tokens=100 rate=40]]")
    worker = stage.start()
    stage.until_text(running)
    worker.terminate()
    worker.until_said("worker_draining")
    (waiting,) = stage.add("Too late. [[tokens=1]]")
    assert worker.ended() == 0, worker.output
    assert (stage.status(running), stage.status(waiting)) == ("completed", "queued")
    assert stage.runs(waiting) == []


def test_a_second_signal_hands_back_now(
    new_stage: Callable[..., Stage], database_url: str, sql: Client
) -> None:
    """Whoever presses Ctrl-C twice does not want to wait, and still loses nothing."""
    stage = new_stage(database_url, sql, shutdown_grace_seconds=600)
    (prompt_id,) = stage.add(LONG)
    worker = stage.start()
    run_id = stage.until_text(prompt_id)
    worker.terminate()
    worker.until_said("worker_draining")
    sent = stage.requests()[0]["chars_sent"]
    worker.terminate()
    assert worker.ended() == 0, worker.output
    handed_back(stage, prompt_id, run_id, sent)


def test_an_idle_worker_stops_at_once(
    new_stage: Callable[..., Stage], database_url: str, sql: Client
) -> None:
    """There is nothing to wait for, least of all the end of its grace."""
    stage = new_stage(database_url, sql, shutdown_grace_seconds=100_000)
    worker = stage.start()
    worker.until_said("worker_started")
    worker.terminate()
    assert worker.ended() == 0, worker.output
    assert stage.sql.one("SELECT COUNT(*) FROM workers WHERE stopped_at IS NULL") == 0


def test_stopping_while_sqlite_is_locked_says_that_text_could_not_be_stored(
    new_stage: Callable[..., Stage], sqlite_url: str, connect: Callable[[str], Client]
) -> None:
    """Exit 1 and a sentence; what was flushed is there, and the next worker takes the prompt."""
    stage = new_stage(sqlite_url, connect(sqlite_url), busy_timeout_seconds=1)
    (prompt_id,) = stage.add(LONG)
    worker = stage.start()
    run_id = stage.until_text(prompt_id)
    path = sqlite_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        stored = stage.text(run_id)
        worker.terminate()
        assert worker.ended() == 1, worker.output
        intruder.execute("ROLLBACK")
    unstored_is_told(stage, worker.output, prompt_id, run_id, stored)


def test_stopping_while_postgresql_is_away_says_that_text_could_not_be_stored(
    new_stage: Callable[..., Stage], connect: Callable[[str], Client], tmp_path: Path
) -> None:
    """The same where the database is another machine."""
    with postgres.private() as server:
        url = server.create_database("spool")
        migrate.upgrade(url)
        stage = new_stage(url, connect(url))
        (prompt_id,) = stage.add(LONG)
        worker = stage.start()
        run_id = stage.until_text(prompt_id)
        stored = stage.text(run_id)
        server.stop()
        worker.terminate()
        assert worker.ended() == 1, worker.output
        server.start()
        stage.sql = connect(url)
        unstored_is_told(stage, worker.output, prompt_id, run_id, stored)


def test_a_worker_that_is_killed_after_it_was_told_to_stop_is_no_crash(
    new_stage: Callable[..., Stage], database_url: str, sql: Client
) -> None:
    """SIGTERM, then SIGKILL before it has ended, as supervisors do it."""
    stage = new_stage(database_url, sql, shutdown_grace_seconds=600)
    left = "SELECT COUNT(*) FROM workers WHERE leaving_at IS NOT NULL"
    (prompt_id,) = stage.add(LONG)
    for number in range(1, 4):
        worker = stage.start()
        until("it runs", lambda number=number: len(stage.runs(prompt_id)) == number)
        stage.until_text(prompt_id)
        worker.terminate()
        until("it says so", lambda number=number: stage.sql.one(left) == number)
        worker.kill()
    stage.start()
    until("it runs again", lambda: len(stage.runs(prompt_id)) == 4)
    assert [each[1:] for each in stage.runs(prompt_id)[:3]] == [("interrupted", "shutdown")] * 3
    assert stage.sql("SELECT crashes, attempts FROM prompts") == [(0, 1)]


def unstored_is_told(stage: Stage, output: str, prompt_id: int, run_id: int, stored: str) -> None:
    """Nothing that was flushed is gone, the worker said what is, and the queue goes on."""
    assert "run_unstored" in output
    assert "the database did not take the last text of 1 run" in output
    assert stage.text(run_id).startswith(stored)
    stage.sql(f"UPDATE prompts SET prompt = 'Short. [[tokens=5]]' WHERE id = {prompt_id}")
    stage.start("--drain")
    until("another worker completes it", lambda: stage.status(prompt_id) == "completed")
    assert stage.runs(prompt_id)[0] == (run_id, "interrupted", "lease_expired")
