"""What comes back from a database is a value, or none: never an error that stops other rows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import literal_column, select

from worker.store.database.column_types import Timestamp, as_text, dumps, read_json


def test_json_is_stored_for_people_to_read():
    """No escapes where none are needed, keys in their order, nothing that is not JSON."""
    assert dumps({"z": "é", "a": [1, None]}) == '{"z":"é","a":[1,null]}'
    with pytest.raises(ValueError, match="JSON"):
        dumps(float("inf"))


@pytest.mark.parametrize("text", ["9" * 6000, "[" * 5000 + "]" * 5000, "no JSON", ""])
def test_json_that_python_cannot_read_is_its_text(text):
    """Numbers and depths that a database takes are more than Python reads."""
    assert read_json(text) == text
    assert as_text(text.encode()) == as_text(text) == text


def test_a_moment_that_python_has_no_value_for_is_none(store):
    """`infinity`, a year of five digits, a word; the day beside them is read."""
    odd = ["'yesterday'", "''", "'12026-01-01 00:00:00'", "'2026-02-31 00:00:00'"]
    sound = "'2026-01-02 03:04:05'"
    if not store.is_sqlite:
        moments = ("infinity", "-infinity", "12026-01-01", "0044-03-15 BC")
        odd = [f"timestamptz '{each}'" for each in moments]
        sound = f"timestamptz {sound}"
    with store._db.reading() as connection:
        columns = [literal_column(each, type_=Timestamp()).label(f"c{n}")
                   for n, each in enumerate([*odd, sound])]  # fmt: skip
        *none, found = connection.execute(select(*columns)).one()
    assert none == [None] * len(odd)
    assert found == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
