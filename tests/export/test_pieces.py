"""JSON in pieces is the same JSON, and no text in it is ever whole in memory."""

from __future__ import annotations

import io
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.export.rows import NOON, Texts
from worker.export import Pieces, text_of, write_json, write_line
from worker.records import Kind

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def written(value):
    out = io.StringIO()
    write_json(out, value)
    return out.getvalue()


def written_line(value):
    out = io.StringIO()
    write_line(out, value)
    return out.getvalue()


@given(st.lists(TEXT))
def test_a_text_in_pieces_reads_back_as_the_whole(parts):
    """Wherever it was cut."""
    assert json.loads(written({"a": [Pieces(parts)]})) == {"a": ["".join(parts)]}


@given(TEXT)
def test_a_text_in_memory_is_written_as_if_it_came_in_pieces(text):
    """The quick way and the long way are the same bytes, times included."""
    for times in ({}, {"t": NOON}):
        quick = {"a": [Pieces((text,), only=text)], "n": None} | times
        assert written(quick) == written({"a": [Pieces((text,))], "n": None} | times)
    quick = {"a": [Pieces((text,), only=text)], "n": 1.5}
    assert written_line(quick) == written_line({"a": [Pieces((text,))], "n": 1.5})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


@given(JSON)
def test_a_line_is_the_same_json(value):
    """Whoever writes it, and however long its numbers are."""
    assert written_line(value) == written(value) + "\n"


@pytest.mark.parametrize(
    "value", [None, True, 3, 0.5, 'ü\n"', [], {}, [1, [2]], {"a": {"b": [None]}, 'k"': 1}]
)
def test_other_values_are_what_json_makes_of_them(value):
    """Compact, and as UTF-8."""
    assert written(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def test_times_are_utc():
    """With a Z, as SQL clients and JavaScript read it."""
    assert written({"t": NOON}) == '{"t":"2026-11-22T12:00:00.123Z"}'


def test_a_run_that_produced_nothing_has_no_text():
    """Absent is not empty."""
    texts = Texts({(1, Kind.TEXT): ["a", "b"], (2, Kind.TEXT): [""]})
    assert text_of(texts, 1).whole() == "ab"
    assert text_of(texts, 1).only is None
    assert text_of(texts, 2).only == ""
    assert text_of(texts, 2).whole() == ""
    assert text_of(texts, 1, Kind.THINKING) is None
    assert text_of(texts, None) is None


def test_memory_does_not_grow_with_the_text():
    """Sixty-four megabytes pass through."""

    class Nowhere(io.TextIOBase):
        size = 0

        def write(self, text):
            self.size += len(text)
            return len(text)

    out = Nowhere()
    tracemalloc.start()
    try:
        write_json(out, {"output": Pieces("x" * 65536 for _ in range(1024))})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert out.size == 64 * 2**20 + len('{"output":""}')
    assert peak < 2 << 20
