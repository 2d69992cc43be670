"""The rules refuse what would stop everybody, and nothing that anybody would write."""

from __future__ import annotations

import pytest

from tests.store.cast import start, take
from worker.store.statements.conditions import COUNT_MAX, ID_MAX


@pytest.mark.parametrize("column", ["attempts", "crashes", "runs"])
def test_a_counter_always_has_room_for_one_more(store, sql, column):
    """It is refused where it is written: a claim that adds one would stop all the others."""
    sql(f"INSERT INTO prompts (prompt, {column}) VALUES ('x', {COUNT_MAX})")
    with pytest.raises(Exception, match="prompts_bounds"):
        sql(f"INSERT INTO prompts (prompt, {column}) VALUES ('x', {COUNT_MAX + 1})")


def test_an_id_that_leaves_no_room_for_others_is_refused(store, sql):
    """SQLite counts on from the largest one, and would say that the disk is full."""
    with pytest.raises(Exception, match="prompts_bounds"):
        sql(f"INSERT INTO prompts (id, prompt) VALUES ({ID_MAX + 1}, 'x')")
    run = start(store)
    with pytest.raises(Exception, match="runs_bounds"):
        sql(f"UPDATE runs SET id = {ID_MAX + 1}")
    with pytest.raises(Exception, match="runs_bounds"):
        sql("UPDATE runs SET attempt = -1")
    assert (run.id, take(store)) == (1, [])
