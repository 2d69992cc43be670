"""The state machine: every state with every event, also those of the other machine."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from worker.errors import ImpossibleTransition
from worker.states import (
    FINAL_PROMPT_STATES,
    FINAL_RUN_STATES,
    TRANSITIONS,
    PromptEvent,
    PromptState,
    RunEvent,
    RunState,
    after,
    sources,
    target,
)

STATES = [*PromptState, *RunState]
EVENTS = [*PromptEvent, *RunEvent]

# Written out by hand: the table has to agree with this, not this with the table.
ALLOWED = {
    ("prompt", "queued", "claim"): PromptState.RUNNING,
    ("prompt", "queued", "cancel"): PromptState.CANCELLED,
    ("prompt", "running", "complete"): PromptState.COMPLETED,
    ("prompt", "running", "requeue"): PromptState.QUEUED,
    ("prompt", "running", "fail"): PromptState.FAILED,
    ("prompt", "running", "cancel"): PromptState.CANCELLED,
    ("prompt", "failed", "retry"): PromptState.QUEUED,
    ("prompt", "cancelled", "retry"): PromptState.QUEUED,
    ("prompt", "queued", "replace"): PromptState.QUEUED,
    ("prompt", "running", "replace"): PromptState.QUEUED,
    ("prompt", "completed", "replace"): PromptState.QUEUED,
    ("prompt", "failed", "replace"): PromptState.QUEUED,
    ("prompt", "cancelled", "replace"): PromptState.QUEUED,
    ("run", "streaming", "complete"): RunState.COMPLETED,
    ("run", "streaming", "interrupt"): RunState.INTERRUPTED,
    ("run", "streaming", "fail"): RunState.FAILED,
    ("run", "streaming", "cancel"): RunState.CANCELLED,
}
MACHINES = {PromptState: "prompt", PromptEvent: "prompt", RunState: "run", RunEvent: "run"}


def expected(state, event):
    if MACHINES[type(state)] != MACHINES[type(event)]:
        return None
    return ALLOWED.get((MACHINES[type(state)], state.value, event.value))


@pytest.mark.parametrize(
    ("state", "event"),
    [pytest.param(s, e, id=f"{s!r}-{e!r}") for s, e in itertools.product(STATES, EVENTS)],
)
def test_every_state_with_every_event(state, event):
    """What the table names happens; everything else raises, also across the two machines."""
    following = expected(state, event)
    if following is None:
        with pytest.raises(ImpossibleTransition, match="cannot happen"):
            after(state, event)
    else:
        assert after(state, event) is following


def test_there_are_exactly_these_transitions():
    """Nothing was added to the table that the list above does not know."""
    assert len(TRANSITIONS) == len(ALLOWED)


def test_the_table_cannot_be_changed():
    """The law is read-only."""
    with pytest.raises(TypeError):
        TRANSITIONS[PromptState.QUEUED, PromptEvent.FAIL] = PromptState.FAILED


def test_a_plain_word_is_no_state():
    """A word from a row has to become a state first; words of the two machines overlap."""
    with pytest.raises(ImpossibleTransition):
        after("queued", PromptEvent.CLAIM)


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_sources_and_target_say_what_the_table_says(event):
    """The guard of an UPDATE names exactly the states in which its event is allowed."""
    allowed = [state for state in STATES if expected(state, event)]
    assert list(sources(event)) == allowed
    assert {after(state, event) for state in allowed} == {target(event)}
    assert all(type(state) is type(target(event)) for state in allowed)


def test_events_of_the_same_word_are_told_apart():
    """ "fail" of a prompt and "fail" of a run are equal as words, and guard different rows."""
    assert PromptEvent.FAIL == RunEvent.FAIL
    assert sources(PromptEvent.FAIL) == (PromptState.RUNNING,)
    assert sources(RunEvent.FAIL) == (RunState.STREAMING,)
    assert type(target(PromptEvent.FAIL)) is PromptState
    assert type(target(RunEvent.FAIL)) is RunState


def test_an_event_that_is_in_no_table_has_no_target():
    """Asking for it is a fault of this program, and is called one."""
    with pytest.raises(ImpossibleTransition, match="no transition"):
        target("melt")


def test_final_states_are_those_that_a_run_or_a_worker_never_leaves():
    """A run leaves no final state; a prompt leaves one only when a person asks, again or anew."""
    for state in FINAL_RUN_STATES:
        assert not [event for event in EVENTS if expected(state, event)]
    for state in FINAL_PROMPT_STATES:
        leaving = {event for event in EVENTS if expected(state, event)}
        assert leaving <= {PromptEvent.RETRY, PromptEvent.REPLACE}
    assert Counter(FINAL_PROMPT_STATES) + Counter([PromptState.QUEUED, PromptState.RUNNING]) == (
        Counter(PromptState)
    )
    assert Counter(FINAL_RUN_STATES) + Counter([RunState.STREAMING]) == Counter(RunState)


def test_every_state_can_be_reached_and_every_run_can_end():
    """No state is dead, and nothing can be stuck in one that has no way out."""
    reached = {(type(state), state) for state in TRANSITIONS.values()}
    starts = {(PromptState, PromptState.QUEUED), (RunState, RunState.STREAMING)}
    assert reached | starts == {(type(state), state) for state in STATES}
    for state in (PromptState.QUEUED, PromptState.RUNNING, RunState.STREAMING):
        assert [event for event in EVENTS if expected(state, event)]
