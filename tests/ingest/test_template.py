"""A template fills in columns, lacks none silently, and cannot reach out of its box."""

from __future__ import annotations

import pytest

from worker.errors import InputError
from worker.ingest.template import Template


def test_columns_are_filled_in_as_they_are():
    """No escaping: a prompt is text for a model. The last line end stays."""
    assert Template("Sum: {{ a }} & {{ b }}\n").fields({"a": "<x>", "b": 2}) == {
        "prompt": "Sum: <x> & 2\n"
    }
    assert Template("{% if a %}{{ a }}{% endif %}").columns == {"a"}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ a", "is not valid Jinja2"),
        ("{% nope %}", "is not valid Jinja2"),
        ("{{ a | nope }}", "is not valid Jinja2"),
        ("no columns", "names no column: write them as {{ column }}"),
    ],
)
def test_what_is_no_template_is_told(source, words):
    """Before any row is read."""
    with pytest.raises(InputError) as caught:
        Template(source)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("source", "row", "words"),
    [
        ("{{ a }}", {"b": 1}, "has no column 'a' for the template (there is: b)"),
        ("{{ a.b }}", {"a": {}}, "does not fit the template"),
        ("{{ a / 0 }}", {"a": 1}, "does not fit the template: division by zero"),
        ("{{ a.__class__.__mro__ }}", {"a": 1}, "unsafe"),
        ("{{ a.append(1) }}", {"a": []}, "unsafe"),
        ("{% for x in range(999999999) %}{{ a }}{% endfor %}", {"a": 1}, "does not fit"),
    ],
)
def test_a_row_that_does_not_fit_is_told(source, row, words):
    """Whatever the little program in the template did."""
    with pytest.raises(InputError) as caught:
        Template(source).fields(row)
    assert words in str(caught.value)
