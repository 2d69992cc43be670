"""`spool cancel` gives up what is not finished, and nothing else."""

from __future__ import annotations

from tests.cli.carried import every_state


def test_what_waits_is_cancelled_and_what_runs_is_asked_to_stop(on, store, sql):
    """Finished prompts stay as they are."""
    runs = every_state(store)
    said = on("cancel", "--all")
    assert (said.code, said.out) == (
        0,
        "cancelled 3 prompts; what still streams stops within moments\n",
    )
    states = [state for (state,) in sql("SELECT status FROM prompts ORDER BY id")]
    assert states == ["completed", "failed", "cancelled", "running", "cancelled"]
    assert store.cancel_requests("w1") == {runs[3].id}


def test_json_is_a_count(on, store):
    """And cancelling twice is no failure."""
    every_state(store)
    assert on("cancel", "5", "--json").matches("cancel") == [{"cancelled": 1}]
    assert on("cancel", "5", "--json").matches("cancel") == [{"cancelled": 0}]
    assert on("cancel", "1").out == "nothing to cancel: none of these is queued or running\n"


def test_a_batch_and_a_state_narrow_each_other(on, store, sql):
    """Both must hold."""
    every_state(store)
    on("add", "-p", "other")
    on("cancel", "--batch", "b", "--status", "queued")
    states = [state for (state,) in sql("SELECT status FROM prompts ORDER BY id")]
    assert states == ["completed", "failed", "cancelled", "running", "cancelled", "queued"]
