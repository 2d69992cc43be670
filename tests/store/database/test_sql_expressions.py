"""Types and expressions mean the same on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import bindparam, insert, literal, select

from worker.states import PromptState
from worker.store import Selection
from worker.store.database.column_types import Seconds, Timestamp
from worker.store.database.sql_expressions import (
    elapsed,
    in_list,
    in_states,
    inlined,
    later,
    moment,
    one_of,
)
from worker.store.schema.tables import prompts


@pytest.fixture
def ask(store):
    def run(*columns, **given):
        with store._db.reading() as connection:
            return connection.execute(select(*columns), given).one()

    return run


def test_times_are_aware_and_exact(store, sql):
    """Whatever zone they were given in; to the microsecond."""
    there = timezone(timedelta(hours=5, minutes=30))
    given = datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=there)
    with store._db.writing() as connection:
        connection.execute(insert(prompts).values(prompt="x", available_at=given))
        found = connection.execute(select(prompts.c.available_at)).scalar_one()
    assert found == given
    assert found.tzinfo is UTC
    if store.is_sqlite:
        assert sql.one("SELECT available_at FROM prompts") == "2026-02-28 18:29:59.123456"


def test_a_time_with_a_zone_in_its_text_is_understood(sqlite_store, sqlite_url, connect):
    """Somebody may have stored one by hand."""
    connect(sqlite_url)(
        "INSERT INTO prompts (prompt, available_at) VALUES ('x', '2026-01-01 12:00:00+02:00')"
    )
    assert sqlite_store.prompt(1).available_at == datetime(2026, 1, 1, 10, tzinfo=UTC)


def test_later_is_later_and_null_stays_null(ask):
    """Fractions and negative durations included."""
    seconds = bindparam("seconds", type_=Seconds())
    for given in (0.0, 90.25, -3600.5, 1e-7, 1e7):
        (found,) = ask(elapsed(moment(), later(seconds)), seconds=given)
        assert found == pytest.approx(given, abs=0.01)
    assert ask(later(seconds), seconds=None) == (None,)


def test_now_is_the_databases_now(ask):
    """In UTC, as our own clock roughly agrees."""
    (found,) = ask(moment())
    assert abs((datetime.now(UTC) - found).total_seconds()) < 60


def test_elapsed_is_in_seconds(ask):
    """Between any two times."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ends = literal(start + timedelta(days=1, milliseconds=250), Timestamp())
    assert ask(elapsed(literal(start, Timestamp()), ends))[0] == pytest.approx(86400.25, abs=1e-3)


def test_a_list_is_one_parameter_of_any_length(store):
    """Empty, short, and longer than SQLite has parameters."""
    with store._db.writing() as connection:
        connection.execute(insert(prompts), [{"prompt": str(n)} for n in range(5)])
        find = select(prompts.c.id).where(in_list(prompts.c.id, "ids")).order_by(prompts.c.id)
        for ids, found in (([], []), ([2, 4, 9], [2, 4]), (list(range(100_000)), [1, 2, 3, 4, 5])):
            assert list(connection.execute(find, {"ids": ids}).scalars()) == found
        named = select(prompts.c.id).where(one_of(prompts.c.prompt, ["1", "it's", "3"]))
        assert sorted(connection.execute(named).scalars()) == [2, 4]


def test_states_are_spelled_out():
    """A bound parameter would keep a partial index from being used."""
    one = in_states(prompts.c.status, (PromptState.QUEUED,))
    assert str(one) == "prompts.status = 'queued'"
    two = in_states(prompts.c.status, (PromptState.FAILED, PromptState.CANCELLED))
    assert str(two) == "prompts.status IN ('failed', 'cancelled')"
    assert str(inlined("x")) == "'x'"


def test_half_a_surrogate_pair_that_plain_sql_stored_is_replaced(store, sql):
    """No file could take it: one such prompt would stop the export of all others."""
    asked, column = ("prompt", "metadata") if sql.is_sqlite else ("system", "messages")
    sql(
        f"INSERT INTO prompts ({asked}, {column}, status, finished_at, error_code)"
        r""" VALUES ('x', '["\ud800a", "\ud83d\ude00"]', 'failed', CURRENT_TIMESTAMP, 'e')"""
    )
    (row,) = store.results(Selection())
    assert getattr(row, column) == ["?a", "\U0001f600"]
