"""A worker that lost a run can write nothing more to it: no chunk, no ending, nothing.

Whoever takes away one guard of the statements in `fence.py` (the state of the run, its
worker, its claim, its prompt, what is stored of it, the lock) finds a test here that fails.
"""

from __future__ import annotations

import threading

import msgspec
import pytest
from sqlalchemy.dialects import postgresql, sqlite

from tests.store.cast import (
    cancelled,
    completed,
    expire,
    failed,
    interrupted,
    sign_on,
    start,
    take,
    words,
)
from worker.errors import StoreBusy, Verdict
from worker.records import NewPrompt
from worker.store.statements import commit as commits
from worker.store.statements import rescue
from worker.store.statements.fence import Fence, fences_of

ENDINGS = [completed, failed, interrupted, cancelled]


def everything(sql):
    return [sql(f"SELECT * FROM {name} ORDER BY 1, 2") for name in ("prompts", "runs", "chunks")]


def written(sql):
    """All of that, apart from what a living worker takes back: that it was counted as dead."""
    return [
        sql("SELECT id, status, attempts, runs, run_id, available_at, finished_at FROM prompts"),
        sql("SELECT id, status, chars, chunks, done_frame, finished_at FROM runs ORDER BY id"),
        sql("SELECT * FROM chunks ORDER BY 1, 2"),
    ]


@pytest.fixture
def lost(store, sql):
    """A run of w1 that was rescued, while w1 goes on streaming; w2 carries the prompt now."""
    run = start(store)
    store.commit("w1", [words(run, 0, "before")], [])
    expire(sql)
    sign_on(store, "w2")
    (rescued,) = store.rescue(max_crashes=3)
    assert rescued.run_id == run.id
    (other,) = take(store, "w2")
    assert other.prompt_id == run.prompt_id
    return run


def test_a_lost_run_takes_no_chunk(store, sql, lost):
    """The stored text is that of the moment of the rescue."""
    before = written(sql)
    assert store.commit("w1", [words(lost, 1, "after")], []) == {lost.id}
    assert written(sql) == before


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_lost_run_takes_no_ending(store, sql, lost, ending):
    """Neither run nor prompt move, and the run that took over is not disturbed."""
    before = written(sql)
    assert store.commit("w1", [words(lost, 1, "after")], [ending(lost)]) == {lost.id}
    assert written(sql) == before


def test_a_lost_run_is_lost_also_when_the_worker_lives_again(store, sql, lost):
    """A renewed lease brings back no run: each has its own fence."""
    assert store.renew("w1", 60.0)
    before = written(sql)
    assert store.commit("w1", [words(lost, 1, "after")], [completed(lost)]) == {lost.id}
    assert written(sql) == before


def test_one_lost_run_does_not_take_the_others_with_it(store, sql, lost):
    """Of one commit, what is live is written and what is lost is not."""
    store.renew("w1", 60.0)
    flushing, ending = start(store), start(store)
    chunks = [words(flushing, 0, "x"), words(lost, 1, "x"), words(ending, 0, "x")]
    assert store.commit("w1", chunks, [completed(ending), completed(lost)]) == {lost.id}
    assert sql("SELECT run_id, text FROM chunks ORDER BY 1, 2") == [
        (lost.id, "before"),
        (flushing.id, "x"),
        (ending.id, "x"),
    ]


@pytest.mark.parametrize("ending", [None, *ENDINGS])
def test_nobody_writes_to_the_run_of_another(store, sql, ending):
    """Not even with a lease: the worker's id is part of the fence."""
    run = start(store)
    sign_on(store, "w2")
    before = everything(sql)
    endings = [] if ending is None else [ending(run)]
    assert store.commit("w2", [words(run, 0, "mine")], endings) == {run.id}
    assert everything(sql) == before


@pytest.mark.parametrize("first", ENDINGS)
def test_nothing_follows_an_ending(store, sql, first):
    """A chunk that arrives after the end of its run is not stored."""
    run = start(store)
    store.commit("w1", [], [first(run)])
    before = everything(sql)
    assert store.commit("w1", [words(run, 0, "late")], []) == {run.id}
    assert everything(sql) == before


def test_a_run_that_never_was_is_lost(store, sql):
    """So is one whose prompt was deleted while it streamed: its rows went with it."""
    run = start(store)
    sql(f"DELETE FROM prompts WHERE id = {run.prompt_id}")
    assert store.commit("w1", [words(run, 0, "x")], []) == {run.id}
    assert store.commit("w1", [], [completed(run)]) == {run.id}
    assert everything(sql) == [[], [], []]


class TestChangedByHand:
    """Somebody changed a running prompt with plain SQL: its run is over, and nothing is stuck."""

    @pytest.mark.parametrize("ending", [None, *ENDINGS])
    def test_cancelled_by_hand(self, store, sql, ending):
        run = start(store)
        store.commit("w1", [words(run, 0, "before")], [])
        sql("UPDATE prompts SET status = 'cancelled', finished_at = created_at")
        before = sql("SELECT * FROM prompts")
        endings = [] if ending is None else [ending(run)]
        assert run.id in store.commit("w1", [words(run, 1, "x")], endings)
        assert sql("SELECT * FROM prompts") == before
        assert sql("SELECT text FROM chunks") == [("before",)]
        assert sql("SELECT status, error_code, chars, chunks FROM runs") == [
            ("cancelled", "cancelled", 6, 1)
        ]
        assert store.owned("w1") == {}

    @pytest.mark.parametrize("ending", [None, completed, interrupted])
    def test_queued_again_by_hand(self, store, sql, ending):
        run = start(store)
        sql("UPDATE prompts SET status = 'queued'")
        sign_on(store, "w2")
        (other,) = take(store, "w2")
        endings = [] if ending is None else [ending(run)]
        assert store.commit("w1", [words(run, 0, "x")], endings) == {run.id}
        assert sql("SELECT status, error_code FROM runs ORDER BY id") == [
            ("interrupted", "lease_lost"),
            ("streaming", None),
        ]
        assert sql("SELECT status, run_id FROM prompts") == [("running", other.id)]
        assert sql("SELECT * FROM chunks") == []
        assert store.commit("w2", [], [completed(other)]) == frozenset()


def test_a_run_that_is_carried_after_all_is_not_ended_as_a_stray(store, sql):
    """Whatever made the fence refuse it, the statement looks for itself."""
    run = start(store)
    given = {"run": run.id, "worker": "w1", "state": "interrupted", "code": "x", "words": "y"}
    with store._work_db.writing() as connection:
        assert connection.execute(commits.close_stray(), given).rowcount == 0
    assert sql("SELECT status FROM runs") == [("streaming",)]


def test_runs_that_end_together_are_counted_apart(store):
    """What is stored of one run says nothing about another that ends in the same transaction."""
    runs = [start(store) for _ in range(3)]
    for number, run in enumerate(runs):
        store.commit("w1", [words(run, seq, "x") for seq in range(number)], [])
    endings = [completed(run, chars=number, chunks=number) for number, run in enumerate(runs)]
    refused = store.commit("w1", [], endings)
    assert (refused, refused.blocked, refused.forgotten) == (frozenset(), {}, frozenset())
    assert {store.prompt(run.prompt_id).status for run in runs} == {"completed"}


class TestForgotten:
    """The database goes back in time: what it had acknowledged is gone, from the end."""

    def ended(self, sql, run):
        """The run is over, uncharged, with what is stored; its prompt waits for another."""
        assert sql(f"SELECT status, error_code, chunks FROM runs WHERE id = {run.id}") == [
            ("interrupted", "commits_forgotten", sql.one("SELECT count(*) FROM chunks"))
        ]
        assert sql("SELECT status, error_code, attempts, runs FROM prompts") == [
            ("queued", "commits_forgotten", 0, 1)
        ]

    @pytest.mark.parametrize("ending", [None, *ENDINGS])
    @pytest.mark.parametrize("kept", [0, 1, 2])
    def test_text_that_was_forgotten_is_never_written_over_by_what_follows(
        self, store, sql, ending, kept
    ):
        """Neither a flush nor an ending leaves a hole: also when the first flush was forgotten."""
        run = start(store)
        store.commit("w1", [words(run, 0, "a"), words(run, 1, "b"), words(run, 2, "c")], [])
        sql(f"DELETE FROM chunks WHERE seq >= {kept}")
        endings = [] if ending is None else [ending(run, chars=4, chunks=4)]
        refused = store.commit("w1", [words(run, 3, "d")], endings)
        assert (refused, refused.forgotten, refused.blocked) == ({run.id}, {run.id}, {})
        self.ended(sql, run)

    def test_an_ending_without_text_of_its_own_asks_for_what_was_stored(self, store, sql):
        """Everything was flushed before the done frame came."""
        run = start(store)
        store.commit("w1", [words(run, 0, "a"), words(run, 1, "b")], [])
        sql("DELETE FROM chunks WHERE seq = 0")  # not even from the end
        assert store.commit("w1", [], [completed(run, chars=2, chunks=2)]).forgotten == {run.id}
        self.ended(sql, run)

    def test_an_empty_answer_and_a_commit_that_is_sent_again_are_whole(self, store, sql):
        """What was never produced is not missed, and what is there already is not either."""
        empty, run = start(store), start(store)
        assert store.commit("w1", [], [completed(empty)]) == frozenset()
        flush = ("w1", [words(run, 0, "a"), words(run, 1, "b")], [])
        end = ("w1", [words(run, 1, "b"), words(run, 2, "c")], [completed(run, chars=3, chunks=3)])
        for call in (flush, flush, end, end):
            assert store.commit(*call) == frozenset()
        assert sql("SELECT text FROM chunks ORDER BY seq") == [("a",), ("b",), ("c",)]

    def test_a_run_that_was_forgotten_itself_is_lost(self, store, sql):
        """Its prompt waits again, as it did before the claim."""
        run = start(store)
        sql("UPDATE prompts SET status = 'queued', run_id = NULL, runs = 0, attempts = 0")
        sql("DELETE FROM runs")
        refused = store.commit("w1", [words(run, 0, "a")], [completed(run, chars=1, chunks=1)])
        assert (refused, refused.forgotten) == ({run.id}, frozenset())
        assert sql("SELECT status, attempts FROM prompts") == [("queued", 0)]


class TestTheSameIdAgain:
    """The database went back behind a claim, and gives its id to another run of this worker."""

    @pytest.fixture
    def twice(self, store, sql):
        """The run that is still carried, and the one that has its id now."""
        old = start(store, prompt="old")
        sql("DELETE FROM runs")
        sql("UPDATE prompts SET status = 'queued', run_id = NULL, runs = 0, priority = -1")
        store.add([NewPrompt(prompt="new")])
        (new,) = take(store)
        sql(f"UPDATE prompts SET run_id = {old.id} WHERE run_id = {new.id}")
        sql(f"UPDATE runs SET id = {old.id}")
        return old, msgspec.structs.replace(new, id=old.id)

    @pytest.mark.parametrize("ending", [None, *ENDINGS])
    def test_the_old_run_writes_nothing_to_the_new_one(self, store, sql, twice, ending):
        """Same id, same worker, still streaming: only the claim tells them apart."""
        old, new = twice
        before = everything(sql)
        endings = [] if ending is None else [ending(old)]
        assert store.commit("w1", [words(old, 0, "of another prompt")], endings) == {old.id}
        assert everything(sql) == before
        assert store.owned("w1") == {new.id: (new.prompt_id, new.nonce)}
        assert store.commit("w1", [words(new, 0, "mine")], [completed(new)]) == frozenset()


class TestDeleted:
    """Rows are deleted in a shell that ignores foreign keys, as `sqlite3` does by default."""

    @pytest.mark.parametrize("ending", [None, completed, interrupted])
    def test_a_run_whose_prompt_is_gone_is_closed(self, sqlite_store, sqlite_url, connect, ending):
        """It would else be handed back at each sweep, for ever."""
        run, sqlite_sql = start(sqlite_store), connect(sqlite_url)
        sqlite_sql("PRAGMA foreign_keys = OFF")
        sqlite_sql("DELETE FROM prompts")
        endings = [] if ending is None else [ending(run)]
        assert sqlite_store.commit("w1", [words(run, 0, "x")], endings) == {run.id}
        assert sqlite_sql("SELECT status, error_code FROM runs") == [("interrupted", "lease_lost")]
        assert sqlite_store.owned("w1") == {}


class TestRace:
    """Rescue and commit meet; exactly one of them has the run, on real connections."""

    def test_a_flush_under_way_keeps_the_rescue_off(self, postgres_store, postgres_sql):
        """The lock of the fence, and nothing else: the foreign key's does not conflict."""
        run = start(postgres_store)
        expire(postgres_sql)
        database, fences = postgres_store._work_db, [Fence(run.id, run.nonce, 0)]
        with database.writing() as connection:
            assert postgres_store._hold(connection, "w1", fences) == {run.id}
            assert postgres_store.rescue(max_crashes=3) == []
        assert [each.run_id for each in postgres_store.rescue(max_crashes=3)] == [run.id]

    def test_an_ending_under_way_keeps_the_rescue_off(self, postgres_store, postgres_sql):
        """Run and prompt are locked by the very statement that ends them."""
        run = start(postgres_store)
        expire(postgres_sql)
        given = [completed(run)]
        with postgres_store._work_db.writing() as connection:
            assert postgres_store._end(connection, "w1", given, fences_of([], given)) == {run.id}
            assert postgres_store.rescue(max_crashes=3) == []
        assert postgres_sql("SELECT status FROM prompts") == [("completed",)]

    @pytest.mark.parametrize("ending", [None, *ENDINGS])
    def test_a_commit_that_met_a_rescue_finds_the_run_gone(
        self, postgres_store, postgres_sql, ending
    ):
        """It does not wait for the lock, and looks again when it is sent again."""
        run = start(postgres_store)
        call = ("w1", [words(run, 0, "late")], [] if ending is None else [ending(run)])
        postgres_sql("BEGIN")
        postgres_sql(
            "UPDATE runs SET status = 'interrupted', finished_at = now(),"
            " error_code = 'lease_expired'"
        )
        postgres_sql("UPDATE prompts SET status = 'queued'")
        assert postgres_store.commit(*call).blocked == {run.id: run.prompt_id}
        postgres_sql("COMMIT")
        assert postgres_store.commit(*call) == {run.id}
        assert postgres_sql("SELECT status FROM runs") == [("interrupted",)]
        assert postgres_sql("SELECT status FROM prompts") == [("queued",)]
        assert postgres_sql("SELECT * FROM chunks") == []

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_an_ending_that_met_a_cancellation_by_hand_gives_way(
        self, postgres_store, postgres_sql, ending
    ):
        """The prompt is locked with its run, so half an ending cannot happen."""
        run = start(postgres_store)
        postgres_sql("BEGIN")
        postgres_sql("UPDATE prompts SET status = 'cancelled', finished_at = now()")
        assert postgres_store.commit("w1", [], [ending(run)]).blocked == {run.id: run.prompt_id}
        assert postgres_sql("SELECT status FROM runs") == [("streaming",)]
        postgres_sql("COMMIT")
        assert postgres_store.commit("w1", [], [ending(run)]) == {run.id}
        assert postgres_sql("SELECT status FROM prompts") == [("cancelled",)]
        assert postgres_sql("SELECT status FROM runs") == [("cancelled",)]

    def test_an_ending_that_met_a_request_sees_it(self, postgres_store, postgres_sql):
        """What was asked for meanwhile is not overwritten by what was read before."""
        run = start(postgres_store)
        postgres_sql("BEGIN")
        postgres_sql("UPDATE prompts SET cancel_requested_at = now()")
        assert postgres_store.commit("w1", [], [interrupted(run)]).blocked
        postgres_sql("COMMIT")
        assert postgres_store.commit("w1", [], [interrupted(run)]) == frozenset()
        assert postgres_sql("SELECT status, cancel_requested_at IS NULL FROM prompts") == [
            ("cancelled", False)
        ]

    @pytest.mark.parametrize("table", ["runs", "prompts"])
    def test_a_row_that_a_stranger_holds_keeps_no_other_run_waiting(
        self, postgres_store, postgres_sql, table
    ):
        """Somebody types UPDATE without COMMIT: all others flush and end in the same commit."""
        held, flushing, ending = (start(postgres_store) for _ in range(3))
        postgres_sql("BEGIN")
        ids = {"runs": held.id, "prompts": held.prompt_id}
        lock = f"SELECT 1 FROM {table} WHERE id = {ids[table]} FOR UPDATE"
        postgres_sql(lock)
        chunks = [words(run, 0, "x") for run in (held, flushing, ending)]
        refused = postgres_store.commit("w1", chunks, [completed(held), completed(ending)])
        assert (refused, refused.blocked) == (frozenset(), {held.id: held.prompt_id})
        assert sorted(postgres_sql("SELECT run_id FROM chunks")) == [(flushing.id,), (ending.id,)]
        flush = [words(held, 0, "x")]
        blocked = postgres_store.commit("w1", flush, []).blocked
        assert blocked == ({held.id: held.prompt_id} if table == "runs" else {})
        postgres_sql("ROLLBACK")
        assert postgres_store.commit("w1", flush, [completed(held)]) == frozenset()
        assert postgres_sql("SELECT DISTINCT status FROM prompts WHERE id <> 2") == [("completed",)]

    def test_a_commit_that_meets_itself_is_asked_again_and_stores_nothing_twice(
        self, postgres_store, postgres_sql
    ):
        """Its answer was lost while the database was still at it; it is sent again meanwhile."""
        run = start(postgres_store)
        met = []

        def commit():
            with pytest.raises(StoreBusy, match="still storing the same text") as caught:
                postgres_store.commit("w1", [words(run, 0, "a"), words(run, 1, "b")], [])
            met.append(caught.value.verdict)

        late = threading.Thread(target=commit)
        postgres_sql("BEGIN")
        postgres_sql(
            "INSERT INTO chunks (run_id, seq, kind, text)"
            f" VALUES ({run.id}, 0, 'text', 'a'), ({run.id}, 1, 'text', 'b')"
        )
        late.start()
        wait_for_lock(postgres_sql)
        postgres_sql("COMMIT")
        late.join()
        assert met == [Verdict.RETRY_HERE]
        again = [words(run, 0, "a"), words(run, 1, "b"), words(run, 2, "c")]
        assert postgres_store.commit("w1", again, []) == frozenset()
        assert postgres_sql("SELECT seq, text FROM chunks ORDER BY seq") == [
            (0, "a"),
            (1, "b"),
            (2, "c"),
        ]

    def test_rescuers_and_a_writer_at_once(self, open_store, sql):
        """Whoever wins, the text that is stored is the text that was acknowledged."""
        stores = [open_store() for _ in range(3)]
        for number in range(12):
            worker = f"w{number}"
            run = start(stores[0], worker)
            gate = threading.Barrier(3)
            outcome = {}

            def write(store=stores[0], run=run, worker=worker, gate=gate, outcome=outcome):
                gate.wait()
                call = (worker, [words(run, 0, "text")], [completed(run)])
                while (refused := store.commit(*call)).blocked:  # by a rescuer, for a moment
                    pass
                outcome["lost"] = refused

            def rescue(store, gate=gate, outcome=outcome):
                gate.wait()
                outcome.setdefault("rescued", []).extend(store.rescue(max_crashes=99))

            expire(sql, worker)
            threads = [threading.Thread(target=write)] + [
                threading.Thread(target=rescue, args=(store,)) for store in stores[1:]
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            rescued = [each.run_id for each in outcome["rescued"]]
            won = outcome["lost"] == frozenset()
            assert rescued == ([] if won else [run.id])
            assert sql.one(f"SELECT count(*) FROM chunks WHERE run_id = {run.id}") == won
            state = sql.one(f"SELECT status FROM prompts WHERE id = {run.prompt_id}")
            assert state == ("completed" if won else "queued")
            sql("DELETE FROM prompts WHERE status = 'queued'")


WRITES = {
    # what writes to runs, and to prompts that a worker carries: the run, its worker, the states
    "end_runs_sqlite": ["runs.id = ", "runs.worker_id = ", "runs.status = 'streaming'"],
    "end_prompts_sqlite": ["prompts.id = ", "prompts.run_id = ", "prompts.status = 'running'"],
    "end_postgresql": [
        "runs.worker_id = ",
        "runs.nonce IS NOT DISTINCT FROM ",
        "runs.status = 'streaming'",
        "prompts.run_id = ",
        "prompts.status = 'running'",
        "FOR NO KEY UPDATE OF runs, prompts SKIP LOCKED",
    ],
    "close_stray": ["runs.id = ", "runs.worker_id = ", "runs.status = 'streaming'"],
    "interrupt_orphans": ["runs.id ", "runs.status = 'streaming'", "NOT (EXISTS", "lease_until"],
    "requeue_orphans": ["prompts.run_id ", "prompts.id ", "prompts.status = 'running'"],
    "bury": ["workers.id ", "workers.lease_until > "],
    "uncount_prompt": ["prompts.id = ", "prompts.finished_at IS NULL"],
    "uncount_runs": ["runs.id ", "runs.worker_id = ", "runs.error_code = 'lease_expired'"],
    "measure": ["runs.id ", "runs.worker_id = "],
    "note_requests": ["runs.id = ", "runs.request_hash IS NULL"],
    "keep_tool_calls": ["runs.id = "],
    "add_extras": ["ON CONFLICT (run_id, seq) DO NOTHING"],
    "add_chunks": ["ON CONFLICT (run_id, seq) DO NOTHING"],
}


def test_every_statement_that_writes_for_a_worker_carries_its_guard():
    """None can be added without being listed here, and none listed without its guards."""
    found = {}
    for name, build in [*vars(commits).items(), *vars(rescue).items()]:
        is_statement = hasattr(build, "cache_info")  # they are built once
        if not is_statement or build.__module__ not in {commits.__name__, rescue.__name__}:
            continue
        is_sqlite = not name.endswith("postgresql")
        given = (
            {"is_sqlite": is_sqlite}
            if name in {"add_chunks", "add_extras", "note_requests"}
            else {}
        )
        dialect = sqlite.dialect() if is_sqlite else postgresql.psycopg.dialect()
        text = str(build(**given).compile(dialect=dialect))
        if not text.startswith("SELECT"):
            found[name] = " ".join(text.split())
    assert found.keys() == WRITES.keys()
    for name, guards in WRITES.items():
        assert [guard for guard in guards if guard not in found[name]] == [], name


def wait_for_lock(sql):
    """Until some session of this database waits for a lock; the server's own view says so."""
    while not sql(
        "SELECT 1 FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ):
        pass
