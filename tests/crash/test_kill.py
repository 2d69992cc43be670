"""kill -9 at any step loses no prompt, doubles no word, and is nobody's fault.

A worker is killed from within, so that it is exactly that step, with its last instruction
done and the next one not begun.  Another worker then does what is left, and the tables are
held against what the server says it sent.
"""

from __future__ import annotations

import signal

import pytest

from tests.crash.dying import STEPS
from tests.crash.stage import Stage, sentence

PROMPTS = [f"Number {n}. [[tokens=40 rate=40]]" for n in range(3)]

NO_RUN = {"registered", "before goodbye"}
# One statement is its own transaction on PostgreSQL: there the claim has happened.  The ending
# of one run may have taken the others with it.
MAYBE_RUNS = {"inside claim", "after finish"}
TEXT = {"after flush", "before finish", "inside finish", "between end and words"}


@pytest.mark.parametrize("step", sorted(STEPS.keys() - {"inside rescue", "poisoned"}))
def test_a_worker_killed_at_any_step_loses_no_prompt_and_no_flushed_word(
    stage: Stage, step: str
) -> None:
    """Its runs are interrupted and keep their text; every prompt is completed by one other run."""
    stage.add(*PROMPTS)
    dying = stage.start_dying(step, nth=4 if step == "reading" else 1)
    if step == "before goodbye":
        dying.until_said("run_completed")
        dying.terminate()
    assert dying.ended() == -signal.SIGKILL, dying.output
    orphans = stage.sql("SELECT id, prompt_id FROM runs WHERE status = 'streaming'")
    stored = {run_id: stage.text(run_id) for run_id, _ in orphans}
    if step not in MAYBE_RUNS:
        assert bool(orphans) == (step not in NO_RUN)
    if step in TEXT:
        assert all(stored.values())

    stage.expire()
    stage.drain()

    for run_id, prompt_id in orphans:
        (first, state, code), *later = stage.runs(prompt_id)
        assert (first, state, code) == (run_id, "interrupted", "lease_expired")
        assert [state for _, state, _ in later] == ["completed"]
        assert stage.text(run_id) == stored[run_id]
    assert stage.sql("SELECT status, attempts FROM prompts") == [("completed", 1)] * len(PROMPTS)
    audit = stage.audit()
    assert not audit.broken, sentence(audit)


def test_a_rescuer_killed_half_way_leaves_its_work_to_the_next_one(stage: Stage) -> None:
    """The run and its prompt are taken back together, or neither is."""
    (prompt_id, *_) = stage.add("Slow. [[tokens=400 rate=40]]")
    first = stage.start()
    run_id = stage.until_text(prompt_id)
    first.kill()
    stage.expire()
    rescuer = stage.start_dying("inside rescue")
    assert rescuer.ended() == -signal.SIGKILL, rescuer.output
    assert stage.runs(prompt_id) == [(run_id, "streaming", None)]
    assert stage.status(prompt_id) == "running"
    stage.sql(f"UPDATE prompts SET prompt = 'Short. [[tokens=5]]' WHERE id = {prompt_id}")
    stage.expire()
    stage.drain()
    assert [state for _, state, _ in stage.runs(prompt_id)] == ["interrupted", "completed"]


def test_a_worker_killed_while_it_hands_back_has_handed_back_all_or_nothing(stage: Stage) -> None:
    """The last flush, the end of the run and the new place in the queue are one transaction."""
    (prompt_id, *_) = stage.add("Slow. [[tokens=400 rate=40]]")
    dying = stage.start_dying("inside finish")
    run_id = stage.until_text(prompt_id)
    dying.terminate()
    assert dying.ended() == -signal.SIGKILL, dying.output
    assert stage.runs(prompt_id) == [(run_id, "streaming", None)]
    assert stage.status(prompt_id) == "running"
    stage.spool("cancel", str(prompt_id))
    stage.expire()
    stage.drain()
    assert stage.runs(prompt_id) == [
        (run_id, "interrupted", "shutdown")
    ]  # it had said that it leaves
    assert stage.status(prompt_id) == "cancelled"
    audit = stage.audit()
    assert not audit.broken, sentence(audit)
