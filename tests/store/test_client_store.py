"""What people read is true, complete, and read in flat memory."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime

import pytest

from tests.store.cast import completed, expire, failed, interrupted, sign_on, start, take, words
from worker.records import Kind, NewPrompt
from worker.states import PromptState, RunState
from worker.store import LiveRun, PromptDetail, QueueStatus, ResultRow, Selection, Tally
from worker.store.client_store import TEXT_PAGE_LEAST
from worker.store.database.prepared import Prepared
from worker.store.rows import Attempt


def test_a_prompt_tells_everything_about_itself(store):
    """With aware times, states as states, and JSON as values."""
    store.add(
        [
            NewPrompt(
                messages=[{"role": "user", "content": "é"}],
                custom_id="c",
                model="phi",
                options={"a": 1},
                metadata={"k": [1]},
                priority=2,
                max_attempts=4,
            )
        ],
        batch="b",
    )
    detail = store.prompt(1)
    assert isinstance(detail, PromptDetail)
    assert (detail.id, detail.batch, detail.custom_id, detail.model) == (1, "b", "c", "phi")
    assert detail.messages == [{"role": "user", "content": "é"}]
    assert (detail.prompt, detail.options, detail.metadata) == (None, {"a": 1}, {"k": [1]})
    assert detail.status is PromptState.QUEUED
    assert (detail.priority, detail.max_attempts, detail.attempts, detail.runs) == (2, 4, 0, 0)
    assert abs((datetime.now(UTC) - detail.created_at).total_seconds()) < 60
    assert detail.created_at.tzinfo is UTC
    assert (detail.run_id, detail.finished_at, detail.cancel_requested_at) == (None, None, None)
    assert store.prompt(2) is None


def test_a_prompt_is_found_by_the_name_that_its_owner_gave_it(store):
    """In one batch, or in all of them."""
    for batch in ("a", "b"):
        store.add([NewPrompt(prompt="x", custom_id="c"), NewPrompt(prompt="x")], batch=batch)
    assert store.find("c") == [1, 3]
    assert store.find("c", "b") == [3]
    assert store.find("c", "no such batch") == []
    assert store.find("d") == []


def test_attempts_come_in_their_order_with_their_length(store):
    """Also the one that is under way."""
    run = start(store)
    store.commit("w1", [words(run, 0, "abc")], [interrupted(run, chars=3)])
    (again,) = take(store)
    store.commit("w1", [words(again, 0, "hm", Kind.THINKING), words(again, 1, "abcd")], [])
    first, second = store.attempts(run.prompt_id)
    assert isinstance(first, Attempt)
    assert (first.run_id, first.attempt, first.status) == (run.id, 1, RunState.INTERRUPTED)
    assert (first.chars, first.error_code, first.error) == (3, "connection_lost", "reset by peer")
    assert first.finished_at >= first.started_at
    assert (second.run_id, second.attempt, second.status) == (again.id, 2, RunState.STREAMING)
    assert (second.chars, second.finished_at) == (4, None)
    assert store.attempts(99) == []


def test_text_comes_by_the_page_from_where_one_left_off(store):
    """The numbers let a reader go on, with nothing twice and nothing missed."""
    run = start(store)
    kinds = [Kind.THINKING, Kind.TEXT]
    count = TEXT_PAGE_LEAST * 50
    store.commit("w1", [words(run, n, f"{n} ", kinds[n % 2]) for n in range(count)], [])
    odd = [(n, f"{n} ") for n in range(1, count, 2)]
    assert list(store.text(run.id)) == odd
    assert list(store.text(run.id, Kind.TEXT, 100)) == [each for each in odd if each[0] > 100]
    assert list(store.text(run.id, Kind.TOOL_CALLS)) == []
    assert list(store.text(99)) == []


def test_results_come_by_the_page_in_the_order_of_ids(store):
    """However small the page."""
    store.add((NewPrompt(prompt=f"p{n}") for n in range(25)), batch="b")
    rows = list(store.results(Selection(batch="b"), page=7))
    assert [row.id for row in rows] == list(range(1, 26))
    assert all(isinstance(row, ResultRow) for row in rows)
    assert [row.id for row in store.results(Selection(batch="b"), page=25)] == list(range(1, 26))


def test_a_result_tells_of_its_latest_run(store):
    """What the view tells, without the texts."""
    run = start(store, custom_id="c", metadata={"k": 1})
    (row,) = store.results(Selection())
    assert (row.status, row.run_id, row.finish_reason) == (PromptState.RUNNING, run.id, None)
    assert row.seconds >= 0
    store.commit("w1", [], [completed(run, http_status=200, request_id="req")])
    (row,) = store.results(Selection())
    assert (row.status, row.finish_reason, row.http_status) == (PromptState.COMPLETED, "stop", 200)
    assert (row.request_id, row.custom_id, row.metadata) == ("req", "c", {"k": 1})
    assert (row.model, row.attempts, row.error_code) == ("llama", 1, None)
    assert row.finished_at >= row.created_at


def test_results_that_change_while_they_are_read_are_neither_skipped_nor_doubled(store):
    """A page is a transaction; ids do not move."""
    store.add((NewPrompt(prompt="x") for _ in range(10)), batch="b")
    seen = []
    for row in store.results(Selection(batch="b"), page=3):
        seen.append(row.id)
        store.cancel(Selection(ids=(row.id,)))
    assert seen == list(range(1, 11))


def test_an_empty_queue_has_a_status(store):
    """Nothing to see is not an error."""
    assert store.status() == QueueStatus()


def test_the_status_is_the_whole_queue_at_one_glance(store, sql):
    """Tallies, workers, what streams, what waits, what failed."""
    store.add([NewPrompt(prompt="x")] * 4, batch="b")
    sign_on(store)
    done, bad, live, waits = take(store, limit=4)
    store.commit(
        "w1",
        [words(live, 0, "abc")],
        [completed(done), failed(bad), interrupted(waits, delay_seconds=500.0)],
    )
    store.add([NewPrompt(prompt="x", endpoint="gpu")] * 2)
    status = store.status()
    state = PromptState
    one_each = dict.fromkeys((state.COMPLETED, state.FAILED, state.QUEUED, state.RUNNING), 1)
    assert status.tallies == (
        Tally(None, "gpu", {state.QUEUED: 2}),
        Tally("b", "default", one_each),
    )
    assert (status.ready, status.later) == (2, 1)
    assert 490 < status.next_in_seconds < 500.01
    assert status.failures == {"bad_request": 1}
    assert status.crash_capped == ()
    assert (status.completed_last_hour, status.completed_last_minute) == (1, 1)
    sql("UPDATE prompts SET finished_at = '2000-01-01 00:00:00' WHERE finished_at IS NOT NULL")
    later_on = store.status()
    assert (later_on.completed_last_hour, later_on.completed_last_minute) == (0, 0)
    (worker,) = status.workers
    assert (worker.id, worker.host, worker.runs, worker.stopped_at) == ("w1", "host", 1, None)
    assert 0 < worker.lease_seconds_left <= 300.01
    (run,) = status.live
    assert isinstance(run, LiveRun)
    assert (run.run_id, run.prompt_id, run.batch, run.chunks) == (live.id, live.prompt_id, "b", 1)
    assert 0 <= run.silent_seconds <= run.seconds < 60


def test_texts_are_measured_without_being_read(store):
    """Several at a time; those of other kinds do not count, and who has none is left out."""
    store.add([NewPrompt(prompt="x")] * 3)
    sign_on(store)
    first, second, third = take(store, limit=3)
    thought = words(second, 0, "hm", Kind.THINKING)
    store.commit("w1", [words(first, 0, "wör"), words(first, 1, "ld"), thought], [])
    assert store.lengths([first.id, second.id, third.id]) == {first.id: 5}
    assert store.lengths([]) == {}


@pytest.mark.parametrize("holds", [True, False])
def test_the_status_shows_dead_workers_as_long_as_they_matter(store, sql, holds):
    """One that died long ago is shown only while somebody still has to rescue its runs."""
    run = start(store)
    if not holds:
        store.commit("w1", [], [completed(run)])
    assert [each.id for each in store.status().workers] == ["w1"]
    expire(sql)
    workers = store.status().workers
    assert [each.id for each in workers] == (["w1"] if holds else [])
    assert all(each.lease_seconds_left < 0 for each in workers)
    sign_on(store, "w2")
    store.sign_off("w2")
    assert "w2" not in [each.id for each in store.status().workers]


def test_prompts_that_killed_workers_are_named(store, sql):
    """By their ids, the newest first."""
    for _ in range(2):
        start(store)
        expire(sql)
        store.rescue(max_crashes=1)
    status = store.status()
    assert status.crash_capped == (2, 1)
    assert status.failures == {"too_many_crashes": 2}


def test_long_prompts_are_read_a_few_at_a_time(store):
    """A page of 500 of them would be hundreds of megabytes."""
    store.add((NewPrompt(prompt="x" * 1_000_000) for _ in range(40)), batch="b")
    tracemalloc.start()
    rows = sum(1 for _ in store.results(Selection(batch="b")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 40
    assert peak < 16_000_000


def test_short_prompts_are_read_by_the_page(store, monkeypatch):
    """Pages grow from one prompt to the number asked for, and no further."""
    store.add((NewPrompt(prompt=f"p{n}") for n in range(100)), batch="b")
    sizes = []
    rows = Prepared.rows

    def counted(self, connection, given):
        sizes.append(given["page"])
        return rows(self, connection, given)

    monkeypatch.setattr(Prepared, "rows", counted)
    assert len(list(store.results(Selection(batch="b"), page=50))) == 100
    assert sizes == [1, 4, 16, 50, 50]


def test_an_export_walks_along_its_index_whatever_the_statistics_say(postgres_store, monkeypatch):
    """On tables that had just been filled it sorted all that was left, for every page."""
    postgres_store.add([NewPrompt(prompt="x")])
    asked = []
    rows = Prepared.rows

    def noting(self, connection, given):
        asked.append(connection.exec_driver_sql("SHOW enable_sort").scalar())
        return rows(self, connection, given)

    monkeypatch.setattr(Prepared, "rows", noting)
    assert len(list(postgres_store.results(Selection()))) == 1
    assert set(asked) == {"off"}
