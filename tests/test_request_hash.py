"""Equal requests have equal hashes, whoever wrote them down; different ones have different ones."""

from __future__ import annotations

from typing import Any

import pytest

from worker.request_hash import request_hash

ASKED: dict[str, Any] = {
    "model": "m",
    "prompt": "Why?",
    "system": "Be brief.",
    "messages": None,
    "options": {"temperature": 0, "response_format": {"a": 1, "b": 2}},
}
MESSAGES = [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}]


def of(**changed: Any) -> str:
    return request_hash(**{**ASKED, **changed})


def test_it_is_a_sha_256_and_always_the_same() -> None:
    """It is stored, and compared by later versions: it must not change."""
    assert of() == "afc0fcf09c1f6b2974cb29ae4ded0cd3ceff4afd37d4edfc9c436177e7c5572d"


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "other"},
        {"model": None},
        {"prompt": "Why not?"},
        {"system": None},
        {"options": {}},
        {"options": {"temperature": 1, "response_format": {"a": 1, "b": 2}}},
        {"options": {"temperature": 0, "response_format": {"b": 2, "a": 1}}},
        {"prompt": None, "messages": MESSAGES},
    ],
)
def test_whatever_changes_the_request_changes_the_hash(changed: dict[str, Any]) -> None:
    """The order inside a response schema as well, since it changes what a model answers."""
    assert of(**changed) != of()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"system": None}, {"system": ""}),
        ({"options": None}, {"options": {}}),
        ({"options": {"a": 1, "b": 2}}, {"options": {"b": 2, "a": 1}}),
        (
            {"prompt": None, "messages": MESSAGES},
            {"prompt": None, "messages": [dict(reversed(MESSAGES[0].items()))]},
        ),
        ({"messages": MESSAGES}, {"messages": tuple(MESSAGES)}),
    ],
)
def test_what_makes_no_difference_makes_none(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Absent and empty; the order of keys."""
    assert of(**one) == of(**other)


def test_no_text_is_too_odd() -> None:
    """Halves of surrogate pairs, line separators, control characters."""
    assert len({of(prompt=text) for text in ("\ud83d", "\u2028", "\x7f", "é", "e\u0301")}) == 5
