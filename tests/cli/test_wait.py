"""`spool wait` returns when a batch has finished, and says meanwhile what it waits for."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from tests.cli.carried import claim, complete, every_state, fail
from tests.fakes.clock import FakeClock
from worker.cli.wait import Waiter
from worker.diagnosis.wait_reasons import AGAIN_SECONDS
from worker.errors import StoreBusy
from worker.records import NewPrompt
from worker.states import PromptState
from worker.store.statements.outcomes import Outcome

LEFT = Outcome({PromptState.QUEUED: 2}, ("default",))
DONE = Outcome({PromptState.COMPLETED: 2})


def test_a_batch_that_is_completed_ends_it_at_once(on, store):
    """Exit code 0, and the counts."""
    store.add([NewPrompt(prompt="x")], batch="b")
    complete(store, *claim(store))
    said = on("wait", "b")
    assert (said.code, said.out, said.err) == (
        0, "1 prompt of batch b completed, 0 failed or cancelled\n", "",
    )  # fmt: skip


def test_what_failed_is_in_the_exit_code(on, store):
    """Of a batch: any; with --all: what failed while it waited."""
    store.add([NewPrompt(prompt="x")], batch="b")
    fail(store, *claim(store))
    assert on("wait", "b").code == 1
    (found,) = on("wait", "b", "--json").matches("wait")
    assert found == {"batch": "b", "left": 0, "cancelled": 0, "completed": 0, "failed": 1}
    said = on("wait", "--all")
    assert (said.code, said.out) == (0, "nothing is left to do; 0 failed or cancelled meanwhile\n")
    (found,) = on("wait", "--all", "--json").matches("wait")
    assert found == {"batch": None, "left": 0, "unanswered": 0}


def test_a_timeout_ends_it_with_a_sentence(on, store):
    """What is left is told, and why."""
    every_state(store)
    said = on("wait", "b", "--timeout", "0")
    assert said.code == 1
    assert "waiting for 3 prompts of batch b: " in said.err
    assert " at most\n" in said.err
    assert said.err.endswith("after 0 s 3 prompts have not finished\n")


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        ([], "name one BATCH, or --all", 2),
        (["b", "--all"], "name one BATCH, or --all", 2),
        (["nobody"], "there is no batch 'nobody'", 1),
        (["b", "--timeout", "x"], "'x' is not a valid", 2),
    ],
)
def test_each_wrong_call_is_one_sentence(on, store, arguments, words, code):
    """With its exit code."""
    every_state(store)
    on("wait", *arguments).fails(words, code=code)


class Told:
    """A store that answers as it was told, one look after the other; and who listens."""

    def __init__(self, *looks):
        self.looks = list(looks)
        self.said = []
        self.living = ()

    def outcome(self, _batch):
        found = self.looks.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def workers(self):
        return self.living


def waited(told, seconds=inf):
    clock = FakeClock(autojump_seconds=0.001)
    waiter = Waiter(told, "b", clock, told.said.append)
    return asyncio.run(waiter.wait(seconds)), clock


def test_it_waits_until_nothing_is_left_and_says_once_for_what():
    """Not at every look."""
    told = Told(LEFT, LEFT, LEFT, DONE)
    outcome, clock = waited(told)
    assert outcome is DONE
    assert told.said == [
        "waiting for 2 prompts of batch b: no worker is running: start `spool run`"
    ]
    assert clock.slept == [0.5] * 3


def test_a_reason_that_changes_is_told_and_one_that_stays_after_a_while():
    """A database that is away is asked again."""
    told = Told(LEFT, StoreBusy("the database is away"), LEFT, DONE)
    waited(told)
    assert [words.partition(":")[0] for words in told.said] == [
        "waiting for 2 prompts of batch b",
        "the database is away; asking again",
        "waiting for 2 prompts of batch b",
    ]
    told = Told(*[LEFT] * int(AGAIN_SECONDS / 0.5 + 2), DONE)
    waited(told)
    assert len(told.said) == 2


def test_the_time_is_over_when_it_is_over():
    """Also between two looks."""
    outcome, clock = waited(Told(*[LEFT] * 9), 1.2)
    assert outcome is LEFT
    assert sum(clock.slept) == pytest.approx(1.2)


def test_who_answers_is_told():
    """Workers and their streams, or why an endpoint gets nothing."""
    from tests.diagnosis.test_wait_reasons import DOWN, UP, worker

    told = Told(LEFT, DONE)
    told.living = (worker(runs=3, endpoints={"default": UP}),)
    waited(told)
    assert told.said[0].endswith("1 worker with 3 streams answers what is queued")
    told = Told(LEFT, DONE)
    told.living = (worker(endpoints={"default": DOWN}),)
    waited(told)
    assert "the endpoint 'default' does not work" in told.said[0]
    told = Told(LEFT, DONE)
    told.living = (worker(endpoints={"other": UP}),)
    waited(told)
    assert "no running worker serves the endpoint 'default'" in told.said[0]
