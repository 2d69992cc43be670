"""`spool prune` deletes finished prompts for good, and nothing that is still wanted."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.cli.carried import every_state
from worker.cli import prune, selection_options
from worker.store import client_store


def test_finished_prompts_go_with_their_text(on, store, sql):
    """What waits or runs is never touched."""
    every_state(store)
    said = on("prune", "--all")
    assert (said.code, said.out) == (0, "deleted 2 prompts\n")
    assert sql("SELECT id FROM prompts ORDER BY id") == [(3,), (4,), (5,)]
    assert sql.one("SELECT count(*) FROM chunks WHERE run_id IN (1, 2)") == 0


def test_a_dry_run_counts(on, store, sql):
    """And deletes nothing."""
    every_state(store)
    (said,) = on("prune", "--all", "--dry-run", "--json").matches("prune")
    assert said == {"pruned": 2, "dry_run": True}
    assert sql.one("SELECT count(*) FROM prompts") == 5
    assert on("prune", "2", "--dry-run").out == "would delete 1 prompt\n"


def test_age_is_counted_from_the_end(on, store, sql):
    """An hour ago nothing had finished."""
    every_state(store)
    said = on("prune", "--older-than", "1h")
    assert said.out == "nothing to delete: no finished prompt is among these\n"
    then = sql.one("SELECT created_at FROM prompts WHERE id = 1")
    value = then.replace("20", "19", 1) if isinstance(then, str) else then - timedelta(days=365)
    sql(f"UPDATE prompts SET finished_at = '{value}' WHERE id = 1")
    assert on("prune", "--older-than", "1h").out == "deleted 1 prompt\n"


def test_many_go_by_the_page(on, store, monkeypatch, sql):
    """So that no lock is held for long."""
    monkeypatch.setattr(client_store, "PAGE", 1)
    every_state(store)
    assert on("prune", "--batch", "b").out == "deleted 2 prompts\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--status", "queued"], "only finished prompts can be pruned; cancel the others first"),
        (["--older-than", "soon"], "'soon' is no age: write 90s, 30m, 12h, 7d or 2w"),
        (["--older-than", "999999999999d"], "is too long"),
        (["--older-than", "900000d"], "reaches back before the calendar begins"),
    ],
)
def test_each_wrong_call_is_one_sentence_and_changes_nothing(on, store, sql, arguments, words):
    """Exit code 2."""
    every_state(store)
    on("prune", *arguments).fails(words, code=2)
    assert sql.one("SELECT count(*) FROM prompts") == 5


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("1.5h", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
        ("2 W", timedelta(weeks=2)),
    ],
)
def test_an_age_is_a_number_and_a_unit(written, expected):
    """As people write it."""
    import click

    context, option = click.Context(prune.command), prune.command.params[-1]
    assert selection_options.age(context, option, written) == expected
