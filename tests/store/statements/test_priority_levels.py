"""Who is next: by priority, then who keeps its place, then who has waited longest."""

from __future__ import annotations

import pytest

from tests.store.cast import expire, interrupted, sign_on, start, take, words
from worker.records import NewPrompt

FAR = "2999-01-01 00:00:00"


def claimed(store, limit=10, worker="w1"):
    return [run.prompt for run in take(store, worker, limit)]


def cut(store, run, chars, **more):
    """The run broke off after so many characters, and its prompt may be tried again at once."""
    text = [words(run, 0, "x" * chars)] if chars else []
    given = {"chars": chars, "chunks": len(text), "charged": True, **more}
    store.commit("w1", text, [interrupted(run, **given)])


def test_a_long_answer_that_was_cut_goes_before_those_that_never_ran(store):
    """It had made progress, so it does not queue behind forty short ones again."""
    run = start(store, prompt="long")
    store.add([NewPrompt(prompt=f"short {n}") for n in range(3)])
    cut(store, run, 600)
    assert claimed(store) == ["long", "short 0", "short 1", "short 2"]


def test_one_that_fails_by_itself_does_not_block_those_behind_it(store):
    """It queues by the time of its next try."""
    run = start(store, prompt="fails")
    store.add([NewPrompt(prompt="behind")])
    cut(store, run, 0)
    assert claimed(store) == ["behind", "fails"]


def test_progress_is_what_no_earlier_run_had(store):
    """A second run that breaks off at the same place made none."""
    cut(store, start(store, prompt="long"), 600)
    store.add([NewPrompt(prompt="other")])
    (run,) = take(store)
    cut(store, run, 600)
    assert claimed(store) == ["other", "long"]


@pytest.mark.parametrize("code", ["shutdown", "lease_lost", "handed_back", "commits_forgotten"])
def test_who_was_ended_by_us_keeps_its_place(store, code):
    """Without a word of output."""
    run = start(store, prompt="first")
    store.add([NewPrompt(prompt="second")])
    cut(store, run, 0, error_code=code, charged=False)
    assert claimed(store) == ["first", "second"]


def test_the_prompt_of_a_dead_worker_keeps_its_place(store, sql):
    """A rescue is no reason to begin at the end of the queue."""
    start(store, prompt="first")
    store.add([NewPrompt(prompt="second")])
    expire(sql)
    store.rescue(max_crashes=3)
    sign_on(store, "w2")
    assert claimed(store, worker="w2") == ["first", "second"]


def test_of_those_that_keep_their_place_the_oldest_goes_first(store):
    """Whichever broke off first."""
    runs = [start(store, prompt=name) for name in ("a", "b", "c")]
    for run in reversed(runs):
        cut(store, run, 600)
    assert claimed(store, limit=2) == ["a", "b"]


def test_a_place_is_kept_within_its_priority_only(store):
    """What its owner wants first goes first."""
    run = start(store, prompt="kept")
    store.add([NewPrompt(prompt="urgent", priority=1), NewPrompt(prompt="later", priority=-1)])
    cut(store, run, 600)
    assert claimed(store) == ["urgent", "kept", "later"]


def test_many_priorities_are_gone_through_until_enough_is_taken(store, sql):
    """Also past those whose prompts all wait for later."""
    for priority in range(-5, 6):
        store.add([NewPrompt(prompt=str(priority), priority=priority)])
    sql(f"UPDATE prompts SET available_at = '{FAR}' WHERE priority IN (5, 3, -5)")
    sign_on(store)
    assert claimed(store, limit=4) == ["4", "2", "1", "0"]
    assert claimed(store) == ["-1", "-2", "-3", "-4"]
