"""What endpoints said: written by one worker, read by all, and by the next start."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select

from worker.store.database.engine import Database
from worker.store.database.sql_expressions import Upsert, inserting, now
from worker.store.schema.tables import endpoint_states


@cache
def said() -> Select[str, str, Any]:
    """What every endpoint said, by name and digest of the settings."""
    return select(endpoint_states.c.endpoint, endpoint_states.c.digest, endpoint_states.c.state)


@cache
def keep(*, is_sqlite: bool) -> Upsert:
    """Write down what an endpoint said last."""
    row = inserting(endpoint_states, is_sqlite=is_sqlite).values(
        endpoint=bindparam("e"),
        digest=bindparam("d"),
        worker_id=bindparam("w"),
        state=bindparam("said", type_=endpoint_states.c.state.type),
        changed_at=now(),
    )
    return row.on_conflict_do_update(
        index_elements=["endpoint", "digest"],
        set_={
            "worker_id": row.excluded.worker_id,
            "state": row.excluded.state,
            "changed_at": now(),
        },
    )


class EndpointStates:
    """The part of the store that knows what endpoints said."""

    _lease_db: Database

    def endpoint_states(self) -> dict[tuple[str, str], dict[str, Any]]:
        """What endpoints said to any worker, by name and digest of the settings."""
        with self._lease_db.reading() as connection:
            rows = connection.execute(said()).all()
        return {(name, digest): state for name, digest, state in rows if isinstance(state, dict)}

    def keep_endpoint_state(
        self, worker_id: str, endpoint: str, digest: str, state: Mapping[str, Any]
    ) -> None:
        """Tell other workers, and the next start, what an endpoint said."""
        statement = keep(is_sqlite=self._lease_db.is_sqlite)
        row = {"w": worker_id, "e": endpoint, "d": digest, "said": dict(state)}
        with self._lease_db.writing() as connection:
            connection.execute(statement, row)
