"""`output` is a completed answer and nothing else; the columns are those of the view."""

from __future__ import annotations

import pytest

from tests.export.rows import Texts, failed, row
from worker.export import COLUMNS
from worker.export.columns import columns
from worker.records import Kind
from worker.states import PromptState

PIECES = ['{"index":0,"id":"c1","name":"f","arg', 'uments":"{"}\n{"index":0,"arguments":"}"}\n']
CALLS = [{"index": 0, "id": "c1", "name": "f", "arguments": "{}"}]
TEXTS = {(7, Kind.TEXT): ["ans", "wer"], (7, Kind.THINKING): ["hm"], (7, Kind.TOOL_CALLS): PIECES}


def whole(given, *, partial=False, texts=TEXTS):
    values = columns(given, Texts(texts), partial=partial)
    assert tuple(values) == COLUMNS
    return {
        name: value.whole() if hasattr(value, "whole") else value for name, value in values.items()
    }


def test_the_columns_are_those_of_the_view_results(sqlite_url):
    """One set of names for SQL and for files; messages stand beside prompt."""
    import sqlite3

    connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    view = [name for name, *_ in connection.execute("SELECT * FROM results").description]
    connection.close()
    assert set(COLUMNS) == {*view, "messages"}


def test_a_completed_prompt_has_its_output():
    """And everything else that its run produced."""
    values = whole(row())
    assert (values["output"], values["partial_output"]) == ("answer", None)
    assert (values["thinking"], values["tool_calls"]) == ("hm", CALLS)
    assert (values["status"], values["seconds"]) == ("completed", 1.235)


def test_a_completed_prompt_without_text_has_an_empty_output():
    """Null would say that there is no answer yet."""
    assert whole(row(), texts={})["output"] == ""


@pytest.mark.parametrize("state", [state for state in PromptState if state != "completed"])
def test_no_other_prompt_ever_has_an_output(state):
    """A part must not pass for the whole, even where it is asked for."""
    assert whole(failed(status=state))["partial_output"] is None
    values = whole(failed(status=state), partial=True)
    assert (values["output"], values["partial_output"]) == (None, "answer")


def test_texts_that_are_not_asked_for_are_not_read():
    """They may be long."""
    texts = Texts(TEXTS)
    columns(failed(), texts, partial=False)
    assert texts.asked == []


def test_the_text_is_that_of_the_run_that_has_it():
    """A refused connection, which stores nothing, hides nothing; a row says whose text it is."""
    values = whole(failed(run_id=8, text_run_id=7), partial=True)
    assert (values["partial_output"], values["run_id"], values["text_run_id"]) == ("answer", 8, 7)
    assert (values["thinking"], values["tool_calls"]) == ("hm", CALLS)


@pytest.mark.parametrize(
    ("given", "truncated"),
    [
        (row(finish_reason="length"), True),
        (row(finish_reason="max_tokens"), True),
        (row(), False),
        (row(finish_reason=None), False),
        (failed(finish_reason="length"), False),
    ],
)
def test_an_answer_that_was_cut_says_so(given, truncated):
    """By whatever word the server has for its length limit."""
    assert whole(given)["truncated"] is truncated
