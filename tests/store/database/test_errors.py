"""Every error of a database says whether to try again, and if not, what to do."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest
from sqlalchemy import exc, text

from worker.errors import ErrorCode, StoreBroken, StoreBusy, StoreContended, StoreError, Verdict
from worker.store.database import errors
from worker.store.database.errors import translated


def told(error):
    with pytest.raises(StoreError) as caught, translated():
        raise error
    return caught.value


@pytest.mark.parametrize("code", sorted(errors._POSTGRESQL_BUSY))
def test_what_passes_is_busy(code):
    """Locks, lost connections, full disks: the words say which."""
    state = code if len(code) == 5 else code + ("000" if code != "53" else "400")
    kind = psycopg.errors.lookup(state) if state != "58000" else psycopg.errors.lookup("58030")
    error = told(kind("words of the server"))
    # Of a group of runs that meets these, each half may still be stored by itself.
    contended = code in {"40001", "40P01", "55P03", "57014"}
    assert type(error) is (StoreContended if contended else StoreBusy)
    assert error.verdict is Verdict.RETRY_HERE
    assert "words of the server" in str(error)


@pytest.mark.parametrize(
    ("state", "cure"),
    [
        ("42P01", "spool migrate"),
        ("42703", "spool migrate"),
        ("42P07", "a database of its own"),
        ("42501", "grant"),
        ("28P01", "password"),
        ("3D000", "createdb"),
    ],
)
def test_what_needs_a_person_is_broken_and_names_the_cure(state, cure):
    """Trying again would only repeat it."""
    error = told(psycopg.errors.lookup(state)("words"))
    assert type(error) is StoreBroken
    assert error.verdict is Verdict.STOP
    assert cure in str(error)


@pytest.mark.parametrize(
    "error",
    [
        psycopg.errors.lookup("22021")("bad byte"),
        psycopg.errors.lookup("22003")("out of range"),
        psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"),
        sqlite3.DataError("string or blob too big"),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
        OverflowError("Python int too large to convert to SQLite INTEGER"),
    ],
)
def test_what_can_never_be_stored_is_said_to_be_so(error):
    """The prompt is at fault, not the database: others go on."""
    found = told(error)
    assert (found.code, found.verdict) == (ErrorCode.UNSTORABLE, Verdict.FAIL)


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        ("23505", "duplicate key"),
        ("23514", "check"),
    ],
)
def test_a_broken_rule_is_our_own_fault(constraint, words):
    """The program promised what the constraint holds."""
    error = told(psycopg.errors.lookup(constraint)(words))
    assert (error.code, error.verdict) == (ErrorCode.INTERNAL_ERROR, Verdict.STOP)


def sqlite_error(kind, words, code):
    error = kind(words)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize("code", sorted(errors._SQLITE_BUSY))
def test_sqlite_that_is_busy_is_busy(code):
    """Also under its extended codes."""
    for shown in (code, code | (2 << 8)):
        error = told(sqlite_error(sqlite3.OperationalError, "words", shown))
        assert type(error) is StoreBusy
        assert errors._SQLITE_BUSY[code] in str(error)


@pytest.mark.parametrize("code", sorted(errors._SQLITE_BROKEN))
def test_sqlite_that_is_broken_is_broken(code):
    """A damaged file is not cured by trying again."""
    error = told(sqlite_error(sqlite3.DatabaseError, "words", code))
    assert type(error) is StoreBroken
    assert errors._SQLITE_BROKEN[code] in str(error)


def test_a_disk_that_is_full_is_busy_for_real(sqlite_store):
    """The database may have no more pages; the message says that it is the disk."""
    database = sqlite_store._db
    with pytest.raises(StoreBusy, match="the disk is full"), database.writing() as connection:  # noqa: PT012
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        connection.exec_driver_sql("INSERT INTO prompts (prompt) SELECT printf('%.1000000c', 'x')")


def test_a_file_that_may_only_be_read_is_busy_for_real(sqlite_store):
    """Somebody may make it writable again."""
    with pytest.raises(StoreBusy, match="read-only"), sqlite_store._db.writing() as connection:  # noqa: PT012
        connection.exec_driver_sql("PRAGMA query_only = ON")
        connection.exec_driver_sql("INSERT INTO prompts (prompt) VALUES ('x')")


def test_a_missing_table_is_broken_for_real(store, sql):
    """On both databases, whoever ran the statement: SQLAlchemy or the driver."""
    sql("DROP VIEW progress")
    sql("DROP VIEW results")
    sql("DROP VIEW live")
    sql("DROP VIEW attempts")
    sql("ALTER TABLE runs RENAME TO runs_of_others")
    with pytest.raises(StoreBroken, match="spool migrate"):
        store.attempts(1)
    with pytest.raises(StoreBroken, match="spool migrate"):
        store.owned("w1")
    sql("ALTER TABLE prompts RENAME COLUMN crashes TO accidents")
    with pytest.raises(StoreBroken, match="spool migrate"):
        store.prompt(1)


def test_permission_denied_is_broken_for_real(postgres_store, postgres_sql):
    """And the cure is to grant it."""
    postgres_sql("DROP ROLE IF EXISTS visitor")
    postgres_sql("CREATE ROLE visitor")
    with pytest.raises(StoreBroken, match="grant"), postgres_store._db.reading() as connection:  # noqa: PT012
        connection.exec_driver_sql("SET LOCAL ROLE visitor")
        connection.exec_driver_sql("SELECT * FROM prompts")
    postgres_sql("DROP ROLE visitor")


def test_texts_and_statements_are_not_quoted(store, caplog):
    """A message is for logs and screens; prompts are nobody's business there."""
    with pytest.raises(StoreError) as caught, store._db.writing() as connection:
        connection.execute(
            text("INSERT INTO prompts (prompt, endpoint) VALUES (:p, '')"), {"p": "my secret"}
        )
    assert "my secret" not in str(caught.value)
    assert "INSERT" not in str(caught.value)


def test_a_pool_that_is_empty_is_busy():
    """Whoever asks again later may find a connection."""
    assert type(told(exc.TimeoutError("pool limit"))) is StoreBusy


def test_other_errors_are_left_alone():
    """A fault of the program is not disguised as one of the database."""
    with pytest.raises(KeyError), translated():
        raise KeyError("x")
