"""Statements that run all day long, compiled once and handed to the driver.

SQLAlchemy writes every statement of the store.  For the few that carry each claim and
each flush it would then spend more time on running them than the database does, so those
are compiled once, and the driver below gets them as they are: same connection, same
transaction, same text.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import Connection, Dialect
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql.elements import CompilerElement
from sqlalchemy.types import TypeDecorator

Borrowed: TypeAlias = "Connection | PoolProxiedConnection"  # with SQLAlchemy around it, or bare
_TEXTS = re.compile(r"%\((\w+)\)s::TEXT\[\]")
_AS_IT_IS: Callable[[Any], Any] = lambda value: value  # noqa: E731 - a name for doing nothing


class Prepared:
    """One statement for one dialect; parameters by name, or rows of them."""

    def __init__(self, statement: CompilerElement, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        # psycopg escapes a list of texts one by one, but hands their bytes over as they are:
        # 3 microseconds for 4 KiB instead of 85.
        self._sql: str = _TEXTS.sub(r"%(\1)b::TEXT[]", compiled.string)
        binds = {name: bind for bind, name in compiled.bind_names.items()}
        self._constants = {
            name: bind.effective_value for name, bind in binds.items() if not bind.required
        }
        self._convert = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect) or _AS_IT_IS
            for name, bind in binds.items()
        }
        self._readers = [
            (place, read)
            for place, column in enumerate(getattr(statement, "selected_columns", ()))
            if isinstance(column.type, TypeDecorator)  # the drivers know the types of databases
            and (read := column.type.dialect_impl(dialect).result_processor(dialect, None))
        ]
        self._order: Sequence[str] | None = compiled.positiontup
        # The driver describes every column to whoever asks whether there are rows.
        self._returns = len(getattr(statement, "exported_columns", ())) > 0

    def run(self, connection: Borrowed, given: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run it once; returns its rows."""
        cursor = driver_of(connection).execute(self._sql, self._arguments(given))
        return cursor.fetchall() if self._returns else []

    def rows(self, connection: Borrowed, given: Mapping[str, Any]) -> list[list[Any]]:
        """Run it once; returns its rows, every value as the type of its column has it."""
        rows = [list(row) for row in self.run(connection, given)]
        for place, read in self._readers:
            for row in rows:
                if row[place] is not None:
                    row[place] = read(row[place])
        return rows

    def count(self, connection: Borrowed, given: Mapping[str, Any]) -> int:
        """Run it once; returns how many rows it changed."""
        return int(driver_of(connection).execute(self._sql, self._arguments(given)).rowcount)

    def count_each(
        self,
        connection: Borrowed,
        columns: Iterable[str],
        rows: Sequence[tuple[Any, ...]],
        **same: Any,
    ) -> int:
        """Run it for each row (SQLite); returns how many rows it changed."""
        constants = {**self._constants, **same}
        places = [*columns, *constants]
        order = [places.index(name) for name in self._order or ()]
        converters = [self._convert[places[place]] for place in order]
        pick, tail = itemgetter(*order), tuple(constants.values())
        arguments: Iterable[Sequence[Any]] = [pick(row + tail) for row in rows]
        if any(convert is not _AS_IT_IS for convert in converters):
            arguments = [
                [convert(value) for convert, value in zip(converters, row, strict=True)]
                for row in arguments
            ]
        driver: sqlite3.Connection = driver_of(connection)
        return driver.executemany(self._sql, arguments).rowcount

    def count_arrays(
        self,
        connection: Borrowed,
        columns: Iterable[str],
        rows: Sequence[tuple[Any, ...]],
        **same: Any,
    ) -> int:
        """Run it once for all rows, an array a column (PostgreSQL); how many rows it changed."""
        arrays = dict(zip(columns, zip(*rows, strict=True), strict=True))
        return self.count(connection, {**arrays, **same})

    def _arguments(self, given: Mapping[str, Any]) -> Any:
        convert = self._convert
        named = {
            name: convert[name](value)
            for name, value in {**self._constants, **given}.items()
            if name in convert
        }
        return named if self._order is None else [named[name] for name in self._order]


def driver_of(connection: Borrowed) -> Any:
    """The connection of the driver below; None if it was invalidated."""
    pooled = connection.connection if isinstance(connection, Connection) else connection
    return pooled.driver_connection
