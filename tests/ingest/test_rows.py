"""Columns with Spool's names are its fields; the others come out again as metadata."""

from __future__ import annotations

import pytest

from tests.ingest.reading import intake
from worker.errors import InputError
from worker.ingest.rows import check_columns, from_cells, from_row
from worker.ingest.template import Template


def row(values, **options):
    return from_row(1, values, b"raw", intake(**options))


def cells(values, **options):
    return from_cells(1, values, b"raw", intake(**options))


def test_own_columns_are_fields_and_others_metadata():
    """Beside metadata that the row brings itself."""
    prompt = row({"prompt": "p", "model": "m", "metadata": {"a": 1}, "b": 2, "c": None})
    assert (prompt.prompt, prompt.model, prompt.metadata) == ("p", "m", {"a": 1, "b": 2})


def test_a_template_may_use_any_column_even_prompt():
    """Then it is not a field any more."""
    prompt = row({"prompt": "p", "x": 1}, template=Template("Say {{ prompt }}"))
    assert (prompt.prompt, prompt.metadata) == ("Say p", {"x": 1})


def test_the_id_column_is_the_custom_id():
    """Numbers too; and it is not kept a second time."""
    prompt = row({"prompt": "p", "key": 7}, id_column="key")
    assert (prompt.custom_id, prompt.metadata) == ("7", None)
    assert "has nothing in its column 'key'" in row({"prompt": "p"}, id_column="key").reason


def test_a_value_of_the_wrong_type_is_told():
    """As on a line of JSON."""
    assert "is wrong in prompt" in row({"prompt": 3}).reason
    assert "U+0000" in row({"prompt": "p", "x": "\x00"}).reason


def test_cells_are_text_but_for_the_columns_that_are_not():
    """Messages, options and metadata hold JSON, priority and max_attempts numbers."""
    prompt = cells(
        {
            "prompt": "",
            "messages": '[{"role": "user"}]',
            "options": '{"a": 1}',
            "priority": " 3",
            "max_attempts": "2",
            "zip": "01234",
        }
    )
    assert prompt.messages == [{"role": "user"}]
    assert (prompt.options, prompt.priority, prompt.max_attempts) == ({"a": 1}, 3, 2)
    assert prompt.metadata == {"zip": "01234"}


@pytest.mark.parametrize(
    ("column", "cell", "words"),
    [
        ("options", "{oops", "has something other than JSON in its column options"),
        ("priority", "high", "has something other than a whole number in its column priority"),
    ],
)
def test_a_cell_that_is_not_what_its_column_holds_is_told(column, cell, words):
    """By the name of the column."""
    assert cells({"prompt": "p", column: cell}).reason == words


def test_an_empty_cell_is_absent_unless_the_template_uses_it():
    """A template that names a column gets it, empty or not."""
    assert cells({"prompt": "p", "system": ""}).system is None
    assert cells({"a": "", "b": "x"}, template=Template("[{{ a }}]")).prompt == "[]"


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        (("title",), {}, "has no column called prompt (there is: title): rename one, or say how"),
        (("text",), {"template": Template("{{ txt }}")}, "no column 'txt'; did you mean text?"),
        (("prompt",), {"id_column": "key"}, "has no column 'key'"),
    ],
)
def test_columns_that_can_give_no_prompt_are_told_once(columns, options, words):
    """And not once for each of a million rows."""
    with pytest.raises(InputError) as caught:
        check_columns(columns, intake(**options))
    assert words in str(caught.value)


def test_columns_that_will_do_pass():
    """Either a prompt, or messages, or whatever the template names."""
    check_columns(("messages",), intake())
    check_columns(("a", "k"), intake(template=Template("{{ a }}"), id_column="k"))
