"""Every CSV reader gets the same text back, however it was cut."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from tests.export.rows import NOON, Texts, failed, row
from worker.export import COLUMNS, csv_file
from worker.records import Kind

# csv readers of Python take U+0000 as they please; the store has none.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))


def written(rows, texts, **options):
    out = io.StringIO(newline="")
    csv_file.write(rows, Texts(texts), out, partial=options.get("partial", False))
    return out.getvalue()


@given(st.lists(TEXT))
def test_an_answer_reads_back_as_it_was(parts):
    """Quotes, commas, line ends of every kind."""
    text = written([row()], {(7, Kind.TEXT): parts})
    header, cells = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert tuple(header) == COLUMNS
    assert cells[header.index("output")] == "".join(parts)


def test_absent_is_empty_and_empty_is_quoted():
    """Readers that care can tell them apart."""
    text = written([row(prompt="")], {})
    assert ',"",,"completed","",,,,' in text
    assert text.endswith("\r\n")


def test_values_are_written_as_sql_would_show_them():
    """Numbers bare, times in UTC, JSON as text."""
    text = written([failed(metadata={"k": "v"}, finished_at=NOON)], {})
    assert '"{""k"": ""v""}"' in text
    assert ",2026-11-22T12:00:00.123Z,7,7,false,,,false,,,\r\n" in text
    assert text.splitlines()[1].startswith("1,")
