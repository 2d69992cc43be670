"""The query that the demo shows works as it is, on both databases."""

from worker.records import NewPrompt
from worker.store import demo_query


def test_the_query_finds_the_rows_of_the_demo_and_no_others(store, database_url):
    """Columns and rows are what any client gets for the same words."""
    store.add([NewPrompt(prompt="p", custom_id="one")], batch="demo")
    store.add([NewPrompt(prompt="p", custom_id="two")], batch="other")
    found = demo_query.look(database_url)
    assert list(found.columns) == ["id", "custom_id", "output", "tokens", "seconds"]
    assert [row[1:] for row in found.rows] == [("one", None, None, None)]


def test_the_query_needs_nothing_that_only_one_database_has(database_url, sql):
    """People paste it into `sqlite3` or `psql`."""
    assert sql(demo_query.QUERY) == []
