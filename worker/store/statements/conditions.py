"""The rules of the tables that are spelled the same way more than once, and columns that belong
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Column, Integer, Text

from worker.store.database.sql_expressions import Id

# What is counted is never near the end of its type, so that one more always has room.
COUNT_MAX = 1_000_000_000
ID_MAX = 4_000_000_000_000_000_000
INTEGER_MAX = 2_147_483_647


def one_of_words(column: str, words: Sequence[StrEnum] | type[StrEnum]) -> str:
    """The column holds one of these words."""
    spelled = ", ".join(f"'{word}'" for word in words)
    return f"{column} IN ({spelled})"


def finished_exactly_in(states: Sequence[StrEnum]) -> str:
    """`finished_at` is set in these states, and in no other."""
    return f"(finished_at IS NOT NULL) = ({one_of_words('status', states)})"


def json_is(column: str, kind: str) -> str:
    """The column is NULL or a JSON document of this kind (SQLite)."""
    # Later versions of SQLite understand JSON5 in `json_type`; only `json_valid` is strict.
    return f"{column} IS NULL OR (json_valid({column}) AND json_type({column}) = '{kind}')"


def prompt_bounds() -> CheckConstraint:
    """Counters, priorities and ids of prompts.

    It stands beside a column: SQLite adds a rule to a table in use only together with a column.
    """
    return CheckConstraint(
        f"attempts <= {COUNT_MAX} AND crashes <= {COUNT_MAX} AND runs <= {COUNT_MAX}"
        f" AND max_attempts <= {INTEGER_MAX}"
        f" AND priority BETWEEN -{INTEGER_MAX} AND {INTEGER_MAX} AND id <= {ID_MAX}",
        name="prompts_bounds",
    )


def run_bounds() -> CheckConstraint:
    """Numbers and ids of runs; likewise beside a column."""
    return CheckConstraint(
        f"attempt >= 0 AND attempt <= {COUNT_MAX} AND id <= {ID_MAX}", name="runs_bounds"
    )


def continuation() -> Iterator[Column[Any]]:
    """What a run says about the earlier one that it goes on with."""
    yield Column("continues_run_id", Id)  # whose text it goes on with; NULL: it began anew
    yield Column("carried_chars", Id)  # of text copied from there; 0: it began again all the same
    yield Column("carried_chunks", Integer)  # in so many chunks
    yield Column("carried_tokens", Id)  # generated for them, as far as known
    yield Column("dropped_chars", Id)  # at the end of that text, and not copied
    yield Column("continued_by", Text)
    yield Column("not_continued", Text)  # why it began again although an earlier run had text
    yield Column("frames", Integer)  # of a run that ended without a count of its tokens
    yield Column("stream_bytes", Id)  # of the response, up to the last flush
