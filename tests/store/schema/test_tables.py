"""Plain SQL is an API: a bare INSERT is complete, and what makes no sense is refused."""

from __future__ import annotations

import pytest

from tests.store.cast import sign_on, start, take
from worker.records import Kind
from worker.states import FINAL_PROMPT_STATES, FINAL_RUN_STATES, PromptState, RunState
from worker.store.schema.tables import NOTIFY_CHANNEL


def refuses(sql, statement, name):
    """The database says no, and its words name the rule."""
    with pytest.raises(Exception, match=name):
        sql(statement)


def test_a_bare_insert_is_a_complete_way_to_queue_work(store, sql):
    """From `sqlite3` or `psql`, with nothing but the prompt."""
    sql("INSERT INTO prompts (prompt) VALUES ('Explain streaming')")
    assert sql(
        "SELECT status, endpoint, priority, attempts, crashes, runs, created_at IS NOT NULL,"
        " available_at IS NOT NULL FROM prompts"
    ) == [("queued", "default", 0, 0, 0, 0, True, True)]
    sign_on(store)
    (run,) = take(store)
    assert (run.prompt, run.options, run.max_attempts) == ("Explain streaming", {}, 5)


def test_the_bare_insert_is_part_of_the_users_own_transaction(store, sql):
    """Nothing is claimed before it commits, and nothing after a rollback."""
    sign_on(store)
    sql("BEGIN")
    sql("INSERT INTO prompts (prompt) VALUES ('maybe')")
    assert store.backlog(["default"]).ready == 0
    sql("ROLLBACK")
    assert take(store) == []


def test_a_batch_can_be_queued_by_hand(store, sql):
    """With messages, options, metadata and everything."""
    sql("INSERT INTO batches (name) VALUES ('night')")
    sql(
        "INSERT INTO prompts (batch_id, custom_id, messages, options, metadata, priority)"
        """ SELECT id, 'c1', '[{"role": "user", "content": "hi"}]', '{"top_p": 0.5}',"""
        """ '{"who": "ada"}', 2 FROM batches"""
    )
    sign_on(store)
    (run,) = take(store)
    assert (run.messages, run.options) == ([{"role": "user", "content": "hi"}], {"top_p": 0.5})
    assert store.prompt(run.prompt_id).metadata == {"who": "ada"}
    assert store.prompt(run.prompt_id).batch == "night"
    refuses(
        sql,
        "INSERT INTO prompts (batch_id, custom_id, prompt) SELECT id, 'c1', 'x' FROM batches",
        "custom_id",
    )


@pytest.mark.parametrize(
    ("columns", "values", "rule"),
    [
        ("endpoint", "'gpu'", "prompts_prompt_or_messages"),
        ("prompt, messages", "'x', '[]'", "prompts_prompt_or_messages"),
        ("prompt, status", "'x', 'paused'", "prompts_status"),
        ("prompt, status", "'x', 'completed'", "prompts_finished_at"),
        ("prompt, finished_at", "'x', '2026-01-01 00:00:00'", "prompts_finished_at"),
        ("prompt, status", "'x', 'running'", "prompts_running_run"),
        ("prompt, endpoint", "'x', ''", "prompts_endpoint"),
        ("prompt, max_attempts", "'x', 0", "prompts_max_attempts"),
        ("prompt, attempts", "'x', -1", "prompts_counts"),
        ("messages", """'{"role": "user"}'""", "prompts_messages_array"),
        ("prompt, options", "'x', '[1]'", "prompts_options_object"),
        ("prompt, options", "'x', '{oops'", "(?i)json|prompts_options_object"),
        (
            "prompt, options",
            "'x', '{a: 1}'",
            "(?i)json|prompts_options_object",
        ),  # JSON5 is not JSON
        ("prompt, metadata", "'x', '{oops'", "(?i)json"),
        ("prompt, batch_id", "'x', 77", "(?i)foreign key"),
    ],
)
def test_what_makes_no_sense_is_refused(sql, columns, values, rule):
    """By the database itself, so that no client can leave what would stop a claim."""
    refuses(sql, f"INSERT INTO prompts ({columns}) VALUES ({values})", rule)


def test_a_time_that_would_not_sort_is_refused(sql):
    """SQLite compares times as text; PostgreSQL knows infinity, which nobody can wait for."""
    value = "'2026-01-01T00:00:00Z'" if sql.is_sqlite else "'infinity'"
    insert = f"INSERT INTO prompts (prompt, available_at) VALUES ('x', {value})"
    refuses(sql, insert, "prompts_available_at_form")
    for moment in ("datetime('now')", "CURRENT_TIMESTAMP") if sql.is_sqlite else ("now()",):
        sql(f"INSERT INTO prompts (prompt, available_at) VALUES ('x', {moment})")


def test_a_blob_is_no_prompt(sqlite_url, connect):
    """SQLite's tables are strict: what is stored under TEXT is text."""
    refuses(connect(sqlite_url), "INSERT INTO prompts (prompt) VALUES (x'00ff')", "TEXT")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("status = 'paused'", "runs_status"),
        ("status = 'completed', done_frame = '1'", "runs_finished_at"),
        ("status = 'completed', finished_at = started_at", "runs_completed_is_done"),
        ("finished_at = started_at", "runs_finished_at"),
    ],
)
def test_runs_obey_the_state_table(store, sql, change, rule):
    """Also those that somebody edits."""
    start(store)
    refuses(sql, f"UPDATE runs SET {change}", rule)


def test_a_chunk_has_a_run_a_kind_and_a_place_of_its_own(store, sql):
    """What a worker would never write, nobody else can either."""
    run = start(store)
    insert = "INSERT INTO chunks (run_id, seq, kind, text) VALUES"
    sql(f"{insert} ({run.id}, 0, 'text', 'a')")
    refuses(sql, f"{insert} ({run.id}, 0, 'text', 'b')", "(?i)unique|chunks_key")
    refuses(sql, f"{insert} ({run.id}, 1, 'audio', 'b')", "chunks_kind")
    refuses(sql, f"{insert} ({run.id}, -1, 'text', 'b')", "chunks_seq")
    refuses(sql, f"{insert} ({run.id + 1}, 0, 'text', 'b')", "(?i)foreign key")


def test_the_constraints_list_the_states_of_the_state_table(sql):
    """All of them: a state that is added there needs a migration.  Others are refused above."""
    for state in PromptState:
        finished = "'2026-01-01 00:00:00'" if state in FINAL_PROMPT_STATES else "NULL"
        sql(
            "INSERT INTO prompts (prompt, status, finished_at, run_id)"
            f" VALUES ('x', '{state}', {finished}, 1)"
        )
    for number, state in enumerate(RunState):
        finished = "'2026-01-01 00:00:00'" if state in FINAL_RUN_STATES else "NULL"
        sql(
            "INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, status,"
            f" finished_at, done_frame) VALUES (1, {number}, 'w', 'e', 'd', '{state}',"
            f" {finished}, '1')"
        )
    for seq, kind in enumerate(Kind):
        sql(f"INSERT INTO chunks (run_id, seq, kind, text) VALUES (1, {seq}, '{kind}', '')")


class TestWaking:
    """PostgreSQL tells whoever listens that there is something to claim."""

    @pytest.fixture
    def heard(self, postgres_url, connect):
        client = connect(postgres_url)
        client(f"LISTEN {NOTIFY_CHANNEL}")
        return lambda: len(list(client._connection.notifies(timeout=0.2)))

    def test_one_statement_wakes_once(self, heard, postgres_sql):
        postgres_sql("INSERT INTO prompts (prompt) SELECT 'x' FROM generate_series(1, 500)")
        assert heard() == 1

    def test_one_transaction_wakes_once(self, heard, postgres_sql):
        postgres_sql("BEGIN")
        for _ in range(5):
            postgres_sql("INSERT INTO prompts (prompt) VALUES ('x')")
        postgres_sql("COMMIT")
        assert heard() == 1

    def test_what_becomes_claimable_wakes_and_nothing_else_does(
        self, heard, postgres_store, postgres_sql
    ):
        from tests.store.cast import completed, interrupted

        run, other = start(postgres_store), start(postgres_store)
        assert heard() == 2
        postgres_store.commit("w1", [], [completed(other)])
        postgres_store.commit("w1", [], [interrupted(run, delay_seconds=60.0)])
        assert heard() == 0
        postgres_sql("UPDATE prompts SET available_at = now() WHERE status = 'queued'")
        (again,) = take(postgres_store)
        assert heard() == 0
        postgres_store.commit("w1", [], [interrupted(again)])
        assert heard() == 1
