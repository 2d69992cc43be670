"""Files that clients upload: bytes in parts, and the row that makes them a file.

Parts are written first, a few in each transaction; the row of the file comes last.  So a file is
there whole or not at all, and what an upload that broke has left is deleted by `sweep_files`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Delete,
    Insert,
    Integer,
    Select,
    Text,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
)

from worker.store.database.column_types import Seconds
from worker.store.database.engine import Database
from worker.store.database.sql_expressions import later, now
from worker.store.schema.batch_files import PART_BYTES
from worker.store.schema.tables import batch_file_parts, batch_files

ABANDONED_SECONDS = 24 * 3600.0  # so old is a part without its file: its upload has broken


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What is known of a file besides its bytes.

    Attributes:
        owner: the name of the key that uploaded it; "" where no key is needed.
        bytes: how long it is.
        expires_at: when it is deleted; None for never.
    """

    id: str
    owner: str
    filename: str
    purpose: str
    bytes: int
    created_at: datetime
    expires_at: datetime | None


@cache
def _add_part() -> Insert:
    return insert(batch_file_parts).values(
        file_id=bindparam("f"), seq=bindparam("n"), data=bindparam("d")
    )


@cache
def _add_file() -> Insert:
    return insert(batch_files).values(
        id=bindparam("f"),
        owner=bindparam("o"),
        filename=bindparam("name"),
        purpose=bindparam("p"),
        bytes=bindparam("b"),
        expires_at=later(bindparam("seconds", type_=Seconds())),
    )


def _named() -> list[ColumnElement[bool]]:
    return [
        batch_files.c.id == bindparam("f", type_=Text()),
        batch_files.c.owner == bindparam("o", type_=Text()),
    ]


def _current() -> ColumnElement[bool]:
    return or_(batch_files.c.expires_at.is_(None), batch_files.c.expires_at > now())


@cache
def _file() -> Select[Any]:
    return select(batch_files).where(*_named(), _current())


@cache
def _files(*, newest_first: bool, purpose: bool, behind: bool) -> Select[Any]:
    column, key = batch_files.c.created_at, batch_files.c.id
    found = select(batch_files).where(batch_files.c.owner == bindparam("o", type_=Text()))
    found = found.where(_current())
    if purpose:
        found = found.where(batch_files.c.purpose == bindparam("p", type_=Text()))
    if behind:
        # The database compares its own moments: a bound one may be spelled with other digits.
        last = bindparam("last", type_=Text())
        other = batch_files.alias("last_seen")
        at = select(other.c.created_at).where(other.c.id == last).scalar_subquery()
        further = column < at if newest_first else column > at
        same = key < last if newest_first else key > last
        found = found.where(or_(further, (column == at) & same))
    order = (column.desc(), key.desc()) if newest_first else (column, key)
    return found.order_by(*order).limit(bindparam("page", type_=Integer()))


@cache
def _part() -> Select[bytes]:
    return select(batch_file_parts.c.data).where(
        batch_file_parts.c.file_id == bindparam("f", type_=Text()),
        batch_file_parts.c.seq == bindparam("n", type_=Integer()),
    )


@cache
def _delete_file() -> Delete:
    return delete(batch_files).where(*_named())


@cache
def _delete_expired() -> Delete:
    return delete(batch_files).where(batch_files.c.expires_at <= now())


@cache
def _delete_parts() -> Delete:
    return delete(batch_file_parts).where(
        batch_file_parts.c.file_id == bindparam("f", type_=Text())
    )


@cache
def _without_file() -> Select[str]:
    """Files whose parts are there and old, without the row that makes them a file."""
    known = exists().where(batch_files.c.id == batch_file_parts.c.file_id)
    return (
        select(batch_file_parts.c.file_id)
        .where(~known)
        .group_by(batch_file_parts.c.file_id)
        .having(func.max(batch_file_parts.c.created_at) < later(bindparam("s", type_=Seconds())))
        .limit(100)
    )


class FileSide:
    """The part of the store that keeps uploaded files."""

    _db: Database

    def add_parts(self, file_id: str, seq: int, parts: Sequence[bytes]) -> None:
        """Store pieces of a file, the first of them as number `seq`; at most 1 MiB each."""
        if not parts:
            return
        rows = [{"f": file_id, "n": seq + n, "d": data} for n, data in enumerate(parts)]
        with self._db.writing() as connection:
            connection.execute(_add_part(), rows)

    def add_file(
        self,
        file_id: str,
        *,
        owner: str,
        filename: str,
        purpose: str,
        size: int,
        expires_seconds: float | None = None,
    ) -> StoredFile:
        """Make a file of the parts that are stored under its id."""
        given = {"f": file_id, "o": owner, "name": filename, "p": purpose, "b": size}
        with self._db.writing() as connection:
            connection.execute(_add_file(), {**given, "seconds": expires_seconds})
            row = connection.execute(select(batch_files).where(*_named()), given).mappings().one()
        return StoredFile(**row)

    def file(self, file_id: str, *, owner: str) -> StoredFile | None:
        """One file of this owner; None if there is no such file."""
        with self._db.reading() as connection:
            row = connection.execute(_file(), {"f": file_id, "o": owner}).mappings().first()
        return None if row is None else StoredFile(**row)

    def files(
        self,
        *,
        owner: str,
        limit: int,
        purpose: str | None = None,
        behind: StoredFile | None = None,
        newest_first: bool = True,
    ) -> list[StoredFile]:
        """At most `limit` files of this owner, in the order in which they were made."""
        given: dict[str, Any] = {"o": owner, "page": limit}
        if purpose is not None:
            given["p"] = purpose
        if behind is not None:
            given["last"] = behind.id
        statement = _files(
            newest_first=newest_first, purpose=purpose is not None, behind=behind is not None
        )
        with self._db.reading() as connection:
            return [StoredFile(**row) for row in connection.execute(statement, given).mappings()]

    def file_bytes(self, file_id: str) -> Iterator[bytes]:
        """The bytes of a file, part by part; each part is read in a transaction of its own."""
        seq = 0
        while True:
            with self._db.reading() as connection:
                data = connection.execute(_part(), {"f": file_id, "n": seq}).scalar()
            if data is None:
                return
            yield bytes(data)
            seq += 1

    def open_file(self, file_id: str) -> io.BufferedReader:
        """The bytes of a file as a stream that is read once, from its beginning."""
        return io.BufferedReader(_Parts(self.file_bytes(file_id)), PART_BYTES)

    def delete_file(self, file_id: str, *, owner: str) -> bool:
        """Delete a file of this owner; says whether there was one."""
        with self._db.writing() as connection:
            counted = connection.execution_options(preserve_rowcount=True)
            there = counted.execute(_delete_file(), {"f": file_id, "o": owner}).rowcount > 0
            if there:
                connection.execute(_delete_parts(), {"f": file_id})
        return there

    def sweep_files(self, *, abandoned_seconds: float = ABANDONED_SECONDS) -> None:
        """Delete files that have expired, and parts whose upload broke so many seconds ago."""
        expired = select(batch_files.c.id).where(batch_files.c.expires_at <= now())
        with self._db.writing() as connection:
            ids = list(connection.execute(expired).scalars())
            connection.execute(_delete_expired())
            left = connection.execute(_without_file(), {"s": -abandoned_seconds}).scalars()
            for file_id in [*ids, *left]:
                connection.execute(_delete_parts(), {"f": file_id})


class _Parts(io.RawIOBase):
    """Parts as a raw stream."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        super().__init__()
        self._parts = parts
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Hand on as much as fits of the part at hand."""
        while not self._left:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._left = memoryview(part)
        taken = min(len(buffer), len(self._left))
        buffer[:taken] = self._left[:taken]
        self._left = self._left[taken:]
        return taken
