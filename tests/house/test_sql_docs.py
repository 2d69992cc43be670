"""docs/sql.md is true: its columns are the schema's, and its queries run on both databases."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.house.tree import ROOT
from tests.store.cast import completed, failed, interrupted, sign_on, take, words
from worker.records import Kind, NewPrompt, Usage
from worker.store import Store
from worker.store.schema.tables import metadata
from worker.store.schema.views import VIEWS

PAGE = (ROOT / "docs" / "sql.md").read_text("utf-8")
BLOCK = re.compile(r"^```(sql|sqlite|postgresql)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUERIES = BLOCK.findall(PAGE)


def fill(store: Store) -> None:
    """A queue in which something of everything has happened."""
    sign_on(store)
    store.add(
        [NewPrompt(prompt=f"question {name}", custom_id=name) for name in ("a", "b", "slow", "no")],
        batch="demo",
    )
    done, thought, streaming, refused = sorted(take(store, limit=4), key=lambda run: run.id)
    store.commit(
        "w1",
        [
            words(done, 0, "The river runs to the sea."),
            words(thought, 0, "hm", Kind.THINKING),
            words(thought, 1, "short"),
            words(streaming, 0, "so far"),
        ],
        [
            completed(done, usage=Usage(10, 20), first_text_seconds_ago=0.5, chars=26, chunks=1),
            completed(thought, finish_reason="length", usage=Usage(5, 2), chars=5, chunks=2),
            failed(refused),
        ],
    )
    store.add([NewPrompt(prompt="breaks", custom_id="again", metadata={"topic": "t"})], batch="x")
    (broken,) = take(store)
    store.commit("w1", [words(broken, 0, "half")], [interrupted(broken, chars=4, chunks=1)])


def test_every_query_runs(store: Store, sql: Callable[[str], list[tuple[Any, ...]]]) -> None:
    """Whoever copies a query from the page gets an answer, on the database it is meant for."""
    fill(store)
    ours = "sqlite" if store.is_sqlite else "postgresql"
    ran = 0
    for dialect, block in QUERIES:
        for query in filter(str.strip, block.split(";")) if dialect in {"sql", ours} else ():
            try:
                sql(query)
            except Exception as error:
                raise AssertionError(f"docs/sql.md has a query that fails: {query}") from error
            ran += 1
    assert ran > 30


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "SELECT custom_id, output FROM results",
            [("a", "The river runs to the sea."), ("b", "short")],
        ),
        ("SELECT id, custom_id, finish_reason, completion_tokens", [(2, "b", "length", 2)]),
        ("SELECT status, coalesce(output, partial_output)", [("running", "so far", None, None)]),
        ("SELECT error_code, count(*) AS prompts", [("bad_request", 1, "no such model")]),
    ],
)
def test_the_queries_give_what_they_promise(
    store: Store,
    sql: Callable[[str], list[tuple[Any, ...]]],
    query: str,
    expected: list[tuple[Any, ...]],
) -> None:
    """Not only do they run: the rows are those that the sentence above each query promises."""
    fill(store)
    (found,) = [text for _, text in QUERIES if text.startswith(query)]
    assert sql(found) == expected


def test_every_column_is_documented(store: Store, sql: Any) -> None:
    """Tables and views have the columns that the page lists, in its order, and no others."""
    listed = {
        name: re.findall(r"`(\w+)`", columns)
        for name, columns in re.findall(r"^- `(\w+)`: ((?:.|\n  )+)$", PAGE, re.MULTILINE)
    }
    in_tables = {name: [c.name for c in table.columns] for name, table in metadata.tables.items()}
    in_views = {}
    for view in VIEWS:
        cursor = sql._connection.execute(f"SELECT * FROM {view} LIMIT 0")
        in_views[view] = [column[0] for column in cursor.description]
    assert listed == in_tables | in_views
