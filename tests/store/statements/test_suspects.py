"""A prompt that kills its workers takes no innocent prompt's last chance with it.

A crash counts against every prompt that the dead worker carried, for nobody can know which one
it was.  So before a crash would fail a prompt, it is tried where no other such prompt is.
"""

from __future__ import annotations

import pytest

from tests.store.cast import completed, expire, interrupted, sign_on
from worker.records import NewPrompt
from worker.states import PromptState

MAX_CRASHES = 3


def claim(store, worker_id, limit=10, *, endpoint="default", max_crashes=MAX_CRASHES):
    return store.claim(
        worker_id,
        endpoint,
        limit,
        dialect="ollama-chat",
        model="llama",
        max_attempts=5,
        max_crashes=max_crashes,
    )


def die(store, sql, worker_id):
    """The worker's lease runs out, and its runs are rescued."""
    expire(sql, worker_id)
    return store.rescue(max_crashes=MAX_CRASHES)


def states(sql):
    return [state for (state,) in sql("SELECT status FROM prompts ORDER BY id")]


@pytest.fixture
def four(store, sql):
    """Four prompts that have been carried together by two workers which died."""
    store.add([NewPrompt(prompt=f"Number {n}") for n in range(4)])
    for name in ("w1", "w2"):
        sign_on(store, name)
        assert len(claim(store, name)) == 4
        die(store, sql, name)
    assert sql("SELECT DISTINCT crashes FROM prompts") == [(2,)]
    return [id_ for (id_,) in sql("SELECT id FROM prompts ORDER BY id")]


def test_only_the_guilty_one_is_failed(store, sql, four):
    """The first kills its third worker; the other three live to be completed."""
    sign_on(store, "w3")
    assert [run.prompt_id for run in claim(store, "w3")] == four[:1]
    (rescued,) = die(store, sql, "w3")
    assert rescued.prompt_state is PromptState.FAILED
    sign_on(store, "w4")
    for prompt_id in four[1:]:
        (run,) = claim(store, "w4")
        assert run.prompt_id == prompt_id
        store.commit("w4", [], [completed(run)])
    assert states(sql) == ["failed", "completed", "completed", "completed"]


def test_a_worker_that_carries_a_suspect_gets_no_second_one(store, four):
    """Wherever it comes from; but another worker does, at the same time."""
    sign_on(store, "w3")
    sign_on(store, "w4")
    (run,) = claim(store, "w3")
    assert claim(store, "w3") == []
    assert [run.prompt_id for run in claim(store, "w4")] == four[1:2]
    store.commit("w3", [], [interrupted(run)])
    assert [run.prompt_id for run in claim(store, "w3")] == four[:1]


def test_suspects_of_all_endpoints_count(store, sql, four):
    """A worker is a process: what kills it does not ask for the endpoint."""
    sql(f"UPDATE prompts SET endpoint = 'gpu' WHERE id = {four[1]}")
    sign_on(store, "w3")
    (run,) = claim(store, "w3")
    assert claim(store, "w3", endpoint="gpu") == []
    store.commit("w3", [], [completed(run)])
    assert [run.prompt_id for run in claim(store, "w3", endpoint="gpu")] == four[1:2]


def test_unsuspected_prompts_fill_the_other_slots(store, sql, four):
    """Suspicion costs throughput only to those who are under it; a first crash is no suspicion."""
    store.add([NewPrompt(prompt=f"Fresh {n}") for n in range(5)])
    fresh = [id_ for (id_,) in sql("SELECT id FROM prompts WHERE crashes = 0 ORDER BY id")]
    sql(f"UPDATE prompts SET crashes = 1 WHERE id = {fresh[0]}")
    sign_on(store, "w3")
    assert [run.prompt_id for run in claim(store, "w3", limit=4)] == [four[0], *fresh[:3]]
    assert [run.prompt_id for run in claim(store, "w3", limit=4)] == fresh[3:]


def test_a_suspect_that_waits_for_its_moment_holds_up_no_other(store, sql, four):
    """Neither does one that is to be cancelled."""
    sql(f"UPDATE prompts SET available_at = '2999-01-01 00:00:00' WHERE id = {four[0]}")
    sql(f"UPDATE prompts SET cancel_requested_at = '2026-01-01 00:00:00' WHERE id = {four[1]}")
    sign_on(store, "w3")
    assert [run.prompt_id for run in claim(store, "w3")] == four[2:3]


@pytest.mark.parametrize("max_crashes", [0, 1, 4])
def test_where_a_crash_would_not_be_the_last_they_run_together(store, four, max_crashes):
    """With one crash allowed there is no second chance to protect, and 0 counts nothing."""
    sign_on(store, "w3")
    assert [run.prompt_id for run in claim(store, "w3", max_crashes=max_crashes)] == four


def broke_off(store, sql, numbers):
    """These prompts have broken off twice without evidence and without progress."""
    store.add([NewPrompt(prompt=f"Number {n}") for n in numbers])
    for run in claim(store, sign_on(store, "before"), len(numbers)):
        store.commit("before", [], [interrupted(run, runs_without_progress=2, cut_id=7)])


def test_a_claim_takes_no_more_suspects_than_it_is_asked_for(store, sql):
    """They are told apart by halves; prompts that are none fill the other slots."""
    broke_off(store, sql, range(6))
    store.add([NewPrompt(prompt=f"Fresh {n}") for n in range(3)])
    worker = sign_on(store, "w1")

    def take(suspects):
        return store.claim(
            worker,
            "default",
            10,
            dialect="ollama-chat",
            model="llama",
            max_attempts=5,
            suspects=suspects,
        )

    assert sorted(run.runs_without_progress for run in take(2)) == [0, 0, 0, 2, 2]
    assert take(0) == []
    assert [run.runs_without_progress for run in take(1)] == [2]
    assert len(take(10)) == 3


def test_a_batch_that_is_held_is_left_out(store, sql):
    """Others are claimed meanwhile; 0 stands for prompts without a batch."""
    store.add([NewPrompt(prompt=f"Number {n}") for n in range(3)], batch="evil")
    store.add([NewPrompt(prompt="Alone")])
    worker = sign_on(store, "w1")
    ((batch_id,),) = sql("SELECT id FROM batches")

    def take(*without):
        return store.claim(
            worker,
            "default",
            10,
            dialect="ollama-chat",
            model="llama",
            max_attempts=5,
            without=frozenset(without),
        )

    assert take(batch_id, 0) == []
    assert [run.batch_id for run in take(batch_id)] == [0]
    assert [run.batch_id for run in take(0)] == [batch_id] * 3
