"""What a PostgreSQL session is asked for, whatever the server's defaults are.

Defaults of servers, databases and roles are set for people: a date style, an encoding, a
time limit, a cheaper way to commit.  A program that takes them unread works with one server
and fails with the next.  So each session says itself what the store relies on.  Two
defaults are left as they are, because somebody means them: `search_path` says where the
tables are, and with `default_transaction_read_only` nobody is to write.

A connection that is ours alone is asked once.  Behind PgBouncer a session is shared with
strangers: there everything goes with each BEGIN.  Which of the two it is, the server's
process id tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import ConnectionPoolEntry

if TYPE_CHECKING:
    import psycopg

CONNECT_TIMEOUT_SECONDS = 10
STATEMENT_TIMEOUT_SECONDS = 120
LOCK_TIMEOUT_SECONDS = 30
IDLE_IN_TRANSACTION_TIMEOUT_SECONDS = 30
PREPARE_THRESHOLD = 3  # a statement that comes back so often is worth preparing

NO_BEGIN = ""
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_LIMITS = {
    "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
    "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_SECONDS}s",
}
# How values are spelt on the way, and what a transaction is.
_FORMS = {
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "default_transaction_isolation": "read committed",
}
# Limits that later versions of PostgreSQL have; 0 means none.
_LATER_LIMITS = {"idle_session_timeout": 14_00_00, "transaction_timeout": 17_00_00}
_ALONG_AN_INDEX = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
}
_ONLY_INDEXES = _ALONG_AN_INDEX | {
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",  # with one plan left, values have nothing to decide
    "jit": "off",  # it would compile what looks expensive because it is forbidden
}
_KEPT_COMMITS = ("on", "remote_apply")  # of `synchronous_commit`: what is acknowledged is stored
# libpq ignores the TCP ones on Unix sockets.  They end a wait for a host that is gone.
POSTGRESQL_CONNECTION: dict[str, Any] = {
    "application_name": "spool",
    "client_encoding": "utf8",
    "prepare_threshold": None,  # until we know that the session is ours alone
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}


# Workers skip rows that are locked: where they cannot, one row must not keep all others waiting.
_NO_PATIENCE = {"lock_timeout": "2s"}


def wishes(*, pinned: bool, version: int, commits: str, keep_commits: bool) -> Mapping[str, str]:
    """What a session is asked for.

    Args:
        pinned: whether only plans with an index are allowed.
        version: of the server, as libpq spells it: 180006.
        commits: what `synchronous_commit` is by default.
        keep_commits: whether a commit that is acknowledged has to survive a crash of the server.
    """
    asked = {**_FORMS, **_LIMITS}
    asked |= {name: "0" for name, since in _LATER_LIMITS.items() if version >= since}
    if keep_commits and commits not in _KEPT_COMMITS:
        asked["synchronous_commit"] = "on"
    return asked | _ONLY_INDEXES | _NO_PATIENCE if pinned else asked


def follow_an_index(connection: Connection) -> None:
    """Let PostgreSQL read rows only in the order of an index, until this transaction ends.

    Without statistics, as on a table that has just been filled, it would sort all that is left
    for each page.  SQLite has nothing to switch off.
    """
    if connection.dialect.name == "postgresql":
        asked = (f"SET LOCAL {name} = '{value}'" for name, value in _ALONG_AN_INDEX.items())
        connection.exec_driver_sql("; ".join(asked))


def attend(engine: Engine, *, pinned: bool, keep_commits: bool) -> None:
    """Ask every session of this engine for what it needs, and write every BEGIN."""

    def connected(connection: psycopg.Connection[Any], record: ConnectionPoolEntry) -> None:
        connection.autocommit = True  # every BEGIN is ours
        asking = "SELECT pg_backend_pid(), current_setting('synchronous_commit')"
        ((pid, commits),) = connection.execute(asking).fetchall()
        version = connection.info.server_version
        asked = wishes(pinned=pinned, version=version, commits=commits, keep_commits=keep_commits)
        # A pooler answers for its clients with a process id that it made up.
        if pid == connection.info.backend_pid:
            connection.execute("; ".join(f"SET {k} = '{v}'" for k, v in asked.items()))
            connection.prepare_threshold = PREPARE_THRESHOLD
            record.info["spool_own_session"] = True
            record.info["spool_begin"] = _BEGIN
        else:
            local = (f"SET LOCAL {k} = '{v}'" for k, v in asked.items())
            record.info["spool_begin"] = "; ".join([_BEGIN, *local])

    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("spool_begin") != NO_BEGIN:
            connection.exec_driver_sql(connection.info["spool_begin"])

    event.listen(engine, "connect", connected, insert=True)  # before anything else is asked
    event.listen(engine, "begin", begin)
