"""What the two databases say differently, said once.

SQL expressions that compile to PostgreSQL and to SQLite (and the types in
column_types.py), so that every statement above is written once.  Times are `timestamptz`
on PostgreSQL; on SQLite they are text, `YYYY-MM-DD HH:MM:SS.ffffff` in UTC,
which sorts as time does.  Both take the time from the database: workers on
several machines share no other clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
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
from sqlalchemy.types import NullType, TypeEngine

from worker.states import State
from worker.store.database.column_types import Listed, Timestamp

if TYPE_CHECKING:  # each takes memory and time, so only that of the database in use is imported
    from sqlalchemy.dialects import postgresql, sqlite

SQLITE_NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"


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
    """`elapsed(start, end)`: seconds between two times; NULL if one of them is no moment."""

    type = Double()
    inherit_cache = True


@compiles(elapsed, "postgresql")
def _elapsed_postgresql(element: elapsed, compiler: SQLCompiler, **kw: Any) -> str:
    start, end = (compiler.process(clause, **kw) for clause in element.clauses)
    finite = f"isfinite({start}) AND isfinite({end})"  # the others cannot be subtracted
    return (
        f"CASE WHEN {finite} THEN CAST(EXTRACT(EPOCH FROM {end} - {start}) AS double precision) END"
    )


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


def in_list(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
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


def in_states(column: ColumnElement[str], states: Sequence[State]) -> ColumnElement[bool]:
    """The guard of a transition: the row is in one of these states.

    The states are spelled out, not bound: a partial index is only used for a
    condition that the planner can read.
    """
    return one_word_of(column, states)


def one_word_of(column: ColumnElement[str], words: Sequence[str]) -> ColumnElement[bool]:
    """The column holds one of these words of our own, spelled out."""
    spelled = [inlined(word) for word in words]
    return column == spelled[0] if len(spelled) == 1 else column.in_(spelled)


def inlined(word: str) -> ColumnElement[str]:
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
