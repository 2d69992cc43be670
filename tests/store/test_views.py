"""What people ask in SQL is answered by four views, the same on both databases."""

from __future__ import annotations

import pytest

from tests.store.cast import completed, failed, interrupted, start, take, words
from worker.records import Kind, NewPrompt, Usage
from worker.store.views import VIEWS, definition

SETTLED = {  # documented, and other people's scripts are written against them
    "results": "id batch custom_id endpoint model prompt status output partial_output thinking"
    " finish_reason prompt_tokens completion_tokens attempts seconds error_code error metadata"
    " created_at finished_at",
    "live": "run_id prompt_id batch custom_id text flush_age_seconds chars_per_second",
    "attempts": "run_id prompt_id attempt status chars error_code error text",
    "progress": "batch total queued running completed failed cancelled prompt_tokens"
    " completion_tokens oldest completed_per_minute",
}


@pytest.mark.parametrize("view", VIEWS)
def test_the_views_have_the_columns_that_are_documented(sql, view):
    """And may have more."""
    cursor = sql._connection.execute(f"SELECT * FROM {view}")
    columns = [column[0] for column in cursor.description]
    assert set(SETTLED[view].split()) <= set(columns)
    assert cursor.fetchall() == []


def test_results_tell_the_answer_when_it_is_there(store, sql):
    """`output` is the text of the completed run, in order; there is no partial output then."""
    run = start(store, custom_id="c", model="phi", metadata={"k": 1})
    store.commit(
        "w1", [words(run, 1, "b"), words(run, 0, "a"), words(run, 2, "?", Kind.THINKING)], []
    )
    store.commit("w1", [words(run, 3, "c")], [completed(run, usage=Usage(3, 4))])
    assert sql(
        "SELECT id, batch, custom_id, endpoint, model, prompt, status, output, partial_output,"
        " thinking, finish_reason, prompt_tokens, completion_tokens, attempts, error_code, error"
        " FROM results"
    ) == [
        (
            run.prompt_id,
            None,
            "c",
            "default",
            "phi",
            "Why?",
            "completed",
            "abc",
            None,
            "?",
            "stop",
            3,
            4,
            1,
            None,
            None,
        )
    ]
    assert 0 <= sql.one("SELECT seconds FROM results") < 60


def test_results_tell_what_there_is_so_far(store, sql):
    """Queued, running, interrupted, failed: the text of the latest run, and never as output."""
    store.add([NewPrompt(prompt="x")], batch="b")
    assert sql("SELECT status, output, partial_output, seconds FROM results") == [
        ("queued", None, None, None)
    ]
    run = start(store, priority=1)
    look = f"SELECT status, output, partial_output FROM results WHERE id = {run.prompt_id}"
    assert sql(look) == [("running", None, None)]
    store.commit("w1", [words(run, 0, "first")], [])
    assert sql(look) == [("running", None, "first")]
    store.commit("w1", [], [interrupted(run)])
    assert sql(look) == [("queued", None, "first")]
    (run,) = take(store)
    assert sql(look) == [("running", None, None)]
    store.commit("w1", [words(run, 0, "second")], [failed(run)])
    assert sql(look) == [("failed", None, "second")]


def test_an_empty_answer_is_an_answer(store, sql):
    """A completed run without text has the output '', not none."""
    store.commit("w1", [], [completed(start(store))])
    assert sql("SELECT output, partial_output FROM results") == [("", None)]


def test_tool_calls_are_told_apart(store, sql):
    """Kinds are never mixed."""
    run = start(store)
    calls = [
        words(run, 0, "[1,", Kind.TOOL_CALLS),
        words(run, 1, "t"),
        words(run, 2, "2]", Kind.TOOL_CALLS),
    ]
    store.commit("w1", calls, [completed(run)])
    assert sql("SELECT output, tool_calls, thinking FROM results") == [("t", "[1,2]", None)]


def test_live_tells_what_streams_now(store, sql):
    """With its text so far, and how long nothing was stored."""
    run, silent = start(store, custom_id="c"), start(store)
    store.commit("w1", [words(run, 0, "hm", Kind.THINKING), words(run, 1, "abc")], [])
    assert sql(
        "SELECT run_id, prompt_id, custom_id, worker_id, attempt, chunks, chars, text, thinking"
        " FROM live ORDER BY run_id"
    ) == [
        (run.id, run.prompt_id, "c", "w1", 1, 2, 3, "abc", "hm"),
        (silent.id, silent.prompt_id, None, "w1", 1, 0, 0, None, None),
    ]
    assert sql(
        "SELECT flush_age_seconds >= 0, flush_age_seconds < 60, chars_per_second > 0, seconds < 60"
        f" FROM live WHERE run_id = {run.id}"
    ) == [(True, True, True, True)]
    assert sql(f"SELECT flush_age_seconds FROM live WHERE run_id = {silent.id}") == [(None,)]
    store.commit("w1", [], [completed(run), failed(silent)])
    assert sql("SELECT * FROM live") == []


def test_attempts_tell_every_run(store, sql):
    """With its length, its text and its error; the one under way is measured."""
    run = start(store)
    store.commit("w1", [words(run, 0, "first")], [interrupted(run, chars=5, chunks=1)])
    (again,) = take(store)
    store.commit("w1", [words(again, 0, "sec"), words(again, 1, "ond")], [])
    assert sql(
        "SELECT run_id, attempt, status, chars, chunks, error_code, text FROM attempts ORDER BY 1"
    ) == [
        (run.id, 1, "interrupted", 5, 1, "connection_lost", "first"),
        (again.id, 2, "streaming", 6, 2, None, "second"),
    ]


def test_progress_counts_by_batch(store, sql):
    """States, tokens, the oldest that waits, and the rate; without a batch is a row of its own."""
    store.add([NewPrompt(prompt="x")] * 3, batch="b")
    done, bad = start(store, priority=1), start(store, priority=1)
    store.commit("w1", [], [completed(done, usage=Usage(10, 20)), failed(bad)])
    (run,) = take(store)
    store.commit("w1", [], [completed(run, usage=Usage(1, 2))])
    columns = "batch, total, queued, running, completed, failed, cancelled, prompt_tokens, completion_tokens"
    assert sorted(sql(f"SELECT {columns} FROM progress"), key=str) == [
        ("b", 3, 2, 0, 1, 0, 0, 1, 2),
        (None, 2, 0, 0, 1, 1, 0, 10, 20),
    ]
    assert sql("SELECT batch FROM progress WHERE oldest IS NOT NULL") == [("b",)]
    assert sql("SELECT completed_per_minute > 0 FROM progress") == [(True,), (True,)]
    sql("UPDATE prompts SET finished_at = '2020-01-01 00:00:00' WHERE finished_at IS NOT NULL")
    assert sql("SELECT completed_per_minute FROM progress") == [(0,), (0,)]


def test_a_long_text_is_put_together_whole_and_in_order(store, sql):
    """Thousands of chunks, megabytes, characters of every width."""
    run = start(store)
    filling = "é\U0001f642x" * 100
    pieces = [f"{seq}:{filling}\n" for seq in range(3000)]
    store.commit(
        "w1", [words(run, seq, text) for seq, text in reversed(list(enumerate(pieces)))], []
    )
    store.commit("w1", [], [completed(run)])
    assert sql.one("SELECT output FROM results") == "".join(pieces)
    assert sql.one("SELECT text FROM attempts") == "".join(pieces)


@pytest.mark.parametrize("view", ["results", "attempts", "live"])
def test_texts_that_nobody_asks_for_are_not_read(store, sql, view):
    """A query that names no text column does not touch the chunks."""
    start(store)
    explain = "EXPLAIN QUERY PLAN" if store.is_sqlite else "EXPLAIN"
    columns = "custom_id, endpoint, model, seconds"
    assert "chunks" not in str(sql(f"{explain} SELECT {columns} FROM {view}"))
    text = "output" if view == "results" else "text"
    assert "chunks" in str(sql(f"{explain} SELECT {text} FROM {view}"))


def test_the_two_spellings_differ_only_where_they_must():
    """The same columns in the same order; the tests above hold their meaning together."""
    for view in VIEWS:
        names = [
            [line.rsplit(" AS ", 1)[-1].strip(" ,") for line in text.splitlines() if " AS " in line]
            for text in (definition(view, is_sqlite=True), definition(view, is_sqlite=False))
        ]
        assert len(names[0]) == len(names[1]) > 0
