"""A result has the columns of a row, and its texts when they are asked for."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.cli.carried import every_state
from worker.errors import InputError
from worker.results import Narrow, Result, selected
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
