"""What a PostgreSQL server has to offer before a worker can live on it.

Said at once and by name, by `migrate`, `run` and `doctor`: an encoding that cannot hold what
models write would lose every answer after it was paid for, and a worker that may have too
few connections would wait for the next one without end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, text

from worker.errors import StoreBroken

ENCODING = "UTF8"
# The lease; claims and sweeps; commits; and what people ask.  One more listens.
CONNECTIONS_NEEDED = 4

_ASKED = text("""
SELECT session_user, r.rolsuper, r.rolconnlimit,
       current_database(), d.datconnlimit,
       current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int,
       (SELECT count(*) FROM pg_stat_activity WHERE usename = session_user),
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
FROM pg_roles r, pg_database d
WHERE r.rolname = session_user AND d.datname = current_database()
""")

_COMMITS = text("""
SELECT current_setting('fsync'), current_setting('full_page_writes'),
       current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
       (SELECT count(*) FROM pg_stat_replication WHERE application_name <> 'pg_basebackup')
""")
_FORGETFUL = ("off", "local")


@dataclass(frozen=True, slots=True)
class _Limit:
    """How many connections somebody may have at a time, and how many there are."""

    whose: str
    most: int
    used: int
    cure: str


def check_encoding(connection: Connection) -> None:
    """Raise StoreBroken unless the PostgreSQL database can hold every character."""
    found = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if found != ENCODING:
        raise StoreBroken(
            f"the database has the encoding {found}, which cannot hold every text: make one with"
            f" CREATE DATABASE name ENCODING '{ENCODING}' TEMPLATE template0"
        )


def check_commits(connection: Connection) -> list[str]:
    """Sentences about settings with which the server may forget commits that it acknowledged."""
    hints = []
    fsync, pages, commits, names, standbys = connection.execute(_COMMITS).one()
    if fsync == "off":
        hints.append("fsync is off: a crash of its machine may lose or damage what is stored")
    if pages == "off":
        hints.append("full_page_writes is off: a crash of its machine may damage what is stored")
    if commits in _FORGETFUL:
        hints.append(
            f"synchronous_commit is {commits} in the sessions of Spool: a crash of the server loses"
            " the last commits; leave `postgresql_synchronous_commit` at `on`"
        )
    if standbys and not names:
        hints.append(
            f"{standbys} standby servers get commits after they were acknowledged: one that is"
            " promoted has not the last ones; set synchronous_standby_names to wait for one"
        )
    return hints


def check_connections(connection: Connection, needed: int) -> list[str]:
    """Sentences about limits that other programs use up just now.

    Raises:
        StoreBroken: a limit is lower than what a worker needs.
    """
    if not connection.info.get("spool_own_session"):
        return []  # a pooler shares its connections out
    hints = []
    for limit in _limits(connection):
        if limit.most < needed:
            raise StoreBroken(
                f"{limit.whose} may have {limit.most} connections at a time, and a worker needs"
                f" {needed}: {limit.cure}"
            )
        free = max(0, limit.most - limit.used + 1)  # the one that asks is the worker's own
        if free < needed:
            hints.append(
                f"{limit.whose} has {free} of {limit.most} connections left, and a worker needs"
                f" {needed}: it waits until others end theirs, or {limit.cure}"
            )
    return hints


def _limits(connection: Connection) -> Iterator[_Limit]:
    row = connection.execute(_ASKED).one()
    (user, is_super, of_user, database, of_database, of_server, *counts) = row
    by_user, by_database, by_all = counts
    if not is_super and of_user >= 0:
        yield _Limit(f"the role {user}", of_user, by_user, "raise its CONNECTION LIMIT")
    if not is_super and of_database >= 0:
        whose = f"the database {database}"
        yield _Limit(whose, of_database, by_database, "raise its CONNECTION LIMIT")
    yield _Limit("the server", of_server, by_all, "raise max_connections")
