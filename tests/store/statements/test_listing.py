"""A page of a list costs what the page is long, however long the table is."""

from __future__ import annotations

import pytest

from tests.store.cast import sign_on, take
from worker.records import NewPrompt
from worker.states import PromptState
from worker.store import Selection
from worker.store.statements import listing


def add(store, number, **given):
    store.add([NewPrompt(prompt=f"p{n}") for n in range(number)], **given)


def ids(page):
    return [row.id for row in page.rows]


def test_pages_go_on_where_the_last_one_ended(store):
    """Newest first; the last page says that there is no more."""
    add(store, 5)
    first = store.newest(Selection(), limit=2)
    assert (ids(first), first.before, first.looked_through) == ([5, 4], 4, False)
    second = store.newest(Selection(), limit=2, before=first.before)
    last = store.newest(Selection(), limit=2, before=second.before)
    assert (ids(second), ids(last), last.before) == ([3, 2], [1], None)


def test_every_condition_narrows(store):
    """The same selections as elsewhere."""
    add(store, 2, batch="a")
    add(store, 2, batch="b")
    sign_on(store)
    take(store)
    assert ids(store.newest(Selection(batch="a"), limit=9)) == [2, 1]
    assert ids(store.newest(Selection(batch="a"), limit=9, before=2)) == [1]
    assert ids(store.newest(Selection(states=(PromptState.RUNNING,)), limit=9)) == [1]
    assert store.newest(Selection(batch="none"), limit=9) == listing.Page()
    assert ids(store.newest(Selection(endpoint="default"), limit=9)) == [4, 3, 2, 1]


@pytest.mark.parametrize("gap", [False, True])
def test_what_is_rare_is_looked_for_in_bounded_steps(store, sql, monkeypatch, gap):
    """A page ends after so many prompts, and the pages together find everything once."""
    monkeypatch.setattr(listing, "LOOKED_THROUGH", 3)
    add(store, 8)
    sql("UPDATE prompts SET endpoint = 'far' WHERE id IN (1, 7)")
    if gap:
        sql("DELETE FROM prompts WHERE id IN (3, 4)")
    far = Selection(endpoint="far")
    first = store.newest(far, limit=5)
    assert (ids(first), first.before, first.looked_through) == ([7], 6, True)
    seen, page = ids(first), first
    while page.before is not None:
        page = store.newest(far, limit=5, before=page.before)
        seen += ids(page)
    assert seen == [7, 1]


def test_a_batch_is_looked_for_where_it_is(store, monkeypatch):
    """However many prompts came after it."""
    monkeypatch.setattr(listing, "LOOKED_THROUGH", 3)
    add(store, 2, batch="old")
    add(store, 9, batch="new")
    page = store.newest(Selection(batch="old"), limit=5)
    assert (ids(page), page.before) == ([2, 1], None)


def test_a_long_prompt_is_cut_by_the_database(store):
    """Also messages, of which it is the JSON that begins."""
    store.add(
        [NewPrompt(prompt="x" * 5000), NewPrompt(messages=[{"role": "user", "content": "y"}])]
    )
    messages, prompt = store.newest(Selection(), limit=2).rows
    assert (len(prompt.text), prompt.is_json) == (400, False)
    assert messages.is_json
    assert messages.text.startswith('[{"role"')
