"""An id that repeats is found among the first so many, in memory of a fixed size."""

from __future__ import annotations

import tracemalloc

from worker.ingest.seen import Seen


def test_an_id_is_new_once():
    """Also when many share a table that is nearly full."""
    seen = Seen(1000)
    ids = [f"q{n}" for n in range(1000)]
    assert not any(map(seen.repeats, ids))
    assert all(map(seen.repeats, ids))


def test_past_the_bound_nothing_more_is_remembered():
    """The store counts those; what was remembered stays known."""
    seen = Seen(2)
    assert [seen.repeats(each) for each in ("a", "b", "c", "c", "b", "a")] == [
        False,
        False,
        False,
        False,
        True,
        True,
    ]


def test_ids_whose_hashes_end_alike_are_told_apart(monkeypatch):
    """They share a slot, so the next free one is taken; one whose hash is 0 is no free slot."""
    monkeypatch.setattr("worker.ingest.seen.hash", int, raising=False)
    seen = Seen(3)
    assert [seen.repeats(each) for each in ("0", "0", "8", "16", "8", "16", "24")] == [
        False,
        True,
        False,
        False,
        True,
        True,
        False,
    ]


def test_memory_does_not_grow_with_the_ids():
    """A set of these would take ten megabytes."""
    tracemalloc.start()
    seen = Seen(100_000)
    made, _ = tracemalloc.get_traced_memory()
    for number in range(120_000):
        seen.repeats(str(number))
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made < 2_200_000
    assert peak - made < 10_000
    assert now - made < 10_000
