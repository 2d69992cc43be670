"""What a dead worker held comes back by itself, with its text, and a killer prompt is capped."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest

from tests.store.cast import completed, expire, interrupted, sign_on, start, take, words
from worker.records import Kind, NewPrompt
from worker.states import PromptState
from worker.store.statements.rescue import interrupt_orphans


def rescue(store, **more):
    return store.rescue(**{"max_crashes": 3, **more})


def test_a_run_whose_worker_stopped_renewing_is_taken_back(store, sql):
    """Interrupted, with its text and its length; the prompt is queued and not charged."""
    run = start(store)
    store.commit(
        "w1",
        [
            words(run, 0, "hm", Kind.THINKING),
            words(run, 1, "Grü"),
            words(run, 2, "ße"),
        ],
        [],
    )
    expire(sql)
    (rescued,) = rescue(store)
    assert (rescued.run_id, rescued.prompt_id, rescued.worker_id) == (run.id, run.prompt_id, "w1")
    assert rescued.prompt_state is PromptState.QUEUED
    assert sql("SELECT status, error_code, chars, chunks, done_frame FROM runs") == [
        ("interrupted", "lease_expired", 5, 3, False)
    ]
    assert sql.one("SELECT finished_at >= first_text_at FROM runs")
    assert sql("SELECT status, attempts, crashes, runs, error_code, finished_at FROM prompts") == [
        ("queued", 0, 1, 1, "lease_expired", None)
    ]
    assert sql("SELECT partial_output, thinking FROM results") == [("Grüße", "hm")]


def test_calls_of_a_run_that_was_taken_back_are_whole(store, sql):
    """As far as they are stored; a piece that was cut off is left out."""
    run = start(store)
    pieces = '{"index":0,"name":"f","arguments":"{}"}\n{"index":1,"na'
    store.commit("w1", [words(run, 0, pieces, Kind.TOOL_CALLS)], [])
    expire(sql)
    store.rescue(max_crashes=5)
    assert sql("SELECT tool_calls FROM runs") == [
        ('[{"index":0,"id":null,"name":"f","arguments":"{}"}]',)
    ]


def test_it_asks_whether_it_is_fair_and_takes_nothing_if_not(store, sql):
    """On SQLite when the write lock is held, which everybody's renewal may have waited for."""
    run = start(store)
    expire(sql)
    locked = []

    def fair(theirs: datetime) -> bool:
        assert theirs.utcoffset() == timedelta(0)
        assert abs(theirs - datetime.now(UTC)) < timedelta(minutes=1)
        if sql.is_sqlite:
            sql("PRAGMA busy_timeout = 0")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                sql("BEGIN IMMEDIATE")
        locked.append(sql.is_sqlite)
        return False

    assert rescue(store, fair=fair) == []
    assert locked == [sql.is_sqlite]
    assert sql.one("SELECT status FROM runs") == "streaming"
    assert [each.run_id for each in rescue(store, fair=lambda _: True)] == [run.id]


def test_it_can_be_claimed_at_once(store, sql):
    """As a new run, with the attempt that was not charged."""
    run = start(store)
    expire(sql)
    rescue(store)
    sign_on(store, "w2")
    (again,) = take(store, "w2")
    assert (again.prompt_id, again.attempt, again.attempts) == (run.prompt_id, 2, 1)


@pytest.mark.parametrize("how", ["renews", "never claimed"])
def test_a_living_worker_keeps_its_runs(store, sql, how):
    """However long they take; only the lease counts."""
    run = start(store)
    sql("UPDATE runs SET started_at = '2020-01-01 00:00:00'")
    expire(sql)
    if how == "renews":
        assert store.renew("w1", 60.0)
        assert rescue(store) == []
        assert store.owned("w1") == {run.id: (run.prompt_id, run.nonce)}


def test_a_worker_that_signed_off_has_no_lease(store):
    """What it left behind need not wait for the lease to run out."""
    run = start(store)
    store.sign_off("w1")
    assert [each.run_id for each in rescue(store)] == [run.id]


def test_runs_without_a_worker_row_are_orphans(store, sql):
    """Somebody may have tidied the table of workers."""
    run = start(store)
    sql("DELETE FROM workers")
    assert [each.run_id for each in rescue(store)] == [run.id]


def test_what_has_ended_is_left_alone(store, sql):
    """A completed run of a dead worker stays completed."""
    store.commit("w1", [], [completed(start(store))])
    store.commit("w1", [], [interrupted(start(store), delay_seconds=900.0)])
    expire(sql)
    before = sql("SELECT * FROM prompts ORDER BY id"), sql("SELECT * FROM runs ORDER BY id")
    assert rescue(store) == []
    assert before == (
        sql("SELECT * FROM prompts ORDER BY id"),
        sql("SELECT * FROM runs ORDER BY id"),
    )


def test_a_prompt_that_kills_workers_is_given_up(store, sql):
    """After `max_crashes` deaths it fails, with a reason of its own."""
    store.add([NewPrompt(prompt="killer")])
    for death in (1, 2, 3):
        sign_on(store, f"w{death}")
        take(store, f"w{death}")
        expire(sql, f"w{death}")
        (rescued,) = rescue(store, max_crashes=3)
    assert rescued.prompt_state is PromptState.FAILED
    assert sql(
        "SELECT status, error_code, crashes, attempts, finished_at IS NULL FROM prompts"
    ) == [("failed", "too_many_crashes", 3, 0, False)]
    assert sql("SELECT status, count(*) FROM runs GROUP BY status") == [("interrupted", 3)]


def test_crashes_and_attempts_are_counted_apart(store, sql):
    """Errors of the server before the crash stay charged, the crash does not."""
    run = start(store)
    store.commit("w1", [], [interrupted(run)])
    take(store)
    expire(sql)
    rescue(store)
    assert sql("SELECT attempts, crashes, runs FROM prompts") == [(1, 1, 2)]


def paused(store, sql, worker_id="w1"):
    """A worker claims the prompt, is paused beyond its lease, and its run is taken back."""
    sign_on(store, worker_id)
    (run,) = take(store, worker_id)
    expire(sql, worker_id)
    (rescued,) = rescue(store, max_crashes=2)
    return run, rescued


def test_a_pause_is_no_crash_once_its_worker_says_that_it_lives(store, sql):
    """The fence refuses the late words, and takes the crash back in the same transaction."""
    store.add([NewPrompt(prompt="long")])
    run, _ = paused(store, sql)
    assert sql.one("SELECT crashes FROM prompts") == 1
    assert store.commit("w1", [words(run, 0, "late")], []) == {run.id}
    assert store.commit("w1", [words(run, 0, "late")], []) == {run.id}
    assert sql("SELECT status, crashes FROM prompts") == [("queued", 0)]
    assert sql("SELECT status, error_code FROM runs") == [("interrupted", "lease_lost")]


def test_a_silent_stream_takes_its_crash_back_as_well(store, sql):
    """It flushes nothing; its worker asks what is its own, and says that it lives."""
    store.add([NewPrompt(prompt="long")])
    run, _ = paused(store, sql)
    store.take_back_crashes("w1", [run.id])
    assert sql("SELECT status, crashes FROM prompts") == [("queued", 0)]
    store.take_back_crashes("w2", [run.id])
    assert sql("SELECT error_code FROM runs") == [("lease_lost",)]


def test_before_a_prompt_fails_only_deaths_count_that_were_no_pause(store, sql):
    """A worker that renewed since was paused; it may not have come to its stream yet."""
    store.add([NewPrompt(prompt="long")])
    for number in range(4):
        _, rescued = paused(store, sql, f"w{number}")
        assert rescued.prompt_state is PromptState.QUEUED
        assert store.renew(f"w{number}", 60.0)
    assert sql("SELECT status, crashes FROM prompts") == [("queued", 4)]
    paused(store, sql, "w8")
    _, rescued = paused(store, sql, "w9")
    assert rescued.prompt_state is PromptState.FAILED


def test_a_worker_that_comes_back_revives_nothing_that_is_finished(store, sql):
    """The prompt failed meanwhile: it stays as it is, and so does the run."""
    store.add([NewPrompt(prompt="long")])
    paused(store, sql, "w1")
    run, rescued = paused(store, sql, "w2")
    assert rescued.prompt_state is PromptState.FAILED
    store.take_back_crashes("w2", [run.id])
    assert sql("SELECT status, crashes, error_code FROM prompts") == [
        ("failed", 2, "too_many_crashes")
    ]
    assert sql("SELECT error_code FROM runs") == [("lease_expired",), ("lease_expired",)]


def test_a_death_after_progress_is_no_crash(store, sql):
    """A prompt that gets further each time is not what kills its workers."""
    store.add([NewPrompt(prompt="long")])
    counted = []
    for number, chars in enumerate((600, 1200, 1699, 1200, 600)):
        sign_on(store, f"w{number}")
        (run,) = take(store, f"w{number}")
        store.commit(f"w{number}", [words(run, 0, "x" * chars)], [])
        expire(sql, f"w{number}")
        (rescued,) = rescue(store, max_crashes=3)
        counted.append(sql.one("SELECT crashes FROM prompts"))
    assert counted == [0, 0, 1, 2, 3]
    assert rescued.prompt_state is PromptState.FAILED


def test_nobody_rescues_what_is_its_own(store, sql):
    """A worker that was signed off by hand would find itself among the dead."""
    run = start(store)
    expire(sql)
    assert rescue(store, worker_id="w1") == []
    assert [each.run_id for each in rescue(store, worker_id="w2")] == [run.id]


def test_what_its_owner_gave_up_is_cancelled_instead_of_queued(store, sql):
    """Nobody has to carry it once more to find that out."""
    start(store)
    store.cancel_queued()
    sql("UPDATE prompts SET cancel_requested_at = created_at")
    expire(sql)
    (rescued,) = rescue(store)
    assert rescued.prompt_state is PromptState.CANCELLED
    assert sql("SELECT status, error_code, finished_at IS NULL FROM prompts") == [
        ("cancelled", "cancelled", False)
    ]
    assert sql("SELECT status, error_code FROM runs") == [("interrupted", "lease_expired")]


def test_a_prompt_that_was_changed_by_hand_keeps_its_change(store, sql):
    """The orphaned run ends; the prompt is no longer its business."""
    run = start(store)
    sql("UPDATE prompts SET status = 'failed', finished_at = created_at, error = 'by hand'")
    expire(sql)
    (rescued,) = rescue(store)
    assert (rescued.run_id, rescued.prompt_state) == (run.id, PromptState.FAILED)
    assert sql("SELECT status, error, crashes FROM prompts") == [("failed", "by hand", 0)]
    assert sql("SELECT status FROM runs") == [("interrupted",)]


def test_the_orphan_of_a_prompt_that_another_run_carries_is_only_ended(store, sql):
    """Somebody queued it again by hand; the run that has it now is not disturbed."""
    orphan = start(store)
    sql("UPDATE prompts SET status = 'queued'")
    sign_on(store, "w2")
    (run,) = take(store, "w2")
    expire(sql, "w1")
    (rescued,) = rescue(store)
    assert (rescued.run_id, rescued.prompt_state) == (orphan.id, PromptState.RUNNING)
    assert sql("SELECT status, run_id, crashes FROM prompts") == [("running", run.id, 0)]
    assert store.commit("w2", [], [completed(run)]) == frozenset()


def test_a_rescue_takes_a_bounded_bite(store, sql):
    """The oldest first; the rest is there for the next one."""
    store.add([NewPrompt(prompt="x")] * 5)
    sign_on(store)
    runs = take(store, limit=5)
    expire(sql)
    bites = [[each.run_id for each in rescue(store, limit=2)] for _ in range(4)]
    ids = [run.id for run in runs]
    assert bites == [ids[:2], ids[2:4], ids[4:], []]


def test_runs_of_the_living_do_not_hide_orphans(store, sql):
    """However many there are, and however small the bite."""
    for _ in range(3):
        start(store, "w0")
    orphan = start(store, "w1")
    for _ in range(3):
        start(store, "w2")
    expire(sql, "w1")
    assert [each.run_id for each in rescue(store, limit=1)] == [orphan.id]


def test_rescuers_at_once_share_the_work(open_store, sql):
    """Every run is rescued by exactly one of them, and every crash is counted once."""
    stores = [open_store() for _ in range(3)]
    stores[0].add([NewPrompt(prompt="x")] * 60)
    sign_on(stores[0])
    runs = take(stores[0], limit=60)
    expire(sql)
    gate, found = threading.Barrier(3), []

    def go(store):
        gate.wait()
        while bite := rescue(store, limit=7):
            found.extend(bite)

    threads = [threading.Thread(target=go, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.run_id for each in found) == [run.id for run in runs]
    assert sql("SELECT status, crashes, count(*) FROM prompts GROUP BY status, crashes") == [
        ("queued", 1, 60)
    ]


def test_a_lease_that_is_renewed_in_between_counts(store, sql):
    """The guard is in the UPDATE too, not only in the look before it."""
    run = start(store)
    with store._work_db.writing() as connection:
        given = {"ids": [run.id], "words": "late", "leaving_words": "late"}
        assert connection.execute(interrupt_orphans(), given).all() == []
    assert sql("SELECT status FROM runs") == [("streaming",)]


@pytest.mark.parametrize("table", ["runs", "prompts"])
def test_a_row_that_somebody_locks_keeps_no_other_run_from_being_rescued(
    postgres_store, postgres_sql, table
):
    """It is rescued when it is free."""
    held, other = start(postgres_store), start(postgres_store)
    expire(postgres_sql)
    postgres_sql("BEGIN")
    id_ = held.id if table == "runs" else held.prompt_id
    postgres_sql(f"SELECT 1 FROM {table} WHERE id = {id_} FOR UPDATE")
    assert [each.run_id for each in postgres_store.rescue(max_crashes=3)] == [other.id]
    postgres_sql("ROLLBACK")
    assert [each.run_id for each in postgres_store.rescue(max_crashes=3)] == [held.id]


def test_a_request_to_cancel_that_somebody_locks_keeps_no_sweep_waiting(
    postgres_store, postgres_sql
):
    """All other requests are obeyed."""
    postgres_store.add([NewPrompt(prompt="held"), NewPrompt(prompt="free")])
    postgres_sql("UPDATE prompts SET cancel_requested_at = now()")
    postgres_sql("BEGIN")
    postgres_sql("SELECT 1 FROM prompts WHERE prompt = 'held' FOR UPDATE")
    assert postgres_store.cancel_queued() == 1
    postgres_sql("ROLLBACK")
    assert postgres_store.cancel_queued() == 1


def test_a_dead_workers_run_whose_prompt_was_deleted_is_closed(sqlite_store, sqlite_url, connect):
    """Somebody deleted it in a shell that ignores foreign keys; the next run is rescued as well."""
    gone, other = start(sqlite_store), start(sqlite_store)
    sql = connect(sqlite_url)
    sql("PRAGMA foreign_keys = OFF")
    sql(f"DELETE FROM prompts WHERE id = {gone.prompt_id}")
    expire(sql)
    assert [each.run_id for each in sqlite_store.rescue(max_crashes=3)] == [other.id]
    assert sql("SELECT DISTINCT status FROM runs") == [("interrupted",)]
