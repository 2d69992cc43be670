"""Column types: how moments, durations, flags, JSON and lists travel to both databases and back.

What comes back may have been written by hand.  A value that Python cannot read stops
no other row: a moment is then None, and JSON its own text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    ColumnElement,
    DateTime,
    Dialect,
    Double,
    Float,
    Integer,
    Text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

# Within these days every moment is one for Python, in whatever time zone.
_FIRST_DAY, _LAST_DAY = "0001-01-03 00:00:00+00", "9999-12-29 00:00:00+00"


def dumps(value: Any) -> str:
    """JSON as it is stored: readable for LIKE, keys in their order; raises ValueError for NaN."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def as_text(stored: str | bytes) -> str:
    """JSON as PostgreSQL sends it, not read yet: one row that cannot be read stops no other."""
    return stored if isinstance(stored, str) else stored.decode()


def read_json(text: str) -> Any:
    """What a stored JSON text says; the text itself if Python cannot read it."""
    try:
        return _sound(json.loads(text))
    except (ValueError, RecursionError):
        return text


def _sound(value: Any) -> Any:
    """The value without halves of surrogate pairs: plain SQL can store them, and nobody write."""
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    return value


class Timestamp(TypeDecorator[datetime]):
    """An aware UTC datetime; what is none, or beyond the years 1 to 9999, is read as None."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text on SQLite, `timestamptz` on PostgreSQL."""
        own = Text() if dialect.name == "sqlite" else DateTime(timezone=True)
        return dialect.type_descriptor(own)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Aware datetimes only: a naive one would mean another moment on each machine."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Always in UTC, whatever the time zone of the session is."""
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value) if dialect.name == "sqlite" else value
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError):  # written by hand: one row must not stop its readers
            return None

    def column_expression(self, column: ColumnElement[datetime]) -> ColumnElement[datetime]:
        """PostgreSQL: `infinity` and other moments that Python has no value for become NULL."""
        return _Representable(column)


class _Representable(FunctionElement[datetime]):
    """The moment, or NULL if Python has no value for it."""

    type = Timestamp()
    inherit_cache = True


@compiles(_Representable, "postgresql")
def _representable_postgresql(element: _Representable, compiler: SQLCompiler, **kw: Any) -> str:
    (moment,) = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"CASE WHEN {moment} BETWEEN '{_FIRST_DAY}' AND '{_LAST_DAY}' THEN {moment} END"


@compiles(_Representable, "sqlite")
def _representable_sqlite(element: _Representable, compiler: SQLCompiler, **kw: Any) -> str:
    (moment,) = (compiler.process(clause, **kw) for clause in element.clauses)
    return moment


class Seconds(TypeDecorator[float]):
    """A duration on its way into `later`; NULL stays NULL."""

    impl = Float
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """SQLite takes a modifier such as `+1.500000 seconds`, PostgreSQL a number."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else Double())

    def process_bind_param(self, value: float | None, dialect: Dialect) -> Any:
        """Spell the SQLite modifier."""
        if value is None or dialect.name != "sqlite":
            return value
        return f"{value:+.6f} seconds"


class Flag(TypeDecorator[bool]):
    """A boolean; 0 and 1 on SQLite, whose strict tables know no boolean."""

    impl = Boolean
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Integer on SQLite."""
        return dialect.type_descriptor(Integer() if dialect.name == "sqlite" else Boolean())

    def process_bind_param(self, value: bool | None, dialect: Dialect) -> Any:
        """Spell it as the column does."""
        return int(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> bool | None:  # noqa: ARG002
        """Back to True and False."""
        return None if value is None else bool(value)


class Json(TypeDecorator[Any]):
    """A JSON document; SQL NULL is None, and what cannot be read is its text.

    On PostgreSQL the type is `json`, not `jsonb`: `jsonb` sorts keys, and the order of
    the properties in a response schema changes what a model answers.  `binary=True`
    asks for `jsonb`, for what people search rather than send.
    """

    impl = Text
    cache_ok = True

    def __init__(self, *, binary: bool = False) -> None:
        super().__init__()
        self.binary = binary

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text on SQLite."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Text())
        from sqlalchemy.dialects import postgresql

        own = postgresql.JSONB if self.binary else postgresql.JSON
        return dialect.type_descriptor(own(none_as_null=True))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Dump for SQLite; the PostgreSQL dialect dumps by itself."""
        return dumps(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002
        """Load it; a number or a depth that Python does not read must not stop the other rows."""
        return None if value is None else read_json(value)


class Listed(TypeDecorator[Sequence[Any]]):
    """A list as one parameter: an array on PostgreSQL, JSON text on SQLite.

    One parameter however long the list is: SQLite takes at most 32,766 of them.
    """

    impl = Text
    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text on SQLite."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Text())
        from sqlalchemy.dialects import postgresql

        return dialect.type_descriptor(postgresql.ARRAY(self.item))

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> Any:
        """Dump for SQLite, hand on to PostgreSQL."""
        if value is None:
            return None
        return json.dumps(list(value)) if dialect.name == "sqlite" else list(value)
