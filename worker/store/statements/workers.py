"""The rows of workers: who is there, until when, who leaves, and who is next door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.records import Neighbour, WorkerInfo
from worker.store.database.engine import Database
from worker.store.statements import claim, rescue


class WorkerRows:
    """The part of the store that keeps the rows of workers."""

    _work_db: Database
    _lease_db: Database

    def register(self, worker: WorkerInfo, lease_seconds: float) -> None:
        """Make the worker known, with a lease that runs from now."""
        register = self._lease_db.prepared(claim.register(is_sqlite=self._lease_db.is_sqlite))
        with self._lease_db.single() as connection:
            register.count(
                connection,
                {
                    "w_id": worker.id,
                    "w_host": worker.host,
                    "w_pid": worker.pid,
                    "w_version": worker.version,
                    "w_process": worker.process,
                    "lease": lease_seconds,
                },
            )

    def renew(self, worker_id: str, lease_seconds: float) -> bool:
        """Let the lease run from now; False if the worker's row is gone or signed off.

        Has a connection of its own, so that no crowd at the pool can starve it.
        """
        renew = self._lease_db.prepared(claim.renew())
        with self._lease_db.single() as connection:
            return renew.count(connection, {"worker": worker_id, "lease": lease_seconds}) == 1

    def report(self, worker_id: str, endpoints: Mapping[str, Any]) -> None:
        """Keep what the worker says of its endpoints, for `spool status`."""
        with self._lease_db.writing() as connection:
            connection.execute(claim.report(), {"worker": worker_id, "said": dict(endpoints)})

    def leave(self, worker_id: str) -> None:
        """The worker has been told to stop; if it is killed from now on, that is no crash."""
        leave = self._lease_db.prepared(claim.leave())
        with self._lease_db.single() as connection:
            leave.count(connection, {"worker": worker_id})

    def neighbours(self, worker_id: str, host: str) -> list[Neighbour]:
        """Other workers on this host that hold a lease and say which process they are."""
        with self._work_db.reading() as connection:
            given = {"worker": worker_id, "on_host": host}
            rows = connection.execute(rescue.neighbours(), given).all()
            return [Neighbour(id_, pid, process) for id_, pid, process in rows]

    def sign_off(self, worker_id: str) -> None:
        """The worker will not come back; whatever it still holds may be rescued at once."""
        sign_off = self._lease_db.prepared(claim.sign_off())
        with self._lease_db.single() as connection:
            sign_off.count(connection, {"worker": worker_id})
