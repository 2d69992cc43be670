"""The revision of the schema: is it ours, and how does it become ours.

Alembic is imported only when there is something to do: asking costs one SELECT.
Upgrades of several processes at once are safe: they queue for an advisory lock on
PostgreSQL, for the write lock on SQLite, and all but the first find nothing to do.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from worker.errors import StoreBroken
from worker.resources import migrations_dir
from worker.store.engine import Database
from worker.store.faults import MIGRATE, translated

REVISION = "0002"  # what this version of the program needs; a test holds it to the newest migration
_UPGRADE_LOCK = 5_707_009_317_001  # any number, as long as every version uses the same


@dataclass(frozen=True, slots=True)
class Revisions:
    """What an upgrade found and what it left; None is a database without our tables."""

    before: str | None
    after: str | None


def upgrade(url: str, *, busy_timeout_seconds: float = 30.0) -> Revisions:
    """Create the schema or bring it up to date; an SQLite file is created if need be.

    `busy_timeout_seconds` is SQLite's: how long the lock of another writer is waited for.
    """
    database = Database(url, busy_timeout_seconds=busy_timeout_seconds, create=True)
    try:
        with database.reading() as connection:  # nobody waits for a lock to learn that all is well
            before = revision(connection)
        if _covers(before):
            return Revisions(before, before)
        with database.writing() as connection:
            if not database.is_sqlite:
                connection.execute(
                    text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK}
                )
            before = revision(connection)
            if not _covers(before):
                _run_migrations(connection)
            return Revisions(before, revision(connection))
    finally:
        database.close()


def check(connection: Connection) -> None:
    """Raise StoreBroken unless the schema is at least as new as this program.

    A newer one is fine: every migration leaves what older workers use.
    """
    found = revision(connection)
    if found is None:
        raise StoreBroken(f"the database has no tables of Spool: {MIGRATE}")
    if not _covers(found):
        raise StoreBroken(
            f"the database is at revision {found}, this version needs {REVISION}: {MIGRATE}"
        )


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


def _run_migrations(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
