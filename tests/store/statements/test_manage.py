"""People may change their mind: cancel, retry and prune do what they say and no more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from tests.store.cast import (
    cancelled,
    completed,
    failed,
    interrupted,
    sign_on,
    start,
    take,
    words,
)
from worker.records import NewPrompt
from worker.states import PromptState
from worker.store import Selection
from worker.store.statements import manage

ALL = Selection()


def states(sql):
    return [state for (state,) in sql("SELECT status FROM prompts ORDER BY id")]


@pytest.fixture
def one_of_each(store):
    """A prompt in every state, in the order of the enum; returns the running one's run."""
    sign_on(store)
    runs = {}
    for name, ending in (("done", completed), ("failed", failed), ("gone", cancelled)):
        runs[name] = start(store, custom_id=name)
        store.commit("w1", [words(runs[name], 0, name)], [ending(runs[name])])
    runs["running"] = start(store, custom_id="running", endpoint="gpu")
    store.add([NewPrompt(prompt="q", custom_id="queued", endpoint="gpu")], batch="b")
    return runs


class TestCancel:
    def test_queued_prompts_are_cancelled_and_running_ones_asked(self, store, sql, one_of_each):
        assert store.cancel(ALL) == 2
        assert states(sql) == ["completed", "failed", "cancelled", "running", "cancelled"]
        assert store.cancel_requests("w1") == {one_of_each["running"].id}
        assert sql("SELECT error_code, finished_at IS NULL FROM prompts WHERE id = 5") == [
            ("cancelled", False)
        ]

    def test_what_was_asked_for_is_not_counted_again(self, store, one_of_each):
        store.cancel(ALL)
        assert store.cancel(ALL) == 0

    def test_the_worker_then_ends_it(self, store, sql, one_of_each):
        store.cancel(ALL)
        run = one_of_each["running"]
        assert store.commit("w1", [words(run, 0, "so far")], [cancelled(run)]) == frozenset()
        assert states(sql)[3] == "cancelled"
        assert store.cancel_requests("w1") == frozenset()
        assert sql("SELECT partial_output FROM results WHERE id = 4") == [("so far",)]

    def test_others_are_not_asked(self, store, one_of_each):
        store.cancel(ALL)
        sign_on(store, "w2")
        assert store.cancel_requests("w2") == frozenset()

    def test_a_request_by_plain_sql_is_one_too(self, store, sql, one_of_each):
        sql("UPDATE prompts SET cancel_requested_at = created_at WHERE finished_at IS NULL")
        assert store.cancel_requests("w1") == {one_of_each["running"].id}
        assert store.cancel_queued() == 1
        assert store.cancel_queued() == 0
        assert states(sql) == ["completed", "failed", "cancelled", "running", "cancelled"]

    def test_many_are_cancelled_by_the_page(self, store, sql):
        store.add((NewPrompt(prompt="x") for _ in range(2300)), batch="b")
        assert store.cancel(Selection(batch="b")) == 2300
        assert sql("SELECT status, count(*) FROM prompts GROUP BY status") == [("cancelled", 2300)]


class TestRetry:
    def test_failed_and_cancelled_prompts_are_as_new(self, store, sql, one_of_each):
        assert store.retry(ALL) == 2
        assert states(sql) == ["completed", "queued", "queued", "running", "queued"]
        assert (
            sql(
                "SELECT attempts, crashes, runs, error_code, error, finished_at, cancel_requested_at"
                " FROM prompts WHERE id IN (2, 3)"
            )
            == [(0, 0, 1, None, None, None, None)] * 2
        )
        runs = take(store, limit=9)
        assert [(run.prompt_id, run.attempt, run.attempts) for run in runs] == [
            (2, 2, 1),
            (3, 2, 1),
        ]

    def test_texts_of_earlier_attempts_stay(self, store, one_of_each):
        store.retry(ALL)
        assert list(store.text(one_of_each["failed"].id)) == [(0, "failed")]

    def test_it_may_change_what_is_asked_and_where(self, store, one_of_each):
        given = {"options": {"max_tokens": 9}, "endpoint": "gpu", "model": "big"}
        assert store.retry(Selection(ids=(2,)), **given) == 1
        detail = store.prompt(2)
        assert (detail.options, detail.endpoint, detail.model) == ({"max_tokens": 9}, "gpu", "big")
        assert store.prompt(3).endpoint == "default"

    def test_a_prompt_that_was_cancelled_on_request_is_not_cancelled_again(
        self, store, one_of_each
    ):
        store.cancel(Selection(ids=(5,)))
        store.retry(Selection(ids=(5,)))
        assert store.cancel_queued() == 0
        assert [run.prompt_id for run in take(store, endpoint="gpu")] == [5]


@pytest.mark.parametrize("what", ["cancel", "retry", "prune"])
def test_every_page_goes_on_where_the_last_one_ended(store, monkeypatch, what):
    """All pages together read each prompt once: twice as many prompts cost twice as much."""
    store.add(NewPrompt(prompt=str(n)) for n in range(7))
    if what != "cancel":
        store.cancel(ALL)
    asked = []

    def heard(_connection, _cursor, _statement, _parameters, context, _many):
        given = context.compiled_parameters[0] if context.compiled else {}
        if "after" in given:
            asked.append(given["after"])

    monkeypatch.setattr("worker.store.client_store.PAGE", 3)
    event.listen(store._db.engine, "before_cursor_execute", heard)
    pages = list(store.prune(ALL, page=3)) if what == "prune" else [getattr(store, what)(ALL)]
    assert sum(pages) == 7
    assert asked == [0, 3, 6]


def test_the_sweep_cancels_in_pages(store, sql, monkeypatch):
    """A million requests are no statement that a timeout ends again and again."""
    store.add(NewPrompt(prompt=str(n)) for n in range(7))
    sql("UPDATE prompts SET cancel_requested_at = created_at")
    monkeypatch.setattr(manage, "CANCELLED_AT_ONCE", 3)
    manage.cancel_queued.cache_clear()
    counts = []
    event.listen(store._work_db.engine, "commit", lambda _connection: counts.append(1))
    try:
        assert store.cancel_queued() == 7
    finally:
        manage.cancel_queued.cache_clear()
    assert len(counts) == 4


class TestPrune:
    def test_only_what_is_finished_is_deleted_with_all_that_belongs_to_it(
        self, store, sql, one_of_each
    ):
        run = one_of_each["running"]
        store.commit("w1", [words(run, 0, "x")], [])
        assert sum(store.prune(ALL)) == 3
        assert states(sql) == ["running", "queued"]
        assert sql("SELECT id FROM runs") == [(run.id,)]
        assert sql("SELECT run_id FROM chunks") == [(run.id,)]

    def test_it_takes_a_bounded_bite(self, store, sql, one_of_each):
        assert list(store.prune(ALL, page=2)) == [2, 1]

    def test_ids_are_never_given_out_again(self, store, sql, one_of_each):
        assert sum(store.prune(ALL)) == 3
        sql("DELETE FROM prompts")
        run = start(store)
        assert run.prompt_id == 6
        assert run.id == 5

    def test_a_moment_may_be_given(self, store, sql, one_of_each):
        sql("UPDATE prompts SET finished_at = '2020-01-01 00:00:00' WHERE id = 1")
        last_year = datetime.now(UTC) - timedelta(days=365)
        assert list(store.prune(Selection(finished_before=last_year))) == [1]
        assert states(sql) == ["failed", "cancelled", "running", "queued"]


@pytest.mark.parametrize(
    ("selection", "ids"),
    [
        (ALL, [1, 2, 3, 4, 5]),
        (Selection(ids=(1, 5, 99)), [1, 5]),
        (Selection(batch="b"), [5]),
        (Selection(batch="no such batch"), []),
        (Selection(states=(PromptState.FAILED, PromptState.QUEUED)), [2, 5]),
        (Selection(error_code="bad_request"), [2]),
        (Selection(endpoint="gpu"), [4, 5]),
        (Selection(endpoint="gpu", states=(PromptState.RUNNING,)), [4]),
        (Selection(finished_before=datetime(2999, 1, 1, tzinfo=UTC)), [1, 2, 3]),
        (Selection(finished_before=datetime(2020, 1, 1, tzinfo=UTC)), []),
    ],
)
def test_a_selection_means_the_same_everywhere(store, one_of_each, selection, ids):
    """Counted, listed, cancelled: the same prompts."""
    assert store.count(selection) == len(ids)
    assert [row.id for row in store.results(selection)] == ids
    assert store.cancel(selection) == len({4, 5} & set(ids))


def test_two_people_who_decide_at_once_do_not_wait_for_ever(open_store, sql):
    """Pages are locked in the order of ids: no deadlock, nothing decided twice."""
    import threading

    stores = [open_store(), open_store()]
    stores[0].add((NewPrompt(prompt="x") for _ in range(3000)), batch="b")
    gate, counts = threading.Barrier(2), []

    def cancel(store):
        gate.wait()
        counts.append(store.cancel(Selection(batch="b")))

    threads = [threading.Thread(target=cancel, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 3000


def test_an_interrupted_prompt_can_be_cancelled_while_it_waits(store, sql):
    """Its delay protects it from nothing."""
    run = start(store)
    store.commit("w1", [], [interrupted(run, delay_seconds=900.0)])
    assert store.cancel(ALL) == 1
    assert states(sql) == ["cancelled"]
