"""What a worker asks of the database besides claims and commits."""

from __future__ import annotations

import threading

from tests.store.cast import completed, expire, interrupted, sign_on, start, take, words
from worker.records import NewPrompt, WorkerInfo
from worker.store import Backlog


def test_a_lease_runs_from_the_moment_of_its_renewal(store, sql):
    """By the clock of the database."""
    store.register(WorkerInfo("w1", "host", 42, "1.2"), 0.0)
    assert take(store) == []
    store.add([NewPrompt(prompt="x")])
    assert take(store) == []  # a lease of no length has run out already
    assert store.renew("w1", 60.0)
    assert len(take(store)) == 1
    assert sql("SELECT host, pid, version, stopped_at FROM workers") == [("host", 42, "1.2", None)]
    (worker,) = store.status().workers
    assert 50 < worker.lease_seconds_left <= 60


def test_a_renewal_says_whether_there_is_something_to_renew(store, sql):
    """A row that is gone, or signed off, is the end of that worker."""
    assert not store.renew("w1", 60.0)
    sign_on(store)
    assert store.renew("w1", 60.0)
    expire(sql)
    assert store.renew("w1", 60.0)  # late, but nobody minds: each run has its own fence
    store.sign_off("w1")
    assert not store.renew("w1", 60.0)
    assert sql.one("SELECT stopped_at FROM workers") is not None


def test_signing_on_may_be_sent_again_when_its_answer_was_lost(store, sql):
    """It is one worker all the same; one that somebody signed off by hand lives on."""
    sign_on(store)
    expire(sql)
    sign_on(store)
    assert len(sql("SELECT id FROM workers")) == 1
    assert store.renew("w1", 60.0)
    store.sign_off("w1")
    assert not store.renew("w1", 60.0)
    sign_on(store)
    assert store.renew("w1", 60.0)


def test_a_renewal_waits_for_no_other_connection(store):
    """It has one of its own: however many others are in use, it goes through (PostgreSQL),
    and on SQLite it is next in the queue for the write lock."""
    sign_on(store)
    if store.is_sqlite:
        with store._db.reading(), store._work_db.reading():
            assert store.renew("w1", 60.0)
        return
    held = [store._work_db.writing() for _ in range(16)]
    for each in held:
        each.__enter__()
    assert store.renew("w1", 60.0)
    for each in held:
        each.__exit__(None, None, None)


def test_what_a_worker_owns_is_what_streams(store):
    """And nobody else's."""
    first, second = start(store), start(store)
    start(store, "w2")
    assert store.owned("w1") == {
        first.id: (first.prompt_id, first.nonce),
        second.id: (second.prompt_id, second.nonce),
    }
    store.commit("w1", [], [completed(first)])
    assert store.owned("w1") == {second.id: (second.prompt_id, second.nonce)}
    assert store.owned("nobody") == {}


def test_a_run_whose_prompt_was_taken_away_is_a_stray(store, sql):
    """Cancelled or queued again by hand, while it has nothing to flush; nobody else's is told."""
    cancelled, queued, _kept = (start(store) for _ in range(3))
    foreign = start(store, "w2")
    assert store.strays("w1") == frozenset()
    for run in (cancelled, foreign):
        sql(
            f"UPDATE prompts SET status = 'cancelled', finished_at = created_at"
            f" WHERE id = {run.prompt_id}"
        )
    sql(f"UPDATE prompts SET status = 'queued' WHERE id = {queued.prompt_id}")
    assert store.strays("w1") == {cancelled.id, queued.id}
    (again,) = take(store, "w1")
    assert again.prompt_id == queued.prompt_id
    assert store.strays("w1") == {cancelled.id, queued.id}


def test_the_backlog_says_what_is_left_and_when(store, sql):
    """Of the endpoints that are asked for."""
    assert store.backlog(["default"]) == Backlog(0, 0, 0, None)
    start(store)
    store.add([NewPrompt(prompt="x")] * 3)
    store.add([NewPrompt(prompt="x", endpoint="gpu")] * 2)
    assert store.backlog(["default"]) == Backlog(3, 0, 1, None)
    assert store.backlog(["gpu", "default"]) == Backlog(5, 0, 1, None)
    assert store.backlog([]) == Backlog(0, 0, 0, None)
    (run,) = take(store, endpoint="gpu")
    store.commit("w1", [], [interrupted(run, delay_seconds=100.0)])
    backlog = store.backlog(["gpu"])
    assert (backlog.ready, backlog.later, backlog.running) == (1, 1, 0)
    assert 90 < backlog.next_in_seconds < 100.01
    store.cancel_queued()
    sql("UPDATE prompts SET cancel_requested_at = created_at WHERE status = 'queued'")
    assert store.backlog(["gpu", "default"]) == Backlog(0, 0, 1, None)  # nobody would claim them


def test_threads_share_a_store(store, sql):
    """A loop, a committer and a lease of one worker use it at once."""
    store.add([NewPrompt(prompt="x")] * 120)
    sign_on(store)
    gate = threading.Barrier(4)
    troubles = []

    def carry():
        gate.wait()
        try:
            while runs := take(store, limit=5):
                chunks = [words(run, 0, "a") for run in runs]
                assert store.commit("w1", chunks, []) == frozenset()
                assert store.renew("w1", 60.0)
                assert store.commit("w1", [], [completed(run) for run in runs]) == frozenset()
        except BaseException as trouble:
            troubles.append(trouble)
            raise

    threads = [threading.Thread(target=carry) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert sql("SELECT status, output, count(*) FROM results GROUP BY status, output") == [
        ("completed", "a", 120)
    ]
