"""Each role can do its work, and nothing that would harm another's."""

from __future__ import annotations

import re

import psycopg
import pytest

from tests.fakes.roles import as_role
from tests.house.tree import ROOT
from tests.store.cast import completed, sign_on, start, take, words
from worker.errors import SettingsError, StoreBroken
from worker.records import NewPrompt
from worker.store import Selection
from worker.store.schema import grants
from worker.store.schema.tables import metadata

# The server owns the tables, as those do who cancel and retry.
FILES = {"batch_files", "batch_file_parts"}
# Tables that a role has no business with, each with the reason; every other one has its grants.
NOT_FOR = {
    # What came of a prompt is its reader's.
    grants.SUBMITTER: {"runs", "chunks", "run_extras", "workers", "endpoint_states", *FILES},
    grants.WORKER: FILES,
    grants.READER: set(),
}


@pytest.fixture
def as_(postgres_url):
    """Plain sessions that have taken a role."""
    opened = []

    def connect(role):
        opened.append(psycopg.connect(as_role(postgres_url, role), autocommit=True))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def submitter(as_):
    return as_(grants.SUBMITTER)


def refused(connection, statement, *values):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement, values)


@pytest.mark.parametrize("role", grants.ROLES)
def test_every_table_is_granted_or_withheld_on_purpose(role):
    """A table that a migration adds does not stop a worker on the day after."""
    known = grants.MAY[role].keys() | NOT_FOR[role]
    assert {table.name for table in metadata.sorted_tables} <= known


def test_a_bare_insert_is_all_that_a_submitter_needs(submitter):
    """And it learns the id."""
    ((number,),) = submitter.execute("INSERT INTO prompts (prompt) VALUES ('x') RETURNING id")
    assert number == 1
    submitter.execute(
        "INSERT INTO prompts (endpoint, model, messages, options, priority, available_at,"
        " max_attempts, metadata, custom_id, system)"
        " VALUES ('e', 'm', '[]', '{}', 3, now(), 2, '{}', 'c', 's')"
    )


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("runs", "2147483647"),
        ("attempts", "2147483647"),
        ("crashes", "2147483647"),
        ("id", "20"),
        ("id", "9223372036854775807"),
        ("run_id", "1"),
        ("status", "'running'"),
        ("status", "'completed'"),
        ("cancel_requested_at", "now()"),
        ("finished_at", "now()"),
        ("created_at", "now()"),
        ("error_code", "'cancelled'"),
        ("error", "'x'"),
    ],
)
def test_a_submitter_cannot_write_what_is_a_workers(submitter, column, value):
    """A forged row would cancel another's stream, squat an id or stop every claim."""
    refused(submitter, f"INSERT INTO prompts (prompt, {column}) VALUES ('x', {value})")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT prompt FROM prompts",
        "SELECT * FROM results",
        "SELECT text FROM chunks",
        "SELECT * FROM workers",
        "UPDATE prompts SET priority = 9",
        "UPDATE prompts SET cancel_requested_at = now()",
        "DELETE FROM prompts",
        "TRUNCATE prompts CASCADE",
        "INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect) VALUES (1,1,'','','')",
        "INSERT INTO chunks (run_id, seq, kind, text) VALUES (1, 0, 'text', 'forged')",
        "UPDATE workers SET lease_until = now()",
        "UPDATE batches SET name = 'x'",
        "DROP TABLE prompts",
        "UPDATE alembic_version SET version_num = '0'",
    ],
)
def test_a_submitter_reads_and_changes_nothing_of_others(submitter, statement):
    """It adds prompts; that is all."""
    refused(submitter, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM prompts",
        "DELETE FROM chunks",
        "UPDATE chunks SET text = 'other words'",
        "UPDATE prompts SET prompt = 'another question'",
        "UPDATE prompts SET options = NULL",
        "UPDATE prompts SET metadata = NULL",
        "INSERT INTO prompts (prompt) VALUES ('x')",
        "INSERT INTO batches (name) VALUES ('x')",
        "DROP VIEW results",
        "ALTER TABLE prompts ADD COLUMN x text",
    ],
)
def test_a_worker_cannot_rewrite_what_was_asked_or_answered(as_, statement):
    """It appends chunks and moves states."""
    refused(as_(grants.WORKER), statement)


@pytest.mark.parametrize("table", [table.name for table in metadata.sorted_tables])
@pytest.mark.parametrize("verb", ["INSERT INTO {} DEFAULT VALUES", "DELETE FROM {}"])
def test_a_reader_changes_nothing(as_, table, verb):
    """Whatever it asks."""
    refused(as_(grants.READER), verb.format(table))


def test_three_roles_carry_a_prompt_from_insert_to_answer(store, sql):
    """Submitted, streamed and read, each under its own role (the fixture's store does that)."""
    run = start(store)
    store.commit("w1", [words(run, 0, "because")], [completed(run)])
    assert sql.one("SELECT output FROM results") == "because"
    assert [row.status for row in store.results(Selection())] == ["completed"]


def test_row_level_security_holds_in_the_views(postgres_url, open_at, postgres_sql, as_):
    """The policies of docs/security.md decide what a view shows, not the owner of the view."""
    store = open_at(postgres_url)
    mine = {"tenant": "spool_reader"}
    store.add([NewPrompt(prompt="mine", metadata=mine), NewPrompt(prompt="theirs")])
    page = (ROOT / "docs" / "security.md").read_text("utf-8")
    (policies,) = re.findall(r"^```\n(ALTER TABLE.*?)^```$", page, re.MULTILINE | re.DOTALL)
    postgres_sql(policies)
    sign_on(store)
    one, two = take(store, limit=9)
    store.commit("w1", [words(one, 0, "a"), words(two, 0, "b")], [completed(one), completed(two)])
    reader = as_(grants.READER)
    for asked in (
        "SELECT prompt FROM prompts",
        "SELECT prompt FROM results",
        "SELECT 'mine' FROM attempts",
        "SELECT 'mine' FROM progress WHERE total = 1",
        "SELECT 'mine' FROM runs",
        "SELECT 'mine' FROM chunks WHERE text = 'a'",
    ):
        assert reader.execute(asked).fetchall() == [("mine",)], asked
    submitter = as_(grants.SUBMITTER)
    refused(submitter, "INSERT INTO prompts (prompt, metadata) VALUES ('x', %s)", '{"tenant": "b"}')
    submitter.execute(
        "INSERT INTO prompts (prompt, metadata) VALUES ('x', '{\"tenant\": \"spool_submitter\"}')"
    )


def test_grants_may_be_applied_again(postgres_url, postgres_sql):
    """What somebody added to a role by hand is taken away again."""
    postgres_sql("GRANT DELETE ON prompts TO spool_reader")
    postgres_sql("GRANT INSERT (runs) ON prompts TO spool_submitter")
    grants.apply(postgres_url)
    asked = "SELECT has_table_privilege('spool_reader', 'prompts', 'DELETE')"
    assert postgres_sql.one(asked) is False
    asked = "SELECT has_column_privilege('spool_submitter', 'prompts', 'runs', 'INSERT')"
    assert postgres_sql.one(asked) is False


def test_sqlite_has_no_roles(sqlite_url):
    """One sentence, with what holds there."""
    with pytest.raises(SettingsError, match=r"SQLite has no roles: .* mode"):
        grants.apply(sqlite_url)


def test_a_database_without_tables_is_not_granted(new_postgres):
    """The cure is named."""
    with pytest.raises(StoreBroken, match="run `spool migrate`"):
        grants.apply(new_postgres(migrated=False))


def test_only_the_owner_of_the_tables_can_grant(postgres_url):
    """PostgreSQL only warns a stranger, and grants nothing."""
    with pytest.raises(StoreBroken, match="only postgres, who owns the tables, can grant"):
        grants.apply(as_role(postgres_url, grants.READER))
