"""A store each of whose methods runs under the PostgreSQL role that is meant for it.

What the tests of the store show, they show under the grants of `worker/store/schema/grants.py`: a
statement that needs more than its role has fails the test of what it does.
"""

from __future__ import annotations

from typing import Any

from worker.store import Store
from worker.store.database.engine import Database
from worker.store.schema import grants


def as_role(url: str, role: str) -> str:
    """The URL of a PostgreSQL database whose sessions have taken that role."""
    return f"{url}&options=-c%20role%3D{role}"


def open_store(url: str) -> Store:
    """A store on that database; on SQLite, which has no roles, a plain one."""
    return Store.open(url) if url.startswith("sqlite") else RoleStore(url)


class RoleStore(Store):
    """Workers' methods run as a worker, `add` as a submitter, questions as a reader.

    What decides (cancel, retry, prune, replace) runs as the owner of the tables.
    """

    def __init__(self, url: str) -> None:
        def pool(role: str, **how: Any) -> Database:
            return Database(as_role(url, role), **how)

        work = pool(grants.WORKER, pinned=True)
        super().__init__(Database(url), work, pool(grants.WORKER, pinned=True, connections=1))
        submitter = Store(pool(grants.SUBMITTER), work, work)
        reader = Store(pool(grants.READER), pool(grants.READER, pinned=True), work)
        self._others = (submitter, reader)
        self._submitter = submitter
        for name in QUESTIONS:
            setattr(self, name, getattr(reader, name))

    def add(self, prompts: Any, *, replace: bool = False, **how: Any) -> Any:
        """As a submitter; who replaces prompts decides about them."""
        if replace:
            return super().add(prompts, replace=True, **how)
        return self._submitter.add(prompts, **how)

    def close(self) -> None:
        super().close()
        for other in self._others:
            other.close()


QUESTIONS = ("prompt", "find", "attempts", "text", "results", "count", "status", "lengths")
