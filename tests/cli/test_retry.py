"""`spool retry` queues what failed again, with what is changed and nothing lost."""

from __future__ import annotations

import pytest

from tests.cli.carried import claim, every_state, fail
from worker.records import NewPrompt


def test_failed_and_cancelled_prompts_are_queued_again(on, store, sql):
    """As if they were new; a completed one is left alone."""
    every_state(store)
    on("cancel", "5")
    said = on("retry", "--all")
    assert (said.code, said.out) == (0, "queued 2 prompts again\n")
    assert (
        sql("SELECT status, attempts, error_code FROM prompts WHERE id IN (2, 5)")
        == [("queued", 0, None)] * 2
    )
    assert sql.one("SELECT status FROM prompts WHERE id = 1") == "completed"
    assert on("retry", "1").out.startswith("nothing to retry")


def test_a_code_chooses(on, store, sql):
    """After the key was corrected, those that it failed."""
    store.add([NewPrompt(prompt=str(n)) for n in range(2)])
    first, second = claim(store, 2)
    fail(store, first, "unauthorized")
    fail(store, second, "bad_request")
    assert on("retry", "--error-code", "unauthorized", "--json").matches("retry") == [
        {"retried": 1}
    ]
    assert sql.one(f"SELECT status FROM prompts WHERE id = {second.prompt_id}") == "failed"


def test_an_option_is_put_over_the_prompts_own(on, store):
    """What was not named stays, prompt by prompt."""
    given = [{"a": 1, "b": 1}, {"c": 1}, None, {"a": 1, "b": 1}]
    store.add([NewPrompt(prompt="x", options=options) for options in given])
    for run in claim(store, 4):
        fail(store, run)
    assert on("retry", "--status", "failed", "--option", "b=2", "--option", "t=0.5").code == 0
    assert [store.prompt(n).options for n in range(1, 5)] == [
        {"a": 1, "b": 2, "t": 0.5},
        {"c": 1, "b": 2, "t": 0.5},
        {"b": 2, "t": 0.5},
        {"a": 1, "b": 2, "t": 0.5},
    ]


def test_many_are_changed_by_the_page(on, store, monkeypatch):
    """Memory does not grow with the queue."""
    monkeypatch.setattr("worker.cli.retry._PAGE_ROWS", 2)
    store.add([NewPrompt(prompt="x") for _ in range(5)])
    for run in claim(store, 5):
        fail(store, run)
    assert on("retry", "--all", "--option", "a=1").out == "queued 5 prompts again\n"


def test_another_endpoint_and_model(on, store, here):
    """For a server that will not come back."""
    (here / "spool.toml").write_text('[endpoints.default]\nmodel = "m"\n[endpoints.far]\n')
    every_state(store)
    assert on("retry", "2", "--endpoint", "far", "--model", "big").code == 0
    detail = store.prompt(2)
    assert (detail.endpoint, detail.model) == ("far", "big")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--status", "completed"], "only prompts that are failed or cancelled can be retried"),
        (["2", "--endpoint", "far"], "the endpoint 'far' is not configured"),
        (["2", "--option", "stream=false"], "Spool always streams"),
        (["2", "--option", "x"], "is not KEY=VALUE"),
    ],
)
def test_each_wrong_call_is_one_sentence_and_changes_nothing(on, store, sql, arguments, words):
    """Exit code 2."""
    every_state(store)
    on("retry", *arguments).fails(words, code=2)
    assert sql.one("SELECT status FROM prompts WHERE id = 2") == "failed"


def test_fresh_begins_again(on, store, sql):
    """Without it an answer that was cut goes on with what is there."""
    store.add([NewPrompt(prompt="x") for _ in range(2)])
    for run in claim(store, 2):
        fail(store, run)
    assert on("retry", "1").code == on("retry", "2", "--fresh").code == 0
    again = sorted(claim(store, 2), key=lambda run: run.prompt_id)
    seen = [len(store.earlier_runs(run.prompt_id, run.id)) for run in again]
    assert seen == [1, 0]
    assert len(store.attempts(2)) == 2
