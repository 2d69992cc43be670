"""One table says which names are understood, and the documents show the same table."""

from __future__ import annotations

import re

import pytest

from tests.house.tree import ROOT
from worker.ingest.intake import RequestLine
from worker.ingest.keys import (
    OPTION_KINDS,
    OWN_FIELDS,
    USES,
    Use,
    known_as,
    misspelt,
    option_value,
)
from worker.wire.dialects.request import ANSWER_COUNTS

DOCUMENT = (ROOT / "docs" / "input.md").read_text("utf-8")


def table(heading):
    section = DOCUMENT.split(f"## {heading}\n")[1].split("\n## ")[0]
    return [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in section.splitlines()
        if row.startswith("| `")
    ]


def names(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_the_document_shows_the_table_of_names():
    """Each name once, with what becomes of it; own fields are shown with their meaning."""
    shown = {
        name: use for cell, use, *_ in table("Names that are understood") for name in names(cell)
    }
    assert shown == {
        name: str(use) for name, use in USES.items() if use not in (Use.OWN, Use.OPTION)
    }
    own = [name for cell, *_ in table("Spool's own names") for name in names(cell)]
    assert own == list(OWN_FIELDS)


def test_the_document_shows_the_table_of_options():
    """With the kind of value that each takes."""
    shown = {name: kind for cell, kind in table("Request options") for name in names(cell)}
    assert shown == {name: kind.name for name, kind in OPTION_KINDS.items()}


def test_own_names_are_those_of_a_line():
    """A line is decoded straight into them."""
    assert set(OWN_FIELDS) < set(RequestLine.__struct_fields__)
    assert ANSWER_COUNTS[0] in OPTION_KINDS


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("Prompt", "prompt"),
        ("Max Tokens", "max_tokens"),
        ("maxTokens", "max_tokens"),
        ("response-format", "response_format"),
        (" QUESTION ", "question"),
        ("Answer", "Answer"),
    ],
)
def test_letters_and_gaps_make_no_other_name(name, known):
    """Spreadsheets and JavaScript write them otherwise; what is not in the table stays as it is."""
    assert known_as(name) == known


def test_a_slip_is_told_apart_from_another_word():
    """Only names of fields and options are looked for."""
    assert misspelt("temperture") == "temperature"
    assert misspelt("max_token") == "max_tokens"
    assert [misspelt(name) for name in ("reason", "title", "answer", "Prompt", "url")] == [None] * 5


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("temperature", "hot", 'expected a number, got the text "hot"'),
        ("temperature", True, "expected a number, got true"),
        ("max_tokens", 1.5, "expected a whole number, got the number 1.5"),
        ("tools", {"a": 1}, "expected a list, got an object"),
        ("stop", 3, "expected a text or a list of texts, got the number 3"),
        ("response_format", [1], "expected an object, got a list"),
        ("parallel_tool_calls", 1, "expected true or false"),
    ],
)
def test_a_value_of_another_kind_is_told(name, value, words):
    """Before a server refuses it ten thousand times."""
    assert words in option_value(name, value)[1]


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("temperature", 1, 1),
        ("max_tokens", 9.0, 9),
        ("stop", ["a"], ["a"]),
        ("logprobs", True, True),
        ("tools", '[{"type": "function"}]', [{"type": "function"}]),
        ("guided_json", '{"type": "object"}', '{"type": "object"}'),
    ],
)
def test_a_value_that_fits_is_taken(name, value, taken):
    """A whole number out of a table with gaps, and tools that a data set keeps as JSON in a text."""
    assert option_value(name, value) == (taken, "")
