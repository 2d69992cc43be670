"""The SQL in `docs/statements/` is the SQL that runs: a change of a statement shows as SQL."""

import pytest

from tests.house.golden_sql import DIALECTS, FOLDER, every_statement, page


@pytest.mark.parametrize("database", DIALECTS)
def test_the_statements_that_people_read_are_those_that_run(database):
    """`python -m tests.house.golden_sql` writes them anew after a change."""
    assert (FOLDER / f"{database}.sql").read_text("utf-8") == page(database)


@pytest.mark.parametrize("database", DIALECTS)
def test_each_verb_has_its_statements(database):
    """A generator that finds nothing would agree with an empty file."""
    verbs = {name.partition(".")[0] for name, _ in every_statement(database)}
    assert verbs >= {"claim", "commit", "rescue", "manage", "read"}
