"""A prompt that kills whoever carries it is given up, and takes nobody with it."""

from __future__ import annotations

from collections.abc import Callable

from tests.conftest import Client
from tests.crash.stage import Stage, sentence, until

MAX_CRASHES = 3


def test_a_poisonous_prompt_is_capped_and_its_neighbours_are_completed(
    new_stage: Callable[..., Stage], database_url: str, sql: Client
) -> None:
    """Three workers die of it, the next one does the rest; nobody had to find out which it was."""
    stage = new_stage(database_url, sql, max_crashes=MAX_CRASHES)
    innocent = [f"Number {n}. [[tokens=40 rate=40]]" for n in range(8)]
    ids = stage.add(*innocent[:2], "This is poison.", *innocent[2:])
    poisonous = ids.pop(2)

    def all_final() -> bool:
        return not stage.sql("SELECT id FROM prompts WHERE finished_at IS NULL")

    deaths = 0
    while not all_final():
        worker = stage.start_dying("poisoned")
        until("it dies, or all is done", lambda w=worker: w.process.poll() or all_final())
        if not all_final():
            worker.ended()
            deaths += 1
            stage.expire()
        assert deaths <= MAX_CRASHES

    assert deaths == MAX_CRASHES
    (found,) = stage.sql(
        f"SELECT status, error_code, attempts, crashes FROM prompts WHERE id = {poisonous}"
    )
    assert found == ("failed", "too_many_crashes", 0, MAX_CRASHES)
    assert {stage.status(prompt_id) for prompt_id in ids} == {"completed"}
    audit = stage.audit()
    assert not audit.broken, sentence(audit)
