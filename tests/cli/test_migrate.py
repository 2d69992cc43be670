"""`spool migrate` makes the tables, can be repeated, and says what it did."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from worker.store.schema import grants
from worker.store.schema.migrate import REVISION


def test_an_empty_database_gets_its_tables(spool, empty_url):
    """On both databases; the second time there is nothing to do."""
    (first,) = spool("--database-url", empty_url, "migrate", "--json").matches("migrate")
    assert first["before"] is None
    assert first["after"] is not None
    again = spool("--database-url", empty_url, "migrate")
    assert again.code == 0
    assert f"is up to date (revision {first['after']})" in again.out
    assert spool("--database-url", empty_url, "status").code == 0


def test_it_says_what_it_did(spool):
    """In a sentence."""
    assert spool("migrate").out.startswith("sqlite:///spool.db has its tables now (revision ")


def test_a_place_that_is_not_there_is_one_sentence(spool):
    """A directory is not made."""
    said = spool("--database-url", "sqlite:///nowhere/x.db", "migrate")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("spool: ")
    assert said.err.count("\n") == 1


def test_a_password_is_not_shown(spool):
    """Neither in data nor in talk."""
    said = spool("--database-url", "postgresql://me:hush@127.0.0.1:1/x", "migrate")
    assert said.code == 1
    assert "hush" not in said.err


@pytest.mark.timeout(20)
def test_it_waits_for_another_writer_as_long_as_the_settings_say(spool, here, monkeypatch):
    """`busy_timeout_seconds` holds for every command, also for the one that makes the tables."""
    monkeypatch.setenv("SPOOL_BUSY_TIMEOUT_SECONDS", "0.2")
    with closing(sqlite3.connect(here / "spool.db", isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        said = spool("migrate")
    assert said.code == 1
    assert "another process is writing" in said.err


def test_a_schema_that_is_newer_is_left_alone(spool):
    """Older workers go on with it; that is no reason to call it up to date."""
    spool("migrate")
    with closing(sqlite3.connect("spool.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    said = spool("migrate")
    assert said.code == 0
    newer = f"has revision 9999, newer than this version of Spool ({REVISION}), which can"
    assert newer in said.out
    assert spool("status").code == 0


def test_the_database_of_another_program_is_left_alone(spool):
    """Its tables may have our names; nothing is made among them."""
    with closing(sqlite3.connect("spool.db")) as database:
        database.execute("CREATE TABLE prompts (a)")
        database.commit()
    said = spool("migrate")
    assert said.code == 1
    assert "give Spool a database of its own" in said.err
    with closing(sqlite3.connect("spool.db")) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("prompts",)]


def test_the_grants_are_printed_for_whoever_runs_them(spool, new_postgres):
    """Every statement, and nothing is changed; what is printed can be fed to psql."""
    url = new_postgres(migrated=False)
    said = spool("--database-url", url, "migrate", "--grants", "print")
    assert said.code == 0
    assert said.out == "".join(f"{statement};\n" for statement in grants.statements())
    assert spool("--database-url", url, "status").code == 1


def test_the_grants_are_applied_behind_the_migration(spool, new_postgres, connect):
    """One command makes tables and roles."""
    url = new_postgres(migrated=False)
    said = spool("--database-url", url, "migrate", "--grants", "apply")
    assert said.code == 0
    assert "GRANT spool_worker TO alice" in said.err
    asked = "SELECT has_table_privilege('spool_worker', 'chunks', 'INSERT')"
    assert connect(url).one(asked) is True


def test_grants_on_sqlite_are_one_sentence(spool):
    """It has no roles."""
    said = spool("migrate", "--grants", "apply")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "SQLite has no roles" in said.err
