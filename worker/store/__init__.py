"""The store: the only place for SQL.

`Store` is what the rest of the program sees: synchronous methods, called from
threads, each of them one transaction (those that page through many rows: one a
page).  Behind it, from the outside in: what workers do (`worker_side`), what people
do (`people_side`); the statements (`claims`, `commits`, `rescue`, `reads`, `decisions`),
one small function each; `tables` and `views`, the schema; `engine`, which makes
transactions mean the same on both databases; `faults`, which says what an error means.
Exports, `doctor` and `demo` have readers of their own: `answers`, `vitals`, `glimpse`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Self

from worker.store.client_batches import DoorSide
from worker.store.client_store import ClientStore
from worker.store.database import requirements
from worker.store.database.engine import Database
from worker.store.database.errors import translated
from worker.store.database.listener import Listener
from worker.store.database.requirements import CONNECTIONS_NEEDED
from worker.store.files import FileSide
from worker.store.rows import (
    Backlog,
    LiveRun,
    PromptDetail,
    QueueStatus,
    ResultRow,
    Selection,
    Tally,
    WorkerStatus,
)
from worker.store.schema import migrate
from worker.store.statements import verify
from worker.store.worker_store import WorkerStore

if TYPE_CHECKING:
    import sqlite3

__all__ = [
    "Backlog",
    "Listener",
    "LiveRun",
    "PromptDetail",
    "QueueStatus",
    "ResultRow",
    "Selection",
    "Store",
    "Tally",
    "WorkerStatus",
]


class Store(WorkerStore, ClientStore, FileSide, DoorSide):
    """One database, seen from this process; safe to share between threads.

    Every method raises StoreBusy when it may be tried again, StoreBroken when a person has
    to help first.

    Attributes:
        is_sqlite: whether it is an SQLite file.
        safe_url: the URL without its password.
    """

    def __init__(self, db: Database, work_db: Database, lease_db: Database) -> None:
        self._db = db
        self._work_db = work_db
        self._lease_db = lease_db
        self._filled = set()
        self._watching: sqlite3.Connection | None = None
        self._watching_guard = threading.Lock()
        self.is_sqlite = db.is_sqlite
        self.safe_url = db.safe_url

    @classmethod
    def open(
        cls,
        url: str,
        *,
        busy_timeout_seconds: float = 30.0,
        synchronous: str = "NORMAL",
        keep_commits: bool = True,
    ) -> Self:
        """Make a store; it connects when it is first used.

        Accepts `sqlite:///file.db` and `postgresql://user@host/database`; raises SettingsError
        for anything else.  `busy_timeout_seconds` and `synchronous` are SQLite's, `keep_commits` is
        PostgreSQL's: whether every session asks for commits that survive a crash of the server.
        """
        database = partial(
            Database,
            url,
            busy_timeout_seconds=busy_timeout_seconds,
            synchronous=synchronous,
            keep_commits=keep_commits,
        )
        # A pool each, so that neither people nor large flushes keep a lease from being renewed.
        return cls(database(), database(pinned=True), database(pinned=True, connections=1))

    def close(self) -> None:
        """Close every connection."""
        with self._watching_guard:
            if self._watching is not None:
                self._watching.close()
                self._watching = None
        for database in (self._lease_db, self._work_db, self._db):
            database.close()

    def check_schema(self) -> None:
        """Raise StoreBroken, with the cure, unless the tables are there and new enough."""
        with self._db.reading() as connection:
            migrate.check(connection)

    def check_premises(self, *, listens: bool) -> list[str]:
        """Sentences about what a worker would have to wait for; nothing on SQLite.

        listens: whether the worker has a connection that listens.

        Raises:
            StoreBroken: its encoding or its limits rule a worker out.
        """
        if self.is_sqlite:
            return []
        with self._db.reading() as connection:
            requirements.check_encoding(connection)
            return requirements.check_connections(connection, CONNECTIONS_NEEDED + listens)

    def forgets(self) -> list[str]:
        """Sentences about what lets the server forget commits; nothing on SQLite."""
        if self.is_sqlite:
            return []
        with self._db.reading() as connection:
            return requirements.check_commits(connection)

    def verify(
        self,
        *,
        everything: bool = False,
        batch: str | None = None,
        since: datetime | None = None,
    ) -> Iterator[verify.Page]:
        """Pages of completed runs, with those of which text is missing.

        Args:
            everything: all of them, instead of the newest.
            batch: with `everything`, only those of this batch.
            since: with `everything`, only those that ended since this moment.
        """
        if not everything:
            return iter((verify.newest(self._work_db),))
        return verify.pages(self._work_db, batch=batch, since=since)

    def listener(self) -> Listener | None:
        """Something that hears of new prompts at once; None on SQLite."""
        return None if self.is_sqlite else Listener(self._db.url)

    def data_version(self) -> int:
        """A number that changes when anybody commits to the SQLite file; 0 on PostgreSQL.

        It costs microseconds and needs a connection that itself never writes.
        """
        if not self.is_sqlite:
            return 0
        with self._watching_guard, translated():
            if self._watching is None:
                self._watching = self._db.connect_raw()
            (version,) = self._watching.execute("PRAGMA data_version").fetchone()
        return int(version)
