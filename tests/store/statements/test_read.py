"""What only asks changes nothing, and asks for no more than it says."""

from __future__ import annotations

import inspect

import pytest
from sqlalchemy import Select
from sqlalchemy.dialects import postgresql, sqlite

from tests.store.cast import cancelled, completed, interrupted, sign_on, start, take
from worker.records import NewPrompt
from worker.states import PromptState
from worker.store import Selection
from worker.store.statements import read

BUILDERS = {
    name: builder
    for name, builder in vars(read).items()
    if getattr(builder, "__module__", "") == read.__name__
    and not name.startswith("_")
    and name != "chosen"
}


def build(builder):
    (given,) = inspect.signature(builder).parameters or ("nothing",)
    arguments = {"selection": [Selection()], "in_batch": []}.get(given, [])
    return builder(*arguments, **({"in_batch": True} if given == "in_batch" else {}))


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=lambda d: d.name)
def test_a_question_is_a_select_without_locks(name, dialect):
    """On both databases; nobody waits for somebody who only looks."""
    statement = build(BUILDERS[name])
    assert isinstance(statement, Select)
    sql = str(statement.compile(dialect=dialect))
    assert sql.startswith("SELECT")
    assert not any(word in sql for word in ("UPDATE", "INSERT", "DELETE", "FOR SHARE"))


def test_an_empty_selection_sets_no_condition():
    """It means everything."""
    assert read.chosen(Selection()) == []


def test_every_field_of_a_selection_is_a_condition():
    """None is accepted and ignored."""
    from datetime import UTC, datetime

    given = {
        "ids": (1,),
        "batch": "b",
        "states": (PromptState.QUEUED,),
        "error_code": "x",
        "endpoint": "e",
        "finished_before": datetime(2026, 1, 1, tzinfo=UTC),
    }
    assert set(given) == set(Selection.__dataclass_fields__)
    for name, value in given.items():
        assert len(read.chosen(Selection(**{name: value}))) == 1


def test_tallies_are_one_row_for_each_group(store):
    """Failures are told apart by their reason, everything else is not."""
    store.add([NewPrompt(prompt="x")] * 3, batch="b")
    sign_on(store)
    first, second, third = take(store, limit=3)
    store.commit("w1", [], [cancelled(first), completed(second), interrupted(third)])
    start(store)
    with store._db.reading() as connection:
        rows = connection.execute(read.tallies()).all()
    counted = {(row.batch, row.status, row.why): (row.number, row.recent) for row in rows}
    assert counted == {
        (None, "queued", None): (1, 0),
        ("b", "cancelled", None): (1, 0),
        ("b", "completed", None): (1, 1),
        ("b", "running", None): (1, 0),
    }
