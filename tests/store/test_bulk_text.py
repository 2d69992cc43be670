"""A page of texts is read within its budget, and what was left out is known."""

from __future__ import annotations

import pytest

from tests.store.cast import words
from worker.records import Kind, NewPrompt, WorkerInfo
from worker.store.bulk_text import BulkTexts, Held


@pytest.mark.parametrize(("run_characters", "page_characters"), [(9, 100), (100, 9), (100, 100)])
def test_the_database_gives_what_fits_and_says_what_does_not(
    store, database_url, run_characters, page_characters
):
    """On both databases; whatever is held or not, the same text comes out."""
    store.add([NewPrompt(prompt=str(n)) for n in range(3)])
    store.register(WorkerInfo("w", "host", 1, "0"), 30)
    runs = store.claim("w", "default", 3, dialect="ollama-chat", model="m", max_attempts=1)
    ids = [run.id for run in runs]
    texts = {ids[0]: ["abc", "def"], ids[1]: ["x" * 50], ids[2]: []}
    chunks = [words(run, seq, text) for run in runs for seq, text in enumerate(texts[run.id])]
    store.commit("w", [*chunks, words(runs[0], 9, "hm", Kind.THINKING)], [])
    answers = BulkTexts(
        database_url, run_characters=run_characters, page_characters=page_characters
    )
    found = answers.of(ids)
    answers.close()
    assert found[ids[0]] == Held(
        frozenset({Kind.TEXT, Kind.THINKING}), {Kind.TEXT: "abcdef", Kind.THINKING: "hm"}
    )
    long = min(run_characters, page_characters) < 50  # then nobody knows what else there is
    assert found[ids[1]] == (
        Held(frozenset(Kind), None) if long else Held({Kind.TEXT}, {Kind.TEXT: "x" * 50})
    )
    assert found[ids[2]].kinds == frozenset()


def test_a_run_that_says_that_it_is_long_is_not_read_to_be_measured(store, database_url, sql):
    """Measuring a gibibyte takes as long as reading it, and SQLite sorted all of it for that."""
    store.add([NewPrompt(prompt="x"), NewPrompt(prompt="y")])
    store.register(WorkerInfo("w", "host", 1, "0"), 30)
    runs = store.claim("w", "default", 2, dialect="ollama-chat", model="m", max_attempts=1)
    store.commit("w", [words(run, 0, "short") for run in runs], [])
    sql(f"UPDATE runs SET chars = 101 WHERE id = {runs[1].id}")
    answers = BulkTexts(database_url, run_characters=100, page_characters=1000)
    found = answers.of([run.id for run in runs])
    answers.close()
    assert found == {
        runs[0].id: Held({Kind.TEXT}, {Kind.TEXT: "short"}),
        runs[1].id: Held(frozenset(Kind), None),
    }


def test_answers_are_found_by_their_index_whatever_the_statistics_say(postgres_url):
    """On tables that had just been filled every page read all chunks of all runs."""
    answers = BulkTexts(postgres_url)
    with answers._db.reading() as connection:
        assert connection.exec_driver_sql("SHOW enable_seqscan").scalar() == "off"
    answers.close()
