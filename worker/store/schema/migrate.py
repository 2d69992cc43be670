"""The revision of the schema: is it ours, and how does it become ours.

Alembic is imported only when there is something to do: asking costs two SELECTs.
Upgrades of several processes at once are safe: they queue for an advisory lock on
PostgreSQL, for the write lock on SQLite, and all but the first find nothing to do.
What must not be part of a transaction (an index that is built beside running workers) a
migration does in its function `ahead`, which may be repeated.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, select, text

from worker.errors import StoreBroken, StoreBusy
from worker.installation.package_files import migrations_dir
from worker.store.database import requirements
from worker.store.database.engine import Database
from worker.store.database.errors import MIGRATE, translated
from worker.store.schema.tables import schema_info
from worker.version import __version__

if TYPE_CHECKING:
    from alembic.config import Config

REVISION = "0008"  # what this version of the program needs; a test holds it to the newest migration
_DECLARES = "0003"  # since this revision the database says which versions of Spool it takes
_UPGRADE_LOCK = 5_707_009_317_001  # any number, as long as every version uses the same
TRIES = 15  # of a step that meets somebody's open transaction
# A step that waits for a lock makes every later statement wait behind it: not for long, then.
_PATIENCE = {"lock_timeout": "2s", "statement_timeout": "0"}


@dataclass(frozen=True, slots=True)
class Revisions:
    """What an upgrade found and what it left; None is a database without our tables."""

    before: str | None
    after: str | None


def upgrade(url: str, *, busy_timeout_seconds: float = 30.0) -> Revisions:
    """Create the schema or bring it up to date; an SQLite file is created if need be.

    A new database gets everything in one transaction.  One that is in use gets each revision in
    a transaction of its own, so that workers are never kept waiting for long.

    `busy_timeout_seconds` is SQLite's: how long the lock of another writer is waited for.

    Raises:
        StoreBusy: another transaction holds the tables.
        StoreBroken: the database declares that it needs a later version of Spool.
    """
    database = Database(url, busy_timeout_seconds=busy_timeout_seconds, create=True)
    try:
        with database.reading() as connection:  # nobody waits for a lock to learn that all is well
            if not database.is_sqlite:
                requirements.check_encoding(connection)
            before = after = revision(connection)
            _check_version(connection, before)
        if before is None:
            before, after = _create(database)
        while not _covers(after):
            after = _step(database, after)
        return Revisions(before, after)
    finally:
        database.close()


def _create(database: Database) -> tuple[str | None, str | None]:
    with _upgrading(database) as connection:
        before = revision(connection)
        if before is None:
            _run_migrations(connection, "head")
        return before, revision(connection)


def _step(database: Database, found: str | None) -> str | None:
    """Take one revision's step on a database in use; returns where it stands then."""
    for patience in reversed(range(TRIES)):
        try:
            _run_ahead(database, found)
            with _upgrading(database) as connection:
                if revision(connection) == found:  # nobody else took the step meanwhile
                    _run_migrations(connection, "+1")
                return revision(connection)
        except StoreBusy:
            if not patience:
                raise
    raise AssertionError


@contextmanager
def _upgrading(database: Database) -> Iterator[Connection]:
    """A transaction in which no other upgrade runs, and which waits for no stranger for long."""
    with database.writing() as connection:
        if not database.is_sqlite:
            lock = text("SELECT pg_advisory_xact_lock(:key)")
            connection.execute(lock, {"key": _UPGRADE_LOCK})
            for name, value in _PATIENCE.items():
                connection.exec_driver_sql(f"SET LOCAL {name} = '{value}'")
        yield connection


def check(connection: Connection) -> None:
    """Raise StoreBroken unless the schema is at least as new as this program, and takes it.

    A newer one is fine, unless it says otherwise: a migration leaves what older workers use.
    """
    found = revision(connection)
    if found is None:
        raise StoreBroken(f"the database has no tables of Spool: {MIGRATE}")
    if not _covers(found):
        raise StoreBroken(
            f"the database is at revision {found}, this version needs {REVISION}: {MIGRATE}"
        )
    _check_version(connection, found)


def _check_version(connection: Connection, found: str | None) -> None:
    """Raise StoreBroken if the database says that this version is too old for it."""
    if found is None or found < _DECLARES:
        return
    oldest = connection.execute(select(schema_info.c.min_worker)).scalar()
    if oldest is not None and _numbers(__version__) < _numbers(oldest):
        raise StoreBroken(
            f"the database needs Spool {oldest} or later, and this is {__version__}:"
            " install the newer version"
        )


def _numbers(version: str) -> tuple[int, ...]:
    """`1.2.3` in an order in which 1.10 comes after 1.9."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def is_blank(path: Path) -> bool:
    """Whether an SQLite file is still to be filled: nobody's, or one that is being made just now.

    A file that has tables, whoever's they are, is not blank; neither is one that cannot be read.
    """
    if not path.exists() or path.stat().st_size == 0:
        return True
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            found = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        return False
    return bool(found == (0,))


def revision(connection: Connection) -> str | None:
    """The revision of the schema, or None if there is none."""
    with translated():
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def migrations() -> Path:
    """Where the migrations are; raises StoreBroken if they are nowhere."""
    place = migrations_dir()
    if not (place / "env.py").is_file():
        raise StoreBroken("the migrations are missing from this installation: install Spool again")
    return place


def _covers(found: str | None) -> bool:
    # Revisions are numbered, so that they can be compared without reading the migrations.
    return found is not None and found >= REVISION


def _run_migrations(connection: Connection, target: str) -> None:
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, target)


def _run_ahead(database: Database, found: str | None) -> None:
    """What the step behind `found` does outside a transaction, on PostgreSQL."""
    if database.is_sqlite or found is None:
        return
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(_config())
    for following in script.get_revision(found).nextrev:
        ahead = getattr(script.get_revision(following).module, "ahead", None)
        if ahead is not None:
            with database.outside(_PATIENCE) as connection:
                ahead(connection)


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    return config
