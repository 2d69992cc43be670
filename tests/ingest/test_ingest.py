"""Text from the command line is new each time it is typed."""

from __future__ import annotations

from tests.ingest.reading import intake, reasons, texts
from worker.ingest import from_texts


def test_each_text_is_a_prompt_without_a_derived_id():
    """Asking twice on purpose is a use."""
    items = list(from_texts(["a", "a"], intake()))
    assert [item.custom_id for item in items] == [None, None]
    assert texts(items) == ["a", "a"]


def test_an_id_may_be_given():
    """Then the second is recognised."""
    assert next(from_texts(["a"], intake(), "x")).custom_id == "x"


def test_bad_text_is_told_by_its_number():
    """Arguments of a process can hold bytes that are no text."""
    assert reasons(from_texts(["a", "\udcff", " "], intake())) == [
        "-p 2 holds half of a surrogate pair, which is not text: remove it",
        "-p 3 has an empty prompt",
    ]
