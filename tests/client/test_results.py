"""A result has the columns of a row, and its texts when they are asked for."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.cli.carried import every_state
from worker.client.results import Narrow, Result, existing, selected
from worker.errors import InputError, NotFound
from worker.export import COLUMNS
from worker.states import PromptState
from worker.store import Selection, Store
from worker.store.rows import ResultRow

TEXT = "Hello wörld.\n\n"


def test_a_result_is_a_row_with_texts(store: Store) -> None:
    """Output only of what is completed; the rest of what there is in any case."""
    every_state(store)
    completed, failed, *_, queued = [Result.of(row, store) for row in store.results(Selection())]
    assert completed == next(iter(store.results(Selection())))
    assert completed._fields == ResultRow._fields
    assert (completed.completed, completed.output, completed.partial_output) == (True, TEXT, TEXT)
    assert (completed.thinking, completed.tool_calls) == ("hm", [])
    assert (failed.completed, failed.output, failed.partial_output) == (False, None, TEXT)
    assert (queued.output, queued.partial_output, list(queued.pieces())) == (None, "", [])
    assert "_store" not in repr(completed)


def test_a_result_as_a_dict_is_a_row_of_the_view_with_its_texts(store: Store) -> None:
    """What a table of answers is made of: every column, with plain values."""
    every_state(store)
    completed, failed, *_, queued = [
        Result.of(row, store).as_dict() for row in store.results(Selection())
    ]
    assert {*COLUMNS} <= {*completed}
    assert (completed["output"], completed["partial_output"]) == (TEXT, None)
    assert (completed["status"], completed["thinking"], completed["tool_calls"]) == (
        "completed",
        "hm",
        None,
    )
    assert (failed["output"], failed["partial_output"]) == (None, TEXT)
    assert (queued["partial_output"], queued["truncated"]) == (None, False)


def test_every_field_of_a_selection_has_a_word() -> None:
    """A field that is new in the store is not forgotten here."""
    assert set(Narrow.__annotations__) == {each.name for each in fields(Selection)}


def test_words_make_a_selection() -> None:
    """Lists as people write them; states as words or as they are."""
    made = selected(None, {"ids": [1, 2], "states": ["failed", PromptState.QUEUED], "batch": "b"})
    assert made == Selection(ids=(1, 2), states=(PromptState.FAILED, PromptState.QUEUED), batch="b")
    assert selected(Selection(ids=(3,)), {}) == Selection(ids=(3,))
    assert selected(None, {}) == Selection()


def test_what_makes_no_sense_is_said() -> None:
    """Instead of selecting something else."""
    with pytest.raises(InputError, match="no state 'done'"):
        selected(None, {"states": ["done"]})
    with pytest.raises(TypeError, match="not both"):
        selected(Selection(), {"batch": "b"})


def test_what_is_named_exists(store: Store) -> None:
    """Or the nearest name is told; a batch whose prompts are gone is none."""
    every_state(store)
    for sound in (Selection(), Selection(batch="b", ids=(1, 1, 2)), Selection(error_code="x")):
        assert existing(store, sound) is sound
    with pytest.raises(NotFound, match="no prompt 9"):
        existing(store, Selection(ids=(1, 9)))
    with pytest.raises(NotFound, match="no batch 'zz': `spool status` lists them"):
        existing(store, Selection(batch="zz"))
    with pytest.raises(NotFound, match="did you mean 'b'"):
        existing(store, Selection(batch="bb"))
