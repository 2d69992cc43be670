"""A row that cannot be claimed fails by name, and every other row is claimed."""

from __future__ import annotations

import pytest

from tests.store.cast import interrupted, sign_on, start, take
from worker.records import NewPrompt
from worker.store.statements.conditions import COUNT_MAX


@pytest.fixture
def poison(store, sql):
    """A prompt whose runs leave no number for another, in the midst of two good ones."""
    run = start(store, prompt="poison")
    store.commit("w1", [], [interrupted(run)])
    sql("UPDATE prompts SET created_at = created_at")
    sql(f"UPDATE runs SET attempt = {COUNT_MAX}")
    store.add([NewPrompt(prompt="good"), NewPrompt(prompt="fine")])


def test_one_row_that_cannot_be_claimed_stops_nobody(store, sql, poison):
    """It is failed with the reason, and the others run."""
    assert sorted(run.prompt for run in take(store, limit=5)) == ["fine", "good"]
    assert sql("SELECT status, error_code FROM prompts WHERE prompt = 'poison'") == [
        ("failed", "unclaimable")
    ]
    assert "runs_bounds" in sql.one("SELECT error FROM prompts WHERE prompt = 'poison'")
    assert take(store, limit=5) == []


def test_counters_that_were_set_by_hand_stop_no_claim(store, sql):
    """Set back to nothing, or to the bound: the attempt is counted from the runs that exist."""
    run = start(store)
    store.commit("w1", [], [interrupted(run, charged=False)])
    sql("UPDATE prompts SET runs = 0, attempts = 0")
    (again,) = take(store)
    assert (again.attempt, again.attempts) == (2, 1)
    store.commit("w1", [], [interrupted(again)])
    sql(f"UPDATE prompts SET runs = {COUNT_MAX}, attempts = {COUNT_MAX}, crashes = {COUNT_MAX}")
    (last,) = take(store)
    assert (last.attempt, last.attempts) == (3, COUNT_MAX)


def test_a_counter_that_got_past_the_constraints_stops_no_claim(sqlite_store, sqlite_url, connect):
    """Constraints can be ignored, as by whoever edits the file with other tools."""
    sql = connect(sqlite_url)
    sql("PRAGMA ignore_check_constraints = ON")
    for column in ("runs", "attempts", "crashes"):
        sql(f"INSERT INTO prompts (prompt, {column}) VALUES ('{column}', {2**63 - 1})")
    sqlite_store.add([NewPrompt(prompt="good")])
    sign_on(sqlite_store)
    assert "good" in {run.prompt for run in take(sqlite_store, limit=9)}
    assert sql("SELECT count(*) FROM prompts WHERE status = 'queued'") == [(0,)]
