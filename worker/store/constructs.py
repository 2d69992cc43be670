"""What the two databases say differently, said once.

Column types and SQL expressions that compile to PostgreSQL and to SQLite, so
that every statement above this file is written once.  Times are `timestamptz`
on PostgreSQL; on SQLite they are text, `YYYY-MM-DD HH:MM:SS.ffffff` in UTC,
which sorts as time does.  Both take the time from the database: workers on
several machines share no other clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Dialect,
    Double,
    Float,
    Integer,
    ScalarSelect,
    String,
    Table,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

from worker.states import State

if TYPE_CHECKING:  # each takes memory and time, so only that of the database in use is imported
    from sqlalchemy.dialects import postgresql, sqlite

SQLITE_NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"


def dumps(value: Any) -> str:
    """JSON as it is stored: readable for LIKE, keys in their order; raises ValueError for NaN."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _sound(value: Any) -> Any:
    """The value without halves of surrogate pairs: plain SQL can store them, and nobody write."""
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    return value


class Timestamp(TypeDecorator[datetime]):
    """An aware UTC datetime."""

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
        moment = datetime.fromisoformat(value) if dialect.name == "sqlite" else value
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


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
    """A JSON document; SQL NULL is None.

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

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Load for SQLite; psycopg has loaded already."""
        if value is None:
            return None
        return _sound(json.loads(value) if dialect.name == "sqlite" else value)


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


class now(FunctionElement[datetime]):  # noqa: N801 - reads as SQL
    """The moment at which the statement runs, by the clock of the database."""

    type = Timestamp()
    inherit_cache = True


@compiles(now, "postgresql")
def _now_postgresql(_element: now, _compiler: SQLCompiler, **_kw: Any) -> str:
    # now() would be the start of the transaction, which may have waited for a lock since.
    return "clock_timestamp()"


@compiles(now, "sqlite")
def _now_sqlite(_element: now, _compiler: SQLCompiler, **_kw: Any) -> str:
    return SQLITE_NOW


class later(FunctionElement[datetime]):  # noqa: N801 - reads as SQL
    """`later(seconds)`: that long after now, or before, if negative; NULL for NULL."""

    type = Timestamp()
    inherit_cache = True


@compiles(later, "postgresql")
def _later_postgresql(element: later, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"


@compiles(later, "sqlite")
def _later_sqlite(element: later, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', {seconds})"


class elapsed(FunctionElement[float]):  # noqa: N801 - reads as SQL
    """`elapsed(start, end)`: seconds between two times."""

    type = Double()
    inherit_cache = True


@compiles(elapsed, "postgresql")
def _elapsed_postgresql(element: elapsed, compiler: SQLCompiler, **kw: Any) -> str:
    start, end = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"CAST(EXTRACT(EPOCH FROM {end} - {start}) AS double precision)"


@compiles(elapsed, "sqlite")
def _elapsed_sqlite(element: elapsed, compiler: SQLCompiler, **kw: Any) -> str:
    start, end = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"((julianday({end}) - julianday({start})) * 86400.0)"


class _Among(FunctionElement[Any]):
    """`column` is one of the values of a list parameter."""

    # Not Boolean: SQLAlchemy would write `(... IN ...) = 1` for SQLite, and lose the index.
    type = NullType()
    inherit_cache = True


@compiles(_Among, "postgresql")
def _among_postgresql(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} = ANY ({values})"


@compiles(_Among, "sqlite")
def _among_sqlite(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"


def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """The value of `column` is in the list bound as `name`."""
    return _Among(column, bindparam(name, type_=Listed(column.type)))


def one_of(column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """The value of `column` is one of these."""
    return _Among(column, bindparam(None, values, type_=Listed(column.type)))


def moment() -> ScalarSelect[datetime]:
    """`now()` evaluated once, so that an index can be searched for it.

    `clock_timestamp()` itself is volatile and would be asked anew for every row.
    """
    return select(now()).scalar_subquery()


def standing(column: ColumnElement[str], states: Sequence[State]) -> ColumnElement[bool]:
    """The guard of a transition: the row is in one of these states.

    The states are spelled out, not bound: a partial index is only used for a
    condition that the planner can read.
    """
    return one_word_of(column, states)


def one_word_of(column: ColumnElement[str], words: Sequence[str]) -> ColumnElement[bool]:
    """The column holds one of these words of our own, spelled out."""
    spelled = [spell(word) for word in words]
    return column == spelled[0] if len(spelled) == 1 else column.in_(spelled)


def spell(word: str) -> ColumnElement[str]:
    """One of our own words as an SQL literal."""
    return literal_column(f"'{word}'", type_=String())


Upsert: TypeAlias = "sqlite.Insert | postgresql.Insert"


def inserting(table: Table, *, is_sqlite: bool) -> Upsert:
    """An INSERT that may say what happens ON CONFLICT."""
    if is_sqlite:
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


Id = BigInteger().with_variant(Integer(), "sqlite")  # SQLite's rowid needs this very name

Columns = Mapping[str, ColumnElement[Any]]


def parameters(kinds: Mapping[str, TypeEngine[Any]]) -> list[str]:
    """What `bound` and `unnested` call the parameters of these columns."""
    return [_parameter(name) for name in kinds]


def _parameter(name: str) -> str:
    return f"v_{name}"


def bound(kinds: Mapping[str, TypeEngine[Any]]) -> Columns:
    """Rows as SQLite takes them: one parameter a column, the statement run once a row."""
    return {name: bindparam(_parameter(name), type_=kind) for name, kind in kinds.items()}


def listed(kinds: Mapping[str, TypeEngine[Any]], name: str) -> Columns:
    """Rows as one parameter, a list of lists (SQLite): one statement for all of them."""
    rows = func.json_each(bindparam(name, type_=Listed(NullType()))).table_valued("value")
    return {
        each: func.json_extract(rows.c.value, literal_column(f"'$[{place}]'"), type_=kind)
        for place, (each, kind) in enumerate(kinds.items())
    }


def recorded(kinds: Mapping[str, TypeEngine[Any]], name: str) -> Columns:
    """Rows as one parameter, JSON text (PostgreSQL): the cheapest for few rows of many columns."""
    from sqlalchemy.dialects import postgresql

    named = [column(each, kind) for each, kind in kinds.items()]
    rows = func.json_to_recordset(cast(bindparam(name, type_=Text()), postgresql.JSON))
    table = rows.table_valued(*named).render_derived(name="v", with_types=True)
    return {each: table.c[each] for each in kinds}


def unnested(kinds: Mapping[str, TypeEngine[Any]]) -> Columns:
    """Rows as one array a column (PostgreSQL): the cheapest for many rows."""
    arrays = [bindparam(_parameter(name), type_=Listed(kind)) for name, kind in kinds.items()]
    named = [column(name, kind) for name, kind in kinds.items()]
    table = func.unnest(*arrays).table_valued(*named).render_derived(name="v")
    return {name: table.c[name] for name in kinds}
