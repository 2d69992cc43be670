"""A prepared statement does what SQLAlchemy would have done with it, only sooner."""

from __future__ import annotations

from datetime import UTC

import pytest
from sqlalchemy import bindparam, insert, literal, select, update

from tests.store.cast import sign_on
from worker.store import Store
from worker.store.database.column_types import Seconds
from worker.store.database.sql_expressions import in_list, later
from worker.store.schema.tables import prompts

TIMES = (prompts.c.created_at, prompts.c.finished_at)
ADD = insert(prompts).values(prompt=bindparam("v_prompt"), priority=bindparam("v_priority"))


@pytest.fixture
def store(database_url):
    """Under the owner of the tables: these statements are nobody's work."""
    store = Store.open(database_url)
    yield store
    store.close()


@pytest.fixture
def database(store):
    return store._work_db


def test_it_takes_parameters_by_name_and_returns_rows(database):
    """Constants of the statement need not be given."""
    statement = select((literal(2) + bindparam("more")).label("sum"), bindparam("word"))
    with database.reading() as connection:
        run = database.prepared(statement).run
        assert run(connection, {"more": 3, "word": "é"}) == [(5, "é")]
        assert run(connection, {"more": 4, "word": "x", "not": "asked for"}) == [(6, "x")]


def test_types_convert_what_they_are_given(database):
    """Lists and durations as the database takes them."""
    with database.writing() as connection:
        connection.execute(insert(prompts), [{"prompt": str(n)} for n in range(5)])
        find = select(prompts.c.id).where(in_list(prompts.c.id, "ids")).order_by(prompts.c.id)
        assert database.prepared(find).run(connection, {"ids": [2, 4, 9]}) == [(2,), (4,)]
        move = update(prompts).values(available_at=later(bindparam("by", type_=Seconds())))
        assert database.prepared(move).count(connection, {"by": 60.0}) == 5
        late = select(prompts.c.id).where(prompts.c.available_at <= prompts.c.created_at)
        assert database.prepared(late).run(connection, {}) == []


def test_rows_come_as_their_types_have_them(database):
    """Times are aware, JSON is read, NULL stays None: as SQLAlchemy would have given them."""
    with database.writing() as connection:
        given = {"prompt": "x", "options": {"a": [1]}, "metadata": None}
        connection.execute(insert(prompts), [given])
        wanted = select(prompts.c.prompt, prompts.c.options, prompts.c.metadata, *TIMES)
        (row,) = database.prepared(wanted).rows(connection, {})
        assert row == list(connection.execute(wanted).one())
        assert row[3].tzinfo is UTC


def test_rows_are_counted(sqlite_store, sqlite_url, connect):
    """One execution a row, in any order of columns, with what is the same for all."""
    database = sqlite_store._work_db
    statement = (
        update(prompts)
        .where(prompts.c.id == bindparam("v_id"))
        .values(priority=bindparam("v_priority") + bindparam("more") + 1)
    )
    with database.writing() as connection:
        connection.execute(insert(prompts), [{"prompt": str(n)} for n in range(3)])
        counted = database.prepared(statement).count_each(
            connection, ["v_id", "v_priority"], [(1, 10), (3, 30), (9, 90)], more=5
        )
    assert counted == 2
    assert connect(sqlite_url)("SELECT id, priority FROM prompts") == [(1, 16), (2, 0), (3, 36)]


def test_a_statement_is_compiled_once(database):
    """Whoever asks for it."""
    assert database.prepared(ADD) is database.prepared(ADD)


def test_it_is_part_of_the_transaction(database, sql):
    """What it did goes when the transaction goes."""
    with pytest.raises(ZeroDivisionError), database.writing() as connection:  # noqa: PT012
        given = {"v_prompt": "x", "v_priority": 1}
        assert database.prepared(ADD).count(connection, given) == 1
        1 / 0  # noqa: B018
    assert sql("SELECT * FROM prompts") == []


def test_sqlalchemy_and_the_driver_may_take_turns(store, sql):
    """One connection, one transaction, whoever runs the statement."""
    sign_on(store)
    database = store._work_db
    with database.writing() as connection:
        database.prepared(ADD).count(connection, {"v_prompt": "a", "v_priority": 1})
        connection.execute(ADD, {"v_prompt": "b", "v_priority": 2})
        assert database.prepared(select(prompts.c.id)).run(connection, {}) == [(1,), (2,)]
    assert sql("SELECT prompt, priority FROM prompts ORDER BY id") == [("a", 1), ("b", 2)]
