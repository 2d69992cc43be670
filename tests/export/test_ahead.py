"""Reading ahead changes how often the database is asked, and nothing else."""

from __future__ import annotations

import pytest

from tests.export.rows import Texts, row
from worker.export import Ahead
from worker.records import Kind
from worker.store.bulk_text import Held


class Page:
    """Holds what it is told to; remembers what was asked."""

    def __init__(self, held):
        self.held = held
        self.asked = []

    def of(self, run_ids):
        self.asked.append(list(run_ids))
        return {run_id: self.held[run_id] for run_id in run_ids}


def test_a_page_of_rows_is_asked_for_together():
    """And rows that never ran are not asked for."""
    page = Page(dict.fromkeys(range(1, 4), Held(frozenset(), {})))
    ahead = Ahead(page, Texts(), page=2)
    rows = [row(id=n, run_id=run_id) for n, run_id in enumerate([1, None, 2, 3])]
    assert list(ahead.rows(rows)) == rows
    assert page.asked == [[1], [2, 3]]


@pytest.mark.parametrize(
    ("held", "expected", "asked"),
    [
        (Held(frozenset({Kind.TEXT}), {Kind.TEXT: "short"}), [(0, "short")], 0),
        (Held(frozenset(), {}), [], 0),
        (Held(frozenset({Kind.THINKING}), None), [], 0),
        (Held(frozenset({Kind.TEXT}), None), [(0, "lo"), (1, "ng")], 1),
    ],
)
def test_only_what_is_not_held_is_asked_for_again(held, expected, asked):
    """Short texts are there, absent kinds are known to be absent, long texts pass in pieces."""
    texts = Texts({(7, Kind.TEXT): ["lo", "ng"]})
    ahead = Ahead(Page({7: held}), texts, page=10)
    list(ahead.rows([row()]))
    assert list(ahead.text(7)) == expected
    assert len(texts.asked) == asked


def test_rows_with_long_prompts_are_few_to_a_page():
    """They are held until the page is written."""
    page = Page({7: Held(frozenset(), {})})
    ahead = Ahead(page, Texts(), page=100)
    long = [row(id=n, prompt="x" * 500_000) for n in range(8)]
    assert list(ahead.rows(long)) == long
    assert page.asked == [[7, 7, 7], [7, 7, 7], [7, 7]]
