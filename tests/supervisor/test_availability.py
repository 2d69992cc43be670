"""The database is reported once, by whichever thread notices first."""

from __future__ import annotations

from worker.errors import StoreBusy
from worker.supervisor.availability import Availability


def test_each_thread_speaks_for_itself_and_all_of_them_once():
    """Away with the first, back with the last."""
    said = []
    database = Availability(lambda event, **_: said.append(event))
    database.came_back("store")
    database.went_away("store", StoreBusy("gone"))
    database.went_away("committer", StoreBusy("gone"))
    database.came_back("store")
    assert (database.away, said) == (True, ["database_unavailable"])
    database.came_back("committer")
    assert (database.away, said) == (False, ["database_unavailable", "database_back"])


def test_a_run_that_waits_for_a_row_is_named_with_its_prompt():
    """So that its owner knows which transaction to end."""
    said = []
    database = Availability(lambda event, **values: said.append((event, values)))
    database.waits_for_row(3, 7)
    assert said == [("run_waits_for_row", {"run_id": 3, "prompt_id": 7})]
