"""A completed run of which text is missing is found, and none that is whole is accused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.store.cast import completed, interrupted, sign_on, take, words
from worker.records import Kind, NewPrompt
from worker.store.statements import verify


@pytest.fixture
def answered(store):
    """Three completed runs of three chunks, one without any, one that was cut; their run ids."""
    sign_on(store)
    store.add([NewPrompt(prompt=str(n)) for n in range(3)], batch="b")
    store.add([NewPrompt(prompt="nothing"), NewPrompt(prompt="cut")], batch="other")
    *whole, empty, cut = sorted(take(store, limit=5), key=lambda run: run.id)
    for run in whole:
        chunks = [words(run, 0, "hm", Kind.THINKING), words(run, 1, "a"), words(run, 2, "b")]
        store.commit("w1", chunks, [completed(run, chunks=3, chars=2)])
    store.commit("w1", [words(cut, 0, "a")], [interrupted(cut, chunks=1), completed(empty)])
    return [run.id for run in whole]


def found(store, **given):
    return [run.run_id for page in store.verify(**given) for run in page.incomplete]


def test_what_is_whole_is_not_accused(store, answered):
    """Thoughts count, a run without text is whole, and one that was cut promises nothing."""
    for given in ({}, {"everything": True}):
        pages = list(store.verify(**given))
        assert sum(page.looked_at for page in pages) == 4
        assert found(store, **given) == []


@pytest.mark.parametrize(
    ("harm", "stored", "last"),
    [
        ("DELETE FROM chunks WHERE run_id = ? AND seq = 1", 2, 2),
        ("DELETE FROM chunks WHERE run_id = ? AND seq = 2", 2, 1),
        ("DELETE FROM chunks WHERE run_id = ?", 0, None),
        ("UPDATE chunks SET seq = 7 WHERE run_id = ? AND seq = 2", 3, 7),
        ("UPDATE runs SET chunks = 4 WHERE id = ?", 3, 2),
    ],
)
def test_each_hole_is_found(store, sql, answered, harm, stored, last):
    """In the middle, at the end, everything; a number too high; too many that were counted."""
    sql(harm.replace("?", str(answered[1])))
    for given in ({}, {"everything": True}, {"everything": True, "batch": "b"}):
        ((run,),) = [page.incomplete for page in store.verify(**given) if page.incomplete]
        assert (run.run_id, run.stored, run.last_seq) == (answered[1], stored, last)
    assert found(store, everything=True, batch="other") == []


def test_since_leaves_out_what_ended_before(store, sql, answered):
    """By the clock of the database."""
    sql("DELETE FROM chunks")
    sql(f"UPDATE runs SET finished_at = '2020-01-01 00:00:00' WHERE id = {answered[0]}")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert found(store, everything=True, since=yesterday) == answered[1:]
    assert sorted(found(store, everything=True)) == answered


def test_all_are_looked_at_page_by_page(store, sql, answered, monkeypatch):
    """Ids have gaps; `doctor` by itself ends with the newest."""
    monkeypatch.setattr(verify, "PAGE_IDS", 2)
    sql(f"DELETE FROM chunks WHERE run_id = {answered[0]}")
    pages = list(store.verify(everything=True))
    assert len(pages) == 3
    assert [run.run_id for page in pages for run in page.incomplete] == [answered[0]]
    assert found(store) == [answered[0]]
    monkeypatch.setattr(verify, "NEWEST", 2)
    (page,) = store.verify()
    assert (page.looked_at, page.incomplete) == (2, ())


def test_an_empty_database_has_nothing_to_miss(store):
    """Neither page nor error."""
    assert list(store.verify(everything=True)) == []
    assert [page.looked_at for page in store.verify()] == [0]
