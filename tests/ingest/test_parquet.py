"""Parquet rows become prompts by their columns; what cannot be read is told."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.reading import Drip, only, read, reasons, texts
from worker.errors import InputError


def table(rows):
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def read_parquet(data, **options):
    return read(data, name="f.parquet", **options)


def test_rows_become_prompts_with_native_values():
    """Lists and structs need no JSON; times become text."""
    day = datetime(2026, 1, 2, tzinfo=UTC)
    item = only(
        read_parquet(
            table(
                [
                    {
                        "messages": [{"role": "user", "content": "x"}],
                        "custom_id": 7,
                        "options": {"temperature": 0.5},
                        "day": day,
                    }
                ]
            )
        )
    )
    assert item.messages == [{"role": "user", "content": "x"}]
    assert (item.custom_id, item.options) == ("7", {"temperature": 0.5})
    assert item.metadata == {"day": "2026-01-02T00:00:00Z"}


def test_a_bad_row_is_told_by_its_number():
    """And its neighbours are taken."""
    items = read_parquet(table([{"prompt": "a"}, {"prompt": ""}, {"prompt": "c"}]))
    assert texts(items) == ["a", "c"]
    assert reasons(items) == ["row 2 has an empty prompt"]


def test_adding_it_twice_derives_the_same_ids():
    """Row number and content."""
    data = table([{"prompt": "a"}])
    assert only(read_parquet(data)).custom_id == only(read_parquet(data)).custom_id


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PAR1 and then nothing", "is not readable as Parquet"),
        (table([{"title": "a"}]), "has no column called prompt"),
    ],
)
def test_what_is_no_such_file_is_told(data, words):
    """In one sentence."""
    with pytest.raises(InputError) as caught:
        read_parquet(data)
    assert words in str(caught.value)


def test_a_pipe_cannot_be_read():
    """The index of the file stands at its end."""
    pipe = io.BufferedReader(Drip(b"PAR1"))
    with pytest.raises(InputError, match="save it to a file first"):
        read(b"", file_format="parquet", source=pipe)


def test_without_the_extra_the_cure_is_told(monkeypatch):
    """pyarrow is large, and few need it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"-m pip install 'pyarrow>=18'`"):
        read_parquet(b"PAR1")
