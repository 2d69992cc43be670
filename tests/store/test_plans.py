"""What workers ask all day long finds its rows through an index, however full the tables are.

50,000 prompts, most of them finished, each with a run; a few are queued, running, or to be
cancelled.  If a plan here reads a whole table, a queue that is a month old stops a worker.
"""

from __future__ import annotations

import pytest

from tests.store.cast import sign_on, take
from worker.records import NewPrompt
from worker.states import PromptState
from worker.store import Selection, bulk_text
from worker.store.statements import claim as claims
from worker.store.statements import commit, fence, listing, manage, priority_levels, read, rescue
from worker.store.statements.priority_levels import Share

FINISHED = 49_000
QUEUED = 900
RUNNING = 100
GIVEN = {
    "worker": "w1",
    "for_endpoint": "default",
    "in_dialect": "d",
    "default_model": "m",
    "default_max_attempts": 5,
    "limit": 10,
    "ids": [FINISHED + 1],
    "started": [FINISHED + 1],
    "prompt_ids": [FINISHED + 1],
    "max_crashes": 3,
    "suspect_from": 2,
    "suspects": 5,
    "words": "w",
    "endpoints": ["default"],
    "endings": "[]",
    "lease": 30.0,
    "after": 100,
    "last": FINISHED,
    "page": 200,
    "before": 400,
    "most": 65_536,
    "nonce": 5,
    "below": 2**40,
    "priority": 0,
    "only": FINISHED + RUNNING + 2,
    "rescuer": "w3",
    "leaving_words": "w",
    "dead": ["w2"],
    "fence": [[FINISHED + 1, 5, 2]],
    "v_run_id": [FINISHED + 1],
    "v_nonce": [5],
    "v_before": [2],
    "name_1": "b",
    "batch_id_1": 0,
}
NUMBERS = {
    True: "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {to})"
    " SELECT i FROM n) s",
    False: "generate_series(1, {to}) AS s(i)",
}
TIME = "'2026-01-01 00:00:00'"


def fill(sql):
    numbers = NUMBERS[sql.is_sqlite].format(to=FINISHED + RUNNING + QUEUED)
    moment = TIME if sql.is_sqlite else f"CAST({TIME} AS timestamptz)"
    state = (
        f"CASE WHEN i <= {FINISHED} THEN 'completed'"
        f" WHEN i <= {FINISHED + RUNNING} THEN 'running' ELSE 'queued' END"
    )
    sql(
        "INSERT INTO prompts (prompt, endpoint, status, finished_at, run_id, cancel_requested_at)"
        f" SELECT 'p', CASE WHEN i % 2 = 0 THEN 'default' ELSE 'gpu' END, {state},"
        f" CASE WHEN i <= {FINISHED} THEN {moment} END,"
        f" CASE WHEN i <= {FINISHED + RUNNING} THEN i END,"
        f" CASE WHEN i > {FINISHED} AND i % 20 = 0 THEN {moment} END FROM {numbers}"
    )
    sql(
        "INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, status, finished_at,"
        " done_frame) SELECT id, 1, CASE WHEN id % 2 = 0 THEN 'w1' ELSE 'w2' END, endpoint, 'd',"
        f" CASE WHEN id <= {FINISHED} THEN 'completed' ELSE 'streaming' END, finished_at, '1'"
        f" FROM prompts WHERE id <= {FINISHED + RUNNING}"
    )
    sql(
        "INSERT INTO workers (id, host, pid, version, lease_until)"
        " VALUES ('w1', 'h', 1, 'v', '2999-01-01 00:00:00')"
    )


@pytest.fixture
def explain(store, sql):
    """The plan of a statement; on PostgreSQL also what it touched, by running it."""
    fill(sql)

    def run(statement):
        database = store._work_db
        prepared = database.prepared(statement)
        how = "EXPLAIN QUERY PLAN " if store.is_sqlite else "EXPLAIN (ANALYZE, COSTS OFF) "
        with database.writing() as connection:
            driver = connection.connection.driver_connection
            rows = driver.execute(how + prepared._sql, prepared._arguments(GIVEN)).fetchall()
            connection.rollback()
        return "\n".join(str(row[-1]) for row in rows)

    return run


def scans(plan):
    """Whole tables, or whole indexes, that a plan reads; what it makes up itself does not count."""
    return [
        line.strip()
        for line in plan.splitlines()
        if ("SCAN " in line or "Seq Scan" in line)
        and not any(
            free in line
            for free in (
                "json_each",
                "VIRTUAL TABLE INDEX 1:",
                "CONSTANT ROW",
                "s VIRTUAL",
                "on given",
                "on held",
                "runs_str",
                "SCAN levels",
            )
        )
    ]


def flushing(*, is_sqlite):
    return fence.hold_flushing(is_sqlite=is_sqlite)


def explaining(*, is_sqlite):
    return fence.refused(is_sqlite=is_sqlite)


def placed(*, is_sqlite):
    return (claims.start_runs if is_sqlite else claims.claim_postgresql)(Share.PLACED)


def next_in_line(*, is_sqlite):
    return (claims.start_runs if is_sqlite else claims.claim_postgresql)(Share.NEXT)


def alone(*, is_sqlite):
    return (claims.start_runs if is_sqlite else claims.claim_postgresql)(Share.ALONE)


OF_BOTH = {flushing, explaining, placed, next_in_line, alone}
HOT = {
    "claim": [priority_levels.anything_ready, priority_levels.next_level],
    "shares": [placed, next_in_line, alone],
    "take": [claims.take_prompts_sqlite],
    "hold": [flushing, fence.hold_ending_sqlite],
    "end": [commit.end_postgresql],
    "refused": [explaining],
    "rescue": [rescue.orphans, rescue.interrupt_orphans, rescue.requeue_orphans],
    "owned": [commit.owned, read.strays],
    "cancel requests": [commit.cancel_requests, manage.cancel_queued],
    "export": [bulk_text._sizes, bulk_text._texts],
    "backlog": [read.waiting_for, read.running_for],
    "lease": [claims.renew],
}
OF_ONE = {
    commit.end_postgresql: False,
    claims.take_prompts_sqlite: True,
    fence.hold_ending_sqlite: True,
}


def test_no_hot_statement_reads_a_whole_table(explain, store):
    """With statistics that nobody has gathered yet, and after they were."""
    for gathered in (False, True):
        if gathered:
            with store._db.writing() as connection:
                connection.exec_driver_sql("ANALYZE")
        for name, statements in HOT.items():
            for build in statements:
                if OF_ONE.get(build, store.is_sqlite) is store.is_sqlite:
                    both = build in OF_BOTH
                    plan = explain(build(is_sqlite=store.is_sqlite) if both else build())
                    assert scans(plan) == [], f"{name}, {build.__name__}:\n{plan}"


@pytest.mark.parametrize(
    ("build", "index"),
    [
        (rescue.orphans, "runs_streaming"),
        (commit.owned, "runs_streaming"),
        (read.strays, "runs_streaming"),
        (commit.cancel_requests, "prompts_cancel"),
        (manage.cancel_queued, "prompts_cancel"),
        (read.waiting_for, "prompts_claim"),
        (read.truncated, "runs_truncated"),
    ],
)
def test_each_question_has_its_partial_index(explain, build, index):
    """The index that was made for it, which holds no finished row."""
    assert index in explain(build())


def test_a_claim_sorts_nothing(explain, store):
    """The index is in the order of the queue, so a claim stops when it has enough."""
    plan = explain(next_in_line(is_sqlite=store.is_sqlite))
    assert "prompts_claim" in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan


def test_a_page_of_a_batch_is_not_looked_for_in_the_whole_batch(explain, store):
    """Else an export of a million prompts takes a day: every page would sort what is left."""
    plan = explain(read.results(Selection(batch="b")))
    assert "TEMP B-TREE" not in plan
    if store.is_sqlite:
        assert "USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in plan
    else:
        assert "prompts_pkey" in plan


@pytest.mark.parametrize(
    "selection", [Selection(), Selection(batch="b"), Selection(states=(PromptState.FAILED,))]
)
def test_a_page_of_a_list_walks_along_the_key(explain, store, selection):
    """However long the table is, and whatever is looked for."""
    for statement in (listing.page(selection), listing.floor()):
        plan = explain(statement)
        assert "TEMP B-TREE" not in plan
        assert "Sort" not in plan
        assert [line for line in scans(plan) if "batches" not in line] == []
        if not store.is_sqlite:
            assert "prompts_pkey" in plan


def test_the_results_of_one_prompt_are_found_by_its_id(explain, sql):
    """The view is looked into, not read."""
    how = "EXPLAIN QUERY PLAN" if sql.is_sqlite else "EXPLAIN"
    plan = "\n".join(str(row[-1]) for row in sql(f"{how} SELECT * FROM results WHERE id = 77"))
    assert [line for line in scans(plan) if " c" in line or " p" in line or " r" in line] == []


def test_what_a_partial_index_holds_is_spelled_out(store):
    """A parameter in its place hides the index from a plan that is kept, or, on SQLite, has the
    statement compiled anew for every claim, which takes longer than the claim itself.
    """
    claim = next_in_line(is_sqlite=store.is_sqlite)
    assert "other.crashes > 0 AND" in store._work_db.prepared(claim)._sql


def test_sqlite_finds_its_indexes_before_it_knows_the_values(sqlite_store):
    """What SQLite decides by looking at a value it decides again whenever that value is set."""
    prepared = sqlite_store._work_db.prepared(next_in_line(is_sqlite=True))
    with sqlite_store._work_db.reading() as connection:
        driver = connection.connection.driver_connection
        nothing = [None] * len(prepared._order)
        plan = driver.execute(f"EXPLAIN QUERY PLAN {prepared._sql}", nothing).fetchall()
    assert [row[-1] for row in plan if "prompts_suspects" in row[-1]] != []


def test_a_flush_finds_what_is_there_already_by_its_key(postgres_store):
    """One look into an index for each chunk, not one through the texts of all runs."""
    prepared = postgres_store._work_db.prepared(commit.add_chunks(is_sqlite=False))
    given = {"v_run_id": [1], "v_seq": [0], "v_kind": ["text"], "v_text": ["a"]}
    with postgres_store._work_db.writing() as connection:
        driver = connection.connection.driver_connection
        how = f"EXPLAIN (COSTS OFF) {prepared._sql}"
        plan = "\n".join(row[0] for row in driver.execute(how, prepared._arguments(given)))
    assert "chunks_key on chunks" in plan
    assert "Seq Scan" not in plan


def steps(store, statement):
    """How much SQLite does to find nothing, in tens of its instructions."""
    taken = []
    with store._work_db.reading() as connection:
        driver = connection.connection.driver_connection
        driver.set_progress_handler(lambda: taken.append(1), 10)
        prepared = store._work_db.prepared(statement)
        assert prepared.run(connection, {"for_endpoint": "default"}) == []
        driver.set_progress_handler(None, 0)
    return len(taken)


def add_for_later(sql, count, priority):
    sql(
        "INSERT INTO prompts (prompt, priority, available_at)"
        f" SELECT 'p', {priority}, '2999-01-01 00:00:00' FROM {NUMBERS[True].format(to=count)}"
    )


def test_prompts_that_wait_for_later_cost_an_idle_worker_nothing(sqlite_store, sqlite_url, connect):
    """An empty claim on SQLite takes as many steps with ten thousand of them as with ten."""
    sql = connect(sqlite_url)
    add_for_later(sql, 10, "i % 3")
    few = steps(sqlite_store, priority_levels.anything_ready())
    add_for_later(sql, 10_000, "i % 3")
    assert steps(sqlite_store, priority_levels.anything_ready()) <= few + 5


def test_a_priority_of_its_own_for_every_prompt_costs_a_look_at_each(
    sqlite_store, sqlite_url, connect
):
    """Beyond some thousand priorities prompts are looked at one after the other, which is less."""
    sql = connect(sqlite_url)
    add_for_later(sql, priority_levels.LEVELS, "i")
    of_each = steps(sqlite_store, priority_levels.anything_ready())
    add_for_later(sql, 5 * priority_levels.LEVELS, "-i")
    assert steps(sqlite_store, priority_levels.anything_ready()) < 2 * of_each


def test_what_keeps_its_place_is_found_by_its_own_index(explain, store):
    """It holds only those that keep their place: empty as a rule, whatever else waits."""
    plan = explain(placed(is_sqlite=store.is_sqlite))
    assert "prompts_place" in plan


def test_a_claim_does_not_walk_past_what_waits_for_later(sqlite_store, sqlite_url, connect):
    """Ten thousand delayed prompts of a higher priority cost as many steps as ten do."""
    sql, costs, done = connect(sqlite_url), [], []
    sign_on(sqlite_store)
    for count in (10, 10_000):
        add_for_later(sql, count, "9")
        sqlite_store.add([NewPrompt(prompt="now")] * 2)
        with sqlite_store._work_db.reading() as connection:
            driver = connection.connection.driver_connection
        driver.set_progress_handler(lambda: done.append(1), 10)
        done.clear()
        assert len(take(sqlite_store, limit=5)) == 2
        driver.set_progress_handler(None, 0)
        assert done, "the steps of another connection were counted"
        costs.append(len(done))
    assert costs[1] <= costs[0] + 20


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_claim_reads_only_what_it_takes_without_skip_scans(explain):
    """Each condition of the index has one value, so that PostgreSQL of any age reads one range."""
    plan = explain(next_in_line(is_sqlite=False))
    (condition,) = [
        line for line in plan.splitlines() if "Index Cond" in line and "priority" in line
    ]
    assert "priority = " in condition
    assert "endpoint = " in condition
    assert "available_at <= " in condition
