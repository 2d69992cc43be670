"""What a claim returns: a run with what came before it, or the end of what cannot be read."""

from __future__ import annotations

import pytest

from tests.store.cast import interrupted, sign_on, start, take, words
from worker.records import Ending, Run
from worker.states import PromptEvent
from worker.store.claimed import as_run

ROW = (7, 3, 2, 1, 5, "default", "llama", "c", None, None, '[{"role": "user"}]', '{"a": 1}')
BEFORE = (4, 2, "bad_request", "no", 900)


def test_every_column_arrives_under_its_name():
    """The claim returns rows; this holds their order to the names."""
    run = as_run((*ROW, *BEFORE), nonce=9)
    assert isinstance(run, Run)
    assert (run.id, run.prompt_id, run.attempt, run.attempts, run.max_attempts) == (7, 3, 2, 1, 5)
    assert (run.messages, run.options) == ([{"role": "user"}], {"a": 1})
    assert (run.batch_id, run.runs_without_progress, run.best_chars) == (4, 2, 900)
    assert (run.last_code, run.last_error) == ("bad_request", "no")


@pytest.mark.parametrize(
    "asked",
    [
        (None, None, '{"broken', None),
        (None, None, '{"role": "user"}', None),
        (None, None, "[" * 100_000, None),
        (None, None, "[" + "9" * 6000 + "]", None),
        ("Why?", None, None, "[1]"),
        (None, None, None, None),
        ("both", None, "[]", None),
    ],
)
def test_what_cannot_be_read_is_the_end_of_its_prompt(asked):
    """One row that somebody wrote by hand stops no worker."""
    end = as_run((*ROW[:8], *asked, *BEFORE), nonce=9)
    assert isinstance(end, Ending)
    assert (end.prompt_event, end.error_code, end.nonce) == (PromptEvent.FAIL, "bad_request", 9)
    assert "cannot be read" in end.error


def test_a_run_knows_what_came_before_it(store):
    """How the last one ended, how far any came, and how many were in vain."""
    run = start(store)
    assert (run.last_code, run.best_chars, run.runs_without_progress) == (None, 0, 0)
    store.commit("w1", [words(run, 0, "a" * 9)], [])
    store.commit("w1", [], [interrupted(run, chars=9, chunks=1, runs_without_progress=1, cut_id=5)])
    (run,) = take(store)
    store.commit("w1", [], [interrupted(run, chars=3, error="later", error_code="overloaded")])
    (run,) = take(store, sign_on(store, "w2"))
    assert (run.last_code, run.last_error) == ("overloaded", "later")
    assert (run.best_chars, run.runs_without_progress) == (9, 1)
