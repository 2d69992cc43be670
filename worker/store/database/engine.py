"""From a URL to transactions that mean the same on both databases.

A `Database` hands out two kinds of transactions, `reading()` and `writing()`, and a
lean one, `single()`, for the few statements that are run all day long.  The drivers
are put into autocommit mode and every BEGIN is written here, because what the drivers
would begin by themselves is wrong for us:

- SQLite: a write begins IMMEDIATE, so that it never fails half-way for want of the
  lock; a read begins plainly and sees one snapshot.  Threads of one process queue for
  the write lock (write_lock.py); processes wait `busy_timeout`.
- PostgreSQL: READ COMMITTED, which the fences rely on, and time-outs, so that nothing
  waits for ever.  A connection that is ours alone is asked for them once (sessions.py),
  has its statements prepared, and needs no BEGIN where one statement is the whole
  transaction.  Behind PgBouncer the settings go with each BEGIN, and nothing is prepared.

What workers do all day are a few statements that must always use an index.  Their
connections (`pinned`) forbid PostgreSQL the other plans: statistics are wrong
exactly when a queue has just been filled, and a plan that was good for an empty table
is remembered.

A pooled connection may have died with a restarted server.  The BEGIN finds out, at no
extra round trip, and is tried once more on a fresh connection; nothing was done yet.
Where there is no BEGIN the statement finds out: that is StoreBusy, and safe to send again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql.elements import CompilerElement

from worker.errors import SettingsError, StaleSession, StoreBusy
from worker.store.database.column_types import as_text, dumps
from worker.store.database.errors import lost, translated
from worker.store.database.prepared import Borrowed, Prepared, driver_of
from worker.store.database.sessions import NO_BEGIN, POSTGRESQL_CONNECTION, attend
from worker.store.database.sqlite_file import OpenFile, connect_sqlite
from worker.store.database.write_lock import WriteLock, of_file

SYNCHRONOUS = ("NORMAL", "FULL", "EXTRA", "OFF")  # SQLite's own words
BUSY_IN_A_ROW = 5  # so many failures in a row, and the sessions themselves are suspected

_ACCEPTED = "sqlite:///file.db (or sqlite:////absolute/file.db) and postgresql://user@host/database"
_BEGIN_WRITING = "BEGIN IMMEDIATE"  # SQLite


class Database:
    """One database: where it is, and how to open a transaction in it.

    Attributes:
        is_sqlite: which of the two it is.
        safe_url: the URL as it may be shown, without a password.
        path: the file, for SQLite.
    """

    def __init__(
        self,
        url: str,
        *,
        busy_timeout_seconds: float = 30.0,
        synchronous: str = "NORMAL",
        connections: int = 8,
        pinned: bool = False,
        create: bool = False,
        keep_commits: bool = True,
    ) -> None:
        self.url = _parsed(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.safe_url = _shown(self.url)
        self.path: Path | None = None
        self._busy_timeout_seconds = busy_timeout_seconds
        self._turnstile: WriteLock | None = None
        self._file: OpenFile | None = None
        self._busy_in_a_row = 0
        if self.is_sqlite:
            if synchronous not in SYNCHRONOUS:
                raise SettingsError(f"synchronous: {synchronous!r} is none of {SYNCHRONOUS}")
            self.path = _sqlite_path(self.url)
            self._turnstile = of_file(self.path)
            self._file = OpenFile(self.path)
            self._connect = partial(
                connect_sqlite,
                self.path,
                busy_timeout_seconds=busy_timeout_seconds,
                synchronous=synchronous,
                create=create,
            )
            self.engine = _sqlite_engine(self._connect, connections)
        else:
            self.engine = _postgresql_engine(
                self.url, connections, pinned=pinned, keep_commits=keep_commits
            )
        dbapi = self.engine.dialect.loaded_dbapi
        self._may_be_lost = () if self.is_sqlite else (dbapi.Error,)
        self._writer = self.engine.execution_options(spool_begin=_BEGIN_WRITING)
        self._prepared: dict[CompilerElement, Prepared] = {}

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that changes nothing."""
        return self._transaction(self.engine, nullcontext())

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that may write; on SQLite it is the only one while it lasts."""
        turn = self._turnstile.turn(self._busy_timeout_seconds) if self._turnstile else None
        return self._transaction(self._writer, turn or nullcontext())

    def single(self) -> AbstractContextManager[Borrowed]:
        """A transaction of prepared statements that may write; on PostgreSQL of one, and then it is
        one round trip.
        """
        if self._turnstile:
            return self._bare_sqlite(self._turnstile.turn(self._busy_timeout_seconds))
        return self._bare_postgresql()

    @contextmanager
    def outside(self, settings: Mapping[str, str]) -> Iterator[Connection]:
        """A connection of its own on which each statement commits by itself (PostgreSQL).

        The settings are left out behind PgBouncer, where strangers would get them as well.
        """
        with translated(), self.engine.connect() as connection:
            alone = connection.execution_options(spool_begin=NO_BEGIN)
            try:
                if alone.info.get("spool_own_session"):
                    for name, value in settings.items():
                        alone.exec_driver_sql(f"SET {name} = '{value}'")
                yield alone
            finally:
                alone.invalidate()  # closed: what was SET on it ends here

    def prepared(self, statement: CompilerElement) -> Prepared:
        """The statement, compiled for this database when it was first asked for."""
        found = self._prepared.get(statement)
        if found is None:
            found = self._prepared[statement] = Prepared(statement, self.engine.dialect)
        return found

    def connect_raw(self) -> sqlite3.Connection:
        """A connection of its own to an SQLite file, outside the pool."""
        with translated():
            return self._connect()

    def close(self) -> None:
        """Close the idle connections; those in use close when they come back."""
        self.engine.dispose()

    # Past SQLAlchemy, whose begin and commit take longer than the statements of a small claim.

    @contextmanager
    def _bare_sqlite(self, turn: AbstractContextManager[None]) -> Iterator[Borrowed]:
        with self._checked(), turn, closing(self.engine.raw_connection()) as pooled:
            driver: Any = pooled.driver_connection
            driver.execute(_BEGIN_WRITING)
            with driver:  # commits, or takes everything back
                yield pooled

    @contextmanager
    def _bare_postgresql(self) -> Iterator[Borrowed]:
        with self._checked(), closing(self.engine.raw_connection()) as pooled:
            if pooled.info.get("spool_own_session"):
                with self._let_go_if_lost(pooled):
                    yield pooled
                return
        with self.writing() as connection:
            yield connection

    @contextmanager
    def _transaction(
        self, engine: Engine, turn: AbstractContextManager[None]
    ) -> Iterator[Connection]:
        with (
            self._checked(),
            turn,
            _begun(engine) as connection,
            self._let_go_if_lost(connection),
        ):
            yield connection
            connection.commit()

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """Errors have our meaning; a file that was replaced, or sessions that fail, are let go.

        A session may be what is wrong: it was made while the database was read-only, or leads to
        a server that is none any more.  New ones see how it is now.
        """
        try:
            with translated():
                if self._file:
                    self._file.check()
                yield
        except StoreBusy as error:
            self._busy_in_a_row += 1
            if isinstance(error, StaleSession) or self._busy_in_a_row % BUSY_IN_A_ROW == 0:
                self.engine.dispose()
            raise
        self._busy_in_a_row = 0

    @contextmanager
    def _let_go_if_lost(self, connection: Borrowed) -> Iterator[None]:
        # SQLAlchemy does this for what it has run itself.
        try:
            yield
        except self._may_be_lost as error:
            driver = driver_of(connection)
            if driver is None or driver.closed:
                connection.invalidate()
                self.engine.dispose()
                raise lost(error) from error
            raise


def _begun(engine: Engine) -> Connection:
    try:
        return _begin(engine)
    except exc.DBAPIError as error:
        if not error.connection_invalidated:
            raise
        return _begin(engine)  # the pool has dropped what was as old as the one that was dead


def _begin(engine: Engine) -> Connection:
    connection = engine.connect()
    try:
        connection.begin()
    except BaseException:
        connection.close()
        raise
    return connection


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        # The text of the error would repeat the URL, and with it a password.
        raise SettingsError(f"database_url is not a URL; accepted are {_ACCEPTED}") from None
    if parsed.drivername in {"postgres", "postgresql", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"}:
        return parsed.set(drivername="sqlite")
    raise SettingsError(
        f"database_url: {parsed.drivername}:// is not known; accepted are {_ACCEPTED}"
    )


def _shown(url: URL) -> str:
    hidden = {name: "***" for name in ("password", "sslpassword") if name in url.query}
    plain = url.update_query_dict(hidden).set(drivername=url.get_backend_name())
    return plain.render_as_string(hide_password=True)


def _sqlite_path(url: URL) -> Path:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise SettingsError(
            "database_url: SQLite needs a plain file, for every connection of a worker has to see"
            f" the same data; accepted are {_ACCEPTED}"
        )
    if url.query:
        raise SettingsError("database_url: options after ? are not supported for SQLite")
    return Path(url.database).absolute()  # relative to where the program was started


def _sqlite_engine(connect: partial[sqlite3.Connection], connections: int) -> Engine:
    engine = create_engine(
        "sqlite://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=connections,
        hide_parameters=True,
        json_serializer=dumps,
    )

    def begin(connection: Connection) -> None:
        # Not through SQLAlchemy: that costs more than the transaction of a small claim.
        driver: Any = connection.connection.driver_connection
        driver.execute(connection.get_execution_options().get("spool_begin", "BEGIN"))

    event.listen(engine, "begin", begin)
    return engine


def _postgresql_engine(url: URL, connections: int, *, pinned: bool, keep_commits: bool) -> Engine:
    engine = create_engine(
        url,
        connect_args={k: v for k, v in POSTGRESQL_CONNECTION.items() if k not in url.query},
        pool_size=connections,
        max_overflow=connections,
        hide_parameters=True,
        json_serializer=dumps,
        json_deserializer=as_text,  # the type Json reads it, row by row
    )
    attend(engine, pinned=pinned, keep_commits=keep_commits)
    return engine
