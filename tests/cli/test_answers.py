"""`spool doctor` finds text that the database forgot, and names what makes it forget."""

from __future__ import annotations

import pytest

from tests.cli.carried import claim, complete, flush
from worker.cli import answers
from worker.records import NewPrompt
from worker.settings import Settings
from worker.store.statements.verify import Incomplete, Page

HOLE = Incomplete(run_id=7, prompt_id=3, chunks=14, stored=11, last_seq=13)


@pytest.fixture
def forgotten(store, sql):
    """Two completed prompts of two batches, the second without its last chunk."""
    for batch in ("a", "b"):
        store.add([NewPrompt(prompt="p")], batch=batch)
        (run,) = claim(store)
        flush(store, run, "Hello ", "world")
        complete(store, run, chunks=2, chars=11)
    sql(f"DELETE FROM chunks WHERE run_id = {run.id} AND seq = 1")
    return run


def test_verify_names_each_run_and_exits_with_1(on, forgotten):
    """It looks at nothing else: no endpoint is asked."""
    said = on("doctor", "--verify")
    assert said.code == 1
    first, second = said.out.splitlines()
    assert first.startswith(
        f"BROKEN    answers: run {forgotten.id} of prompt {forgotten.prompt_id} is completed, and 1"
        " of its 2 chunks are stored; "
    )
    assert second == "BROKEN    answers: 1 of 2 completed runs miss text"
    (shown,) = on("doctor", "--verify", "--json").matches("doctor")
    assert {each["about"] for each in shown["findings"]} == {"answers"}


def test_verify_looks_at_a_batch_or_at_what_ended_lately(on, sql, forgotten):
    """Exit code 0 if all of that is whole."""
    assert on("doctor", "--verify", "--batch", "a").out == (
        "ok        answers: all text of 1 completed run is stored\n"
    )
    assert on("doctor", "--verify", "--batch", "b").code == 1
    sql(f"UPDATE runs SET finished_at = '2020-01-01 00:00:00' WHERE id = {forgotten.id}")
    assert on("doctor", "--verify", "--since", "1d").code == 0
    on("doctor", "--verify", "--batch", "c").fails("there is no batch 'c'")
    on("doctor", "--verify", "--since", "soon").fails("is no age", code=2)
    on("doctor", "--batch", "a").fails("--batch and --since go with --verify", code=2)


def test_plain_doctor_looks_at_the_newest(on, forgotten):
    """Beside everything else."""
    assert "BROKEN    answers: 1 of 2 completed runs miss text" in on("doctor").out


def test_not_more_than_a_screenful_is_named():
    """The others are counted, and a query lists them."""
    found = list(answers.whole([Page(1000, (HOLE,) * 60), Page(500, (HOLE,) * 60)]))
    assert len(found) == answers.NAMED + 1
    assert found[-1].said == (
        "120 of 1,500 completed runs miss text; docs/sql.md has a query that lists all"
    )
    holes = Page(1, (Incomplete(1, 1, chunks=3, stored=3, last_seq=7),))
    assert "numbered up to 7, though there are 3" in str(next(answers.whole([holes])))


def test_what_the_database_may_forget_is_named(store):
    """SQLite by its setting, PostgreSQL by what the server is asked."""
    found = list(answers.durable(store, Settings(sqlite_synchronous="FULL")))
    if store.is_sqlite:
        assert [each.said for each in found] == [
            "synchronous = FULL: when this machine loses power, nothing is lost"
        ]
        return
    # The server of the tests is one that would forget.
    assert [each.said.split(":")[0] for each in found] == [
        "fsync is off",
        "full_page_writes is off",
    ]
