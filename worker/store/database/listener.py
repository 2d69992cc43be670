"""Waking up when prompts arrive (PostgreSQL only).

The notification is a hint and carries nothing: a poll stands behind it, so one that
is lost costs a moment and never a prompt.  LISTEN belongs to one server session, so
this needs a direct connection, not one through PgBouncer in transaction mode.
"""

from __future__ import annotations

from sqlalchemy import URL

from worker.store.database.errors import translated
from worker.store.database.sessions import POSTGRESQL_CONNECTION
from worker.store.schema.tables import NOTIFY_CHANNEL


class Listener:
    """A connection of its own that hears about new prompts."""

    def __init__(self, url: URL) -> None:
        import psycopg

        plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
        options = {k: v for k, v in POSTGRESQL_CONNECTION.items() if k not in url.query}
        with translated():
            self._connection = psycopg.connect(plain, autocommit=True, **options)
            self._connection.execute(f"LISTEN {NOTIFY_CHANNEL}")

    def wait(self, timeout_seconds: float) -> bool:
        """Whether prompts arrived; returns as soon as they do, or when the time is up.

        Raises StoreBusy when the connection is lost: ask the store for another listener.
        """
        with translated():
            heard = list(self._connection.notifies(timeout=timeout_seconds, stop_after=1))
        return bool(heard)

    def close(self) -> None:
        """Hang up; a wait that is under way in another thread raises StoreBusy."""
        self._connection.close()
