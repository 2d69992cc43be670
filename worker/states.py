"""The state machine of prompts and runs.

Everything that decides what may follow what lives in this file.  A *prompt* is
what is wanted; a *run* is one attempt at it.  ``TRANSITIONS`` is the law: the
SQL guards (``sources``) and the CHECK constraints (``PromptState``, ``RunState``)
derive from it, tests hold the pictures in ``docs/concepts.md`` to it, and no
state is spelled as a literal anywhere else.  An event that the table does not
name for a state raises ``ImpossibleTransition`` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from worker.errors import ImpossibleTransition

PROGRESS_CHARS = 500  # beyond any earlier run of the prompt: then it comes nearer to its end
SUSPECT_RUNS = 2  # without evidence and progress: from here on it is kept apart from its like


class PromptState(StrEnum):
    """Where a prompt stands."""

    QUEUED = "queued"  # waiting for a worker, or for `available_at`
    RUNNING = "running"  # one run of it is streaming
    COMPLETED = "completed"  # a run received its done frame
    FAILED = "failed"  # another attempt cannot help, or none is left
    CANCELLED = "cancelled"  # its owner no longer wants it


class RunState(StrEnum):
    """Where one attempt stands."""

    STREAMING = "streaming"  # a worker carries it
    COMPLETED = "completed"  # its done frame arrived
    INTERRUPTED = "interrupted"  # no done frame; another attempt may cure that
    FAILED = "failed"  # no done frame; another attempt cannot help
    CANCELLED = "cancelled"  # closed because its prompt was cancelled


class PromptEvent(StrEnum):
    """What can happen to a prompt."""

    CLAIM = "claim"
    COMPLETE = "complete"
    REQUEUE = "requeue"
    FAIL = "fail"
    CANCEL = "cancel"
    RETRY = "retry"
    REPLACE = "replace"


class RunEvent(StrEnum):
    """What can happen to a run."""

    COMPLETE = "complete"
    INTERRUPT = "interrupt"
    FAIL = "fail"
    CANCEL = "cancel"


State = PromptState | RunState
Event = PromptEvent | RunEvent

TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (PromptState.QUEUED, PromptEvent.CLAIM): PromptState.RUNNING,
        (PromptState.QUEUED, PromptEvent.CANCEL): PromptState.CANCELLED,
        (PromptState.RUNNING, PromptEvent.COMPLETE): PromptState.COMPLETED,
        (PromptState.RUNNING, PromptEvent.REQUEUE): PromptState.QUEUED,
        (PromptState.RUNNING, PromptEvent.FAIL): PromptState.FAILED,
        (PromptState.RUNNING, PromptEvent.CANCEL): PromptState.CANCELLED,
        (PromptState.FAILED, PromptEvent.RETRY): PromptState.QUEUED,
        (PromptState.CANCELLED, PromptEvent.RETRY): PromptState.QUEUED,
        # Its owner asks something else: whatever became of the old question is no answer.
        **{(state, PromptEvent.REPLACE): PromptState.QUEUED for state in PromptState},
        (RunState.STREAMING, RunEvent.COMPLETE): RunState.COMPLETED,
        (RunState.STREAMING, RunEvent.INTERRUPT): RunState.INTERRUPTED,
        (RunState.STREAMING, RunEvent.FAIL): RunState.FAILED,
        (RunState.STREAMING, RunEvent.CANCEL): RunState.CANCELLED,
    }
)

# StrEnum members equal their text, so "failed" of a run would pass for "failed" of a prompt.
_EVENTS_OF: Mapping[type[State], type[Event]] = MappingProxyType(
    {PromptState: PromptEvent, RunState: RunEvent}
)

FINAL_PROMPT_STATES = (PromptState.COMPLETED, PromptState.FAILED, PromptState.CANCELLED)
FINAL_RUN_STATES = (
    RunState.COMPLETED,
    RunState.INTERRUPTED,
    RunState.FAILED,
    RunState.CANCELLED,
)


def after(state: State, event: Event) -> State:
    """The state that follows; raises ImpossibleTransition for a pair not in the table."""
    following = TRANSITIONS.get((state, event))
    if following is None or _EVENTS_OF.get(type(state)) is not type(event):
        message = f"{event!r} cannot happen to something {state!r}"
        raise ImpossibleTransition(message)
    return following


def sources(event: Event) -> tuple[State, ...]:
    """Every state in which the event is allowed: the guard of the UPDATE that applies it."""
    # Identity, not equality: two StrEnums with the same word ("complete") compare equal.
    return tuple(state for state, known in TRANSITIONS if known is event)


_TARGETS: Mapping[tuple[type[Event], Event], State] = MappingProxyType(
    {(type(event), event): state for (_, event), state in TRANSITIONS.items()}
)


def target(event: Event) -> State:
    """The state that the event leads to; each event has exactly one."""
    state = _TARGETS.get((type(event), event))
    if state is None:
        raise ImpossibleTransition(f"no transition is called {event!r}")
    return state
