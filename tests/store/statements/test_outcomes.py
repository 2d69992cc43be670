"""How far a batch is, and where the rest of it goes."""

from __future__ import annotations

from tests.store.cast import completed, failed, sign_on, take
from worker.records import NewPrompt
from worker.states import PromptState
from worker.store.statements.outcomes import Outcome


def test_a_batch_is_counted_by_state(store):
    """Its own prompts only; one that does not exist is empty."""
    sign_on(store)
    store.add([NewPrompt(prompt=str(n)) for n in range(4)], batch="b")
    store.add([NewPrompt(prompt="x", endpoint="far")], batch="other")
    first, second, third = take(store, limit=3)
    store.commit("w1", [], [completed(first), failed(second)])
    found = store.outcome("b")
    assert found.counts == {
        PromptState.COMPLETED: 1,
        PromptState.FAILED: 1,
        PromptState.RUNNING: 1,
        PromptState.QUEUED: 1,
    }
    assert (found.left, found.unanswered, found.endpoints) == (2, 1, ("default",))
    assert store.outcome("none") == Outcome({})
    assert third.prompt_id


def test_everything_that_is_unfinished_and_unanswered_is_counted(store):
    """Across batches, and with prompts that have none."""
    sign_on(store)
    store.add([NewPrompt(prompt="a"), NewPrompt(prompt="b")])
    store.add([NewPrompt(prompt="x", endpoint="far")], batch="other")
    (first,) = take(store)
    store.commit("w1", [], [failed(first)])
    assert (store.unfinished().left, store.unfinished().endpoints) == (2, ("default", "far"))
    assert store.unanswered() == 1
