"""Batches as clients of `spool serve` make, read, cancel and list them.

A batch of theirs is a row of `batches` with an owner.  Nothing about its progress is stored twice:
its counts are those of its prompts, and it has ended when none of them is open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Integer,
    Select,
    Text,
    Update,
    bindparam,
    exists,
    func,
    select,
    update,
)

from worker.states import FINAL_PROMPT_STATES, PromptState
from worker.store.database.column_types import Seconds
from worker.store.database.engine import Database
from worker.store.database.sql_expressions import in_states, inserting, later, now
from worker.store.schema.tables import batches, prompts, runs

_OPEN = tuple(state for state in PromptState if state not in FINAL_PROMPT_STATES)


@dataclass(frozen=True, slots=True)
class AskedBatch:
    """One batch of a client, and how far its prompts are.

    Attributes:
        number: the key of its row; lists are in its order.
        id: its name, which is the id that the client knows.
        endpoint: the path that its lines ask for.
        first_started_at, last_finished_at: of its prompts; None if there is none.
        counts: its prompts by state.
    """

    number: int
    id: str
    owner: str
    endpoint: str
    input_file_id: str
    completion_window: str
    metadata: Any
    created_at: datetime
    deadline_at: datetime | None
    validated_at: datetime | None
    failed_at: datetime | None
    errors: Any
    cancel_requested_at: datetime | None
    expired_at: datetime | None
    last_finished_at: datetime | None
    prompt_tokens: int
    completion_tokens: int
    counts: Mapping[PromptState, int]

    @property
    def open(self) -> int:
        """How many of its prompts can still change."""
        return sum(self.counts.get(state, 0) for state in _OPEN)

    @property
    def total(self) -> int:
        """How many prompts it has."""
        return sum(self.counts.values())


_COLUMNS = (
    batches.c.id.label("number"),
    batches.c.name.label("id"),
    batches.c.owner,
    batches.c.request_path.label("endpoint"),
    batches.c.input_file_id,
    batches.c.completion_window,
    batches.c.metadata,
    batches.c.created_at,
    batches.c.deadline_at,
    batches.c.validated_at,
    batches.c.failed_at,
    batches.c.errors,
    batches.c.cancelling_at.label("cancel_requested_at"),
    batches.c.expired_at,
)


def _owned() -> Select[Any]:
    return select(*_COLUMNS).where(
        batches.c.owner == bindparam("o", type_=Text()), batches.c.input_file_id.is_not(None)
    )


@cache
def _one() -> Select[Any]:
    return _owned().where(batches.c.name == bindparam("b", type_=Text()))


@cache
def _by_key() -> Select[Any]:
    return _owned().where(batches.c.idempotency_key == bindparam("k", type_=Text()))


@cache
def _page() -> Select[Any]:
    return (
        _owned()
        .where(batches.c.id < bindparam("before", type_=BigInteger()))
        .order_by(batches.c.id.desc())
        .limit(bindparam("page", type_=Integer()))
    )


@cache
def _tally() -> Select[Any]:
    return (
        select(
            prompts.c.status,
            func.count().label("number"),
            func.max(prompts.c.finished_at).label("finished_at"),
            func.coalesce(func.sum(runs.c.prompt_tokens), 0).label("asked"),
            func.coalesce(func.sum(runs.c.completion_tokens), 0).label("answered"),
        )
        .select_from(prompts.outerjoin(runs, runs.c.id == prompts.c.run_id))
        .where(prompts.c.batch_id == bindparam("n", type_=BigInteger()))
        .group_by(prompts.c.status)
    )


@cache
def _mark(column: str) -> Update:
    """Write down once that something has happened to a batch."""
    return (
        update(batches)
        .where(batches.c.name == bindparam("b", type_=Text()), batches.c[column].is_(None))
        .values({column: now()})
    )


@cache
def _fail() -> Update:
    return _mark("failed_at").values(errors=bindparam("said", type_=batches.c.errors.type))


@cache
def _late() -> Select[str, str]:
    """Batches whose window has closed and that still hold open prompts, or are not validated."""
    still = exists().where(prompts.c.batch_id == batches.c.id, in_states(prompts.c.status, _OPEN))
    return select(batches.c.name, batches.c.owner).where(
        batches.c.deadline_at <= now(),
        batches.c.failed_at.is_(None),
        still | (batches.c.validated_at.is_(None) & batches.c.expired_at.is_(None)),
    )


@cache
def _not_validated() -> Select[str, str]:
    return select(batches.c.name, batches.c.owner).where(
        batches.c.input_file_id.is_not(None),
        batches.c.validated_at.is_(None),
        batches.c.failed_at.is_(None),
        batches.c.expired_at.is_(None),
        batches.c.created_at <= later(bindparam("s", type_=Seconds())),
    )


@cache
def _request() -> Select[int]:
    return (
        select(prompts.c.id)
        .join(batches, batches.c.id == prompts.c.batch_id)
        .where(
            batches.c.name == bindparam("b", type_=Text()),
            prompts.c.custom_id == bindparam("c", type_=Text()),
        )
    )


_LAST = 2**63 - 1


class DoorSide:
    """The part of the store that clients of the server use."""

    _db: Database

    def add_batch(
        self,
        batch_id: str,
        *,
        owner: str,
        endpoint: str,
        input_file_id: str,
        completion_window: str,
        window_seconds: float,
        metadata: Mapping[str, str] | None,
        idempotency_key: str | None,
    ) -> AskedBatch:
        """Make a batch without prompts; with a key that this owner used before, that batch."""
        row = inserting(batches, is_sqlite=self._db.is_sqlite).values(
            name=batch_id,
            source=input_file_id,
            owner=owner,
            request_path=endpoint,
            input_file_id=input_file_id,
            completion_window=completion_window,
            deadline_at=later(bindparam("window", type_=Seconds())),
            metadata=None if metadata is None else dict(metadata),
            idempotency_key=idempotency_key,
        )
        unless = row.on_conflict_do_nothing(index_elements=["owner", "idempotency_key"])
        with self._db.writing() as connection:
            connection.execute(unless, {"window": window_seconds})
        with self._db.reading() as connection:
            found = connection.execute(_one(), {"o": owner, "b": batch_id}).mappings().first()
            if found is None:
                given = {"o": owner, "k": idempotency_key}
                found = connection.execute(_by_key(), given).mappings().one()
            return _batch(connection, found)

    def asked_batch(self, batch_id: str, *, owner: str) -> AskedBatch | None:
        """One batch of this owner; None if there is no such batch."""
        with self._db.reading() as connection:
            row = connection.execute(_one(), {"o": owner, "b": batch_id}).mappings().first()
            return None if row is None else _batch(connection, row)

    def asked_batches(
        self, *, owner: str, limit: int, before: int | None = None
    ) -> list[AskedBatch]:
        """At most `limit` batches of this owner, the newest first, numbered below `before`."""
        given = {"o": owner, "page": limit, "before": _LAST if before is None else before}
        with self._db.reading() as connection:
            rows = connection.execute(_page(), given).mappings().all()
            return [_batch(connection, row) for row in rows]

    def mark_validated(self, batch_id: str) -> None:
        """All prompts of the batch are queued."""
        self._mark("validated_at", batch_id)

    def mark_cancelled(self, batch_id: str) -> None:
        """Somebody asked to cancel the batch."""
        self._mark("cancelling_at", batch_id)

    def mark_expired(self, batch_id: str) -> None:
        """The window of the batch has closed."""
        self._mark("expired_at", batch_id)

    def fail_batch(self, batch_id: str, errors: Sequence[Mapping[str, Any]]) -> None:
        """The file of the batch is wrong, and this is why; nothing of it was queued."""
        with self._db.writing() as connection:
            connection.execute(_fail(), {"b": batch_id, "said": list(errors)})

    def late_batches(self) -> list[tuple[str, str]]:
        """Name and owner of the batches whose window has closed before they were done."""
        with self._db.reading() as connection:
            return [(name, owner) for name, owner in connection.execute(_late())]

    def batches_to_validate(self, *, older_than_seconds: float = 0.0) -> list[tuple[str, str]]:
        """Name and owner of the batches that no server has finished to validate."""
        with self._db.reading() as connection:
            rows = connection.execute(_not_validated(), {"s": -older_than_seconds})
            return [(name, owner) for name, owner in rows]

    def request_of(self, batch_id: str, custom_id: str) -> int | None:
        """The prompt of a batch that has this custom id; None if there is none."""
        with self._db.reading() as connection:
            given = {"b": batch_id, "c": custom_id}
            return connection.execute(_request(), given).scalar()

    def _mark(self, column: str, batch_id: str) -> None:
        with self._db.writing() as connection:
            connection.execute(_mark(column), {"b": batch_id})


def _batch(connection: Any, row: Any) -> AskedBatch:
    tallies = connection.execute(_tally(), {"n": row["number"]}).all()
    ends = [each.finished_at for each in tallies if each.finished_at is not None]
    return AskedBatch(
        **row,
        counts={PromptState(each.status): each.number for each in tallies},
        last_finished_at=max(ends, default=None),
        prompt_tokens=sum(int(each.asked) for each in tallies),
        completion_tokens=sum(int(each.answered) for each in tallies),
    )
