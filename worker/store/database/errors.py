"""What a database error means, decided once, at the edge of the store.

Drivers tell the truth in codes: SQLSTATE on PostgreSQL, result codes on SQLite.
Each becomes one of three: *busy* (try again: locks, lost connections, full
disks), *broken* (nobody but a person can help: schema, permissions), or
*unstorable* (this value can never be stored).  Messages quote the driver's first
line, never a statement, never its parameters: those hold people's text.

psycopg is never imported here: with SQLite nobody needs it, and it takes 9 MiB.  A driver
that nobody has imported cannot have raised anything.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import exc

from worker.errors import (
    ErrorCode,
    StaleSession,
    StoreBroken,
    StoreBusy,
    StoreContended,
    StoreError,
    Verdict,
)

if TYPE_CHECKING:
    import psycopg

MIGRATE = "run `spool migrate`"
_TAKEN = "the database holds a table of another program: give Spool a database of its own"

# SQLSTATE, or its first two characters, and the words for it.
_POSTGRESQL_BUSY = {
    "08": "the connection was lost",
    "40001": "the transaction met another one (serialization failure)",
    "40P01": "the transaction met another one (deadlock)",
    "53100": "the disk of the database is full",
    "53200": "the database server is out of memory",
    "53300": "the database server has no connection left",
    "53": "the database server lacks resources",
    "55P03": "a lock was not granted in time",
    "57014": "the statement took too long and was cancelled",
    "57P01": "the connection was lost (the server shut it down)",
    "57P02": "the connection was lost (the server crashed)",
    "57P03": "the database server is starting up or shutting down",
    "57P05": "the connection was lost (it was idle too long)",
    "58": "the database server has a system error",
    "25P03": "the connection was lost (a transaction was idle too long)",
    "25P04": "the transaction took too long",
}
# What is wrong is the session, and may be right in another one.
_POSTGRESQL_STALE = {
    "25006": "the database is read-only",
    "25P02": "the session was left in a transaction that failed",
    "26000": "a prepared statement is gone: another server answers, or a pooler was put in between",
    "42P05": "a prepared statement is there already: a pooler was put in between",
}
_CHANGED_PLAN = "RevalidateCachedQuery"  # where PostgreSQL finds that a table has changed
# Of those, what one row can be the reason for, while all others could be written.
_POSTGRESQL_CONTENDED = ("40001", "40P01", "55P03", "57014")
# The name of a constraint, where it is no fault to meet it.
_POSTGRESQL_MET = {
    "chunks_key": "a commit whose answer was lost was still storing the same text",
}
_POSTGRESQL_BROKEN = {
    "42P01": f"a table is missing: {MIGRATE}",
    "42703": f"a column is missing: {MIGRATE}",
    "42P07": _TAKEN,
    "42883": f"a function is missing: {MIGRATE}",
    "3F000": f"the schema is missing: {MIGRATE}",
    "42501": "permission denied: grant this role the tables and sequences of Spool",
    "28": "the server refused the login: check user, password and pg_hba.conf",
    "3D000": "the database does not exist: create it with `createdb`",
}
# A login that fails carries no SQLSTATE in libpq, only words.
_POSTGRESQL_LOGIN = {
    "password authentication failed": _POSTGRESQL_BROKEN["28"],
    "no password supplied": _POSTGRESQL_BROKEN["28"],
    "no pg_hba.conf entry": _POSTGRESQL_BROKEN["28"],
    'FATAL:  role "': _POSTGRESQL_BROKEN["28"],
    'FATAL:  database "': _POSTGRESQL_BROKEN["3D000"],
    "invalid URI query parameter": "the database URL has an option that PostgreSQL does not know",
    "invalid connection option": "the database URL has an option that PostgreSQL does not know",
}
_SQLITE_BUSY = {
    sqlite3.SQLITE_BUSY: "another process is writing (database is locked)",
    sqlite3.SQLITE_LOCKED: "another connection is writing (table is locked)",
    sqlite3.SQLITE_FULL: "the disk is full: make room, nothing that was stored is lost",
    sqlite3.SQLITE_IOERR: "the disk reports an error: make room if it is full, or look after it",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_PROTOCOL: "another process is opening the database",
    sqlite3.SQLITE_READONLY: "the database is read-only: let this user write its directory too",
    sqlite3.SQLITE_INTERRUPT: "the statement was interrupted",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened: let this user write it and its directory",
}
_SQLITE_BROKEN = {
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database: point database_url elsewhere",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore a copy, or try `sqlite3 FILE .recover`",
    sqlite3.SQLITE_PERM: "permission denied: let this user write the file and its directory",
    sqlite3.SQLITE_AUTH: "permission denied",
}


def unstorable(message: str) -> StoreError:
    """The error of a value that can never be stored, while others can."""
    return StoreError(message, code=ErrorCode.UNSTORABLE, verdict=Verdict.FAIL)


@contextmanager
def translated() -> Iterator[None]:
    """Turn what drivers and SQLAlchemy raise into StoreBusy, StoreBroken or StoreError."""
    try:
        yield
    except exc.DBAPIError as error:
        raise _meaning(error.orig, lost=error.connection_invalidated) from error
    except exc.TimeoutError as error:
        raise StoreBusy("every database connection of this process is in use") from error
    except _raised_by_drivers() as error:
        raise _meaning(error, lost=False) from error
    except UnicodeEncodeError as error:
        raise unstorable("a text holds half a surrogate pair, which no database stores") from error
    except OverflowError as error:
        raise unstorable(f"a number is too large: {error}") from error


def lost(error: BaseException) -> StoreError:
    """What an error of a driver means that took the connection with it."""
    return _meaning(error, lost=True)


def _raised_by_drivers() -> tuple[type[Exception], ...]:
    return (sqlite3.Error, *_of_psycopg("Error"))


def _of_psycopg(*names: str) -> tuple[type[psycopg.Error], ...]:
    """These classes of psycopg; none if nobody has imported it."""
    module = sys.modules.get("psycopg")
    return tuple(getattr(module, name) for name in names) if module else ()


def _meaning(error: BaseException | None, *, lost: bool) -> StoreError:
    if isinstance(error, _of_psycopg("Error")):
        return _of_postgresql(error, lost=lost)
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(error)
    return StoreBusy(f"the database reports: {_first_line(error)}")


def _of_postgresql(error: psycopg.Error, *, lost: bool) -> StoreError:
    words, code = _first_line(error), error.sqlstate
    if code is None:
        return _of_libpq(error, words)
    if stale := _why_stale(error, code):
        return StaleSession(f"{stale} ({words})")
    passing = _POSTGRESQL_BUSY | _POSTGRESQL_MET
    for key in (error.diag.constraint_name or "", code, code[:2]):
        if key in _POSTGRESQL_BROKEN:
            return StoreBroken(f"{_POSTGRESQL_BROKEN[key]} ({words})")
        if key in passing:
            contended = key in _POSTGRESQL_CONTENDED or key in _POSTGRESQL_MET
            return (StoreContended if contended else StoreBusy)(f"{passing[key]} ({words})")
    if lost:
        return StoreBusy(f"the connection was lost ({words})")
    of_a_value = code[:2] in {"22", "54"}
    unable = unstorable(f"PostgreSQL cannot store a value: {words}")
    return unable if of_a_value else _unexpected(f"{words}, SQLSTATE {code}")


def _why_stale(error: psycopg.Error, code: str) -> str | None:
    if error.diag.source_function == _CHANGED_PLAN:
        return "a table was changed meanwhile"
    return _POSTGRESQL_STALE.get(code)


def _of_libpq(error: psycopg.Error, words: str) -> StoreError:
    for sign, cure in _POSTGRESQL_LOGIN.items():
        if sign in words:
            return StoreBroken(f"{cure} ({words})")
    if isinstance(error, _of_psycopg("DataError")):
        return unstorable(f"PostgreSQL cannot store a value: {words}")
    if isinstance(error, _of_psycopg("OperationalError", "InterfaceError")):
        return StoreBusy(f"the database cannot be reached, or the connection was lost: {words}")
    return _unexpected(words)


def _of_sqlite(error: sqlite3.Error) -> StoreError:
    words = _first_line(error)
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    if words.startswith(("table ", "view ", "index ")) and words.endswith("already exists"):
        return StoreBroken(f"{_TAKEN} ({words})")
    if "no such table" in words or "no such column" in words or "has no column" in words:
        return StoreBroken(f"the schema is missing or older than this program ({words}): {MIGRATE}")
    if primary in _SQLITE_BROKEN:
        return StoreBroken(f"{_SQLITE_BROKEN[primary]} ({words})")
    if primary in _SQLITE_BUSY:
        return StoreBusy(f"{_SQLITE_BUSY[primary]} ({words})")
    if isinstance(error, sqlite3.DataError) or primary == sqlite3.SQLITE_TOOBIG:
        return unstorable(f"SQLite cannot store a value: {words}")
    return _unexpected(words)


def _unexpected(words: str) -> StoreError:
    # A constraint that holds what the program promises, or a statement that is wrong.
    return StoreError(
        f"the database refused a statement: {words}",
        code=ErrorCode.INTERNAL_ERROR,
        verdict=Verdict.STOP,
    )


def _first_line(error: BaseException | None) -> str:
    # psycopg appends DETAIL lines that quote rows; the primary message does not.
    if isinstance(error, _of_psycopg("Error")) and error.diag.message_primary:
        return error.diag.message_primary
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
