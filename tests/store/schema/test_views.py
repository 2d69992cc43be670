"""What people ask in SQL is answered by four views, the same on both databases."""

from __future__ import annotations

import json

import pytest

from tests.store.cast import completed, failed, interrupted, start, take, words
from worker.records import Kind, NewPrompt, Usage
from worker.store import Selection
from worker.store.schema.views import VIEWS, definition
from worker.wire.finish_reason import TRUNCATED_REASONS

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
    assert sql(look) == [("running", None, "first")]
    store.commit("w1", [words(run, 0, "second")], [failed(run)])
    assert sql(look) == [("failed", None, "second")]


def test_an_attempt_without_text_hides_nothing(store, sql):
    """The server dies at 90 % and stays down: the text is there, and `text_run_id` says whose."""
    first = start(store, custom_id="c")
    texts = [words(first, 0, "hm", Kind.THINKING), words(first, 1, "almost all")]
    store.commit("w1", texts, [interrupted(first, request_hash="h")])
    look = "SELECT status, output, partial_output, thinking, run_id, text_run_id FROM results"
    for request_hash in ("h", None, "h"):
        (run,) = take(store)
        assert sql(look) == [("running", None, "almost all", "hm", run.id, first.id)]
        store.commit("w1", [], [interrupted(run, request_hash=request_hash)])
        assert sql(look) == [("queued", None, "almost all", "hm", run.id, first.id)]
    (run,) = take(store)
    store.commit("w1", [words(run, 0, "anew")], [])
    assert sql(look) == [("running", None, "anew", None, run.id, run.id)]
    store.commit("w1", [], [failed(run)])
    assert sql(look) == [("failed", None, "anew", None, run.id, run.id)]


def test_a_completed_answer_without_text_is_empty_whatever_came_before(store, sql):
    """A part of an earlier attempt is never taken for the answer."""
    first = start(store)
    store.commit("w1", [words(first, 0, "part")], [interrupted(first)])
    (run,) = take(store)
    store.commit("w1", [], [completed(run)])
    assert sql("SELECT output, partial_output, text_run_id FROM results") == [("", None, run.id)]


def test_text_that_answers_another_request_is_not_shown(store, sql):
    """Neither after the owner changed what is asked, nor when a run says that it asked otherwise."""
    first = start(store)
    store.commit("w1", [words(first, 0, "Paris")], [failed(first, request_hash="old")])
    look = "SELECT status, partial_output, run_id, text_run_id, finish_reason FROM results"
    assert store.retry(Selection(), model="another") == 1
    assert sql(look) == [("queued", None, None, None, None)]
    (run,) = take(store)
    assert sql(look) == [("running", None, run.id, None, None)]
    store.commit("w1", [], [interrupted(run)])
    assert sql(look) == [("queued", None, run.id, None, None)]
    assert sql("SELECT attempt, text FROM attempts ORDER BY 1") == [(1, "Paris"), (2, None)]
    sql("UPDATE prompts SET first_attempt = NULL")  # what was changed by hand leaves no such mark
    (run,) = take(store)
    store.commit("w1", [], [interrupted(run, request_hash="new")])
    assert sql(look) == [("queued", None, run.id, None, None)]


def test_a_thought_that_was_cut_is_shown_if_there_is_no_text(store, sql):
    """The latest run that stored anything stands for a prompt that has no text at all."""
    first = start(store)
    store.commit("w1", [words(first, 0, "hm", Kind.THINKING)], [interrupted(first)])
    (run,) = take(store)
    store.commit("w1", [], [failed(run)])
    look = "SELECT partial_output, thinking, text_run_id FROM results"
    assert sql(look) == [(None, "hm", first.id)]


@pytest.mark.parametrize("reason", TRUNCATED_REASONS)
def test_answers_that_were_cut_are_marked_and_counted(store, sql, reason):
    """By whatever word the server has for its length limit; nothing else is."""
    cut, whole, unknown, bad = (start(store, custom_id=str(n)) for n in range(4))
    endings = [completed(cut, finish_reason=reason), completed(whole)]
    endings += [completed(unknown, finish_reason=None), failed(bad, finish_reason=reason)]
    store.commit("w1", [], endings)
    assert sql("SELECT custom_id FROM results WHERE truncated") == [("0",)]
    assert sql("SELECT count(*) FROM results WHERE NOT truncated") == [(3,)]
    assert sql("SELECT truncated FROM progress") == [(1,)]


def test_an_empty_answer_is_an_answer(store, sql):
    """A completed run without text has the output '', not none."""
    store.commit("w1", [], [completed(start(store))])
    assert sql("SELECT output, partial_output FROM results") == [("", None)]


def test_tool_calls_are_whole_when_their_run_has_ended(store, sql):
    """A JSON array in a text, put together from the pieces; these stay in `chunks`."""
    run = start(store)
    first = '{"index":0,"id":"c1","name":"weather","arguments":"{\\"city\\":"}\n'
    second = '{"index":1,"name":"time","arguments":"{}"}\n{"index":0,"arguments":"\\"Zürich\\"}"}\n'
    store.commit("w1", [words(run, 0, first, Kind.TOOL_CALLS), words(run, 1, "t")], [])
    look = "SELECT tool_calls FROM results UNION ALL SELECT tool_calls FROM attempts"
    assert sql(look) == [(first,)] * 2
    last = [words(run, 2, second, Kind.TOOL_CALLS)]
    store.commit("w1", last, [completed(run, calls_tools=True)])
    assert sql("SELECT output, thinking FROM results") == [("t", None)]
    for (calls,) in sql(look):
        assert json.loads(calls) == [
            {"index": 0, "id": "c1", "name": "weather", "arguments": '{"city":"Zürich"}'},
            {"index": 1, "id": None, "name": "time", "arguments": "{}"},
        ]
    assert sql("SELECT text FROM chunks WHERE kind = 'tool_calls' ORDER BY seq") == [
        (first,),
        (second,),
    ]


def test_tool_calls_of_older_versions_are_shown_in_pieces(store, sql):
    """Their runs have nothing else."""
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
