"""Parquet has typed columns and groups of bounded size."""

from __future__ import annotations

import io
import sys

import pyarrow.parquet as pq
import pytest

from tests.export.rows import NOON, Texts, failed, row
from worker.errors import InputError
from worker.export import COLUMNS, parquet
from worker.records import Kind


def test_rows_read_back_with_their_types():
    """Times as times, numbers as numbers, JSON as text."""
    out = io.BytesIO()
    texts = Texts({(7, Kind.TEXT): ["a", "b"]})
    assert parquet.write([row(metadata={"k": 1}), failed(id=2)], texts, out, partial=True) == 2
    first, second = pq.read_table(io.BytesIO(out.getvalue())).to_pylist()
    assert tuple(first) == COLUMNS
    assert (first["id"], first["output"], first["metadata"]) == (1, "ab", '{"k": 1}')
    assert first["finished_at"] == NOON
    assert (second["output"], second["partial_output"], second["prompt_tokens"]) == (
        None,
        "ab",
        None,
    )


def test_a_group_ends_at_its_bound(monkeypatch):
    """What is held in memory is a group, not the file."""
    monkeypatch.setattr("worker.export.parquet._GROUP_CHARACTERS", 100)
    out = io.BytesIO()
    texts = Texts({(7, Kind.TEXT): ["x" * 60]})
    parquet.write([row(id=n) for n in range(5)], texts, out, partial=False)
    assert pq.ParquetFile(io.BytesIO(out.getvalue())).num_row_groups == 3


def test_nothing_is_a_file_too():
    """With its columns."""
    out = io.BytesIO()
    assert parquet.write([], Texts(), out, partial=False) == 0
    assert tuple(pq.read_table(io.BytesIO(out.getvalue())).column_names) == COLUMNS


def test_without_the_extra_the_cure_is_told(monkeypatch):
    """pyarrow is large, and few need it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"-m pip install 'pyarrow>=18'`"):
        parquet.write([], Texts(), io.BytesIO(), partial=False)
