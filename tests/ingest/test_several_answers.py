"""A request for several answers becomes as many prompts, each with an id of its own."""

from __future__ import annotations

import pytest

from worker.ingest.intake import BadLine
from worker.ingest.several_answers import ANSWERS_MOST, expanded, number_of, single
from worker.records import NewPrompt


def asking(custom_id="a", **options):
    return NewPrompt(prompt="x", custom_id=custom_id, options=options or None)


def test_each_answer_is_a_prompt_of_its_own():
    """What else was asked stays, in order."""
    found = list(expanded([asking(n=3, temperature=1), asking("b"), BadLine(3, "is bad")]))
    assert [each.custom_id for each in found[:-1]] == ["a#1", "a#2", "a#3", "b"]
    assert [each.options for each in found[:-1]] == [{"temperature": 1}] * 3 + [None]
    assert found[-1] == BadLine(3, "is bad")


def test_a_prompt_without_an_id_stays_without_one():
    """As those typed with -p."""
    found = list(expanded([asking(None, n_cmpl=2)]))
    assert [(each.custom_id, each.options) for each in found] == [(None, None)] * 2


@pytest.mark.parametrize("options", [{}, {"n": 1}, {"n": None}, {"temperature": 2}])
def test_one_answer_is_what_a_prompt_asks_for(options):
    """And the prompt is left as it is."""
    prompt = asking(**options)
    assert number_of(prompt) == 1
    assert list(expanded([prompt])) == [prompt]


@pytest.mark.parametrize(
    "options", [{"n": 0}, {"n": "3"}, {"n": True}, {"n": ANSWERS_MOST + 1}, {"n": 2, "n_cmpl": 2}]
)
def test_what_is_no_number_of_answers_is_none(options):
    """The reader refuses such a line."""
    assert number_of(asking(**options)) == 0
    assert single(asking(**options)).options is None
