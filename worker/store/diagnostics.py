"""What `spool doctor` asks a database about itself, apart from our tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from worker.store.database.engine import Database
from worker.store.database.sql_expressions import moment


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """A database's own words.

    Attributes:
        version: of SQLite or of the PostgreSQL server.
        now: the clock that leases and waiting times go by.
    """

    version: str
    now: datetime


def vitals(url: str) -> Diagnostics:
    """Ask; raises StoreBusy or StoreBroken when it cannot be reached."""
    database = Database(url, connections=1)
    try:
        with database.reading() as connection:
            asked = "SELECT sqlite_version()" if database.is_sqlite else "SHOW server_version"
            version = connection.exec_driver_sql(asked).scalar_one()
            now = connection.execute(select(moment())).scalar_one()
            return Diagnostics(str(version), now)
    finally:
        database.close()
