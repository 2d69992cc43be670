"""Ids, batches, states and codes mean the same in every command; nothing is chosen by mistake."""

from __future__ import annotations

import pytest

from tests.cli.carried import every_state
from worker.cli.selection_options import SelectedPrompts
from worker.states import PromptState


@pytest.mark.parametrize("command", ["cancel", "retry", "prune"])
def test_naming_nothing_changes_nothing(on, store, sql, command):
    """`--all` has to be typed."""
    every_state(store)
    before = sql("SELECT id, status FROM prompts ORDER BY id")
    on(command).fails("say which prompts: ids, --batch, --status, --error-code", code=2)
    assert sql("SELECT id, status FROM prompts ORDER BY id") == before


@pytest.mark.parametrize("command", ["cancel", "retry", "prune", "export"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["1", "99"], "there is no prompt 99"),
        (["--batch", "bb"], "there is no batch 'bb'"),
    ],
)
def test_what_does_not_exist_is_told_before_anything_is_changed(
    on, store, sql, command, arguments, words
):
    """Half of a list done would be worse."""
    every_state(store)
    before = sql("SELECT id, status FROM prompts ORDER BY id")
    on(command, *arguments).fails(words)
    assert sql("SELECT id, status FROM prompts ORDER BY id") == before


def test_a_misspelt_batch_is_answered_with_the_nearest(on, here):
    """Batches are called like files, and files have long names."""
    (here / "prompts-monday.txt").write_text("a\n")
    on("add", "prompts-monday.txt")
    on("cancel", "--batch", "prompts-munday.txt").fails("did you mean 'prompts-monday.txt'?")
    on("cancel", "--batch", "x").fails("`spool status` lists them")


@pytest.mark.parametrize("arguments", [["--status", "done"], ["--error-code", "x"], ["abc"]])
def test_words_outside_the_lists_are_wrong_usage(spool, arguments):
    """The answer names those that there are."""
    spool("cancel", *arguments).fails("invalid value", code=2)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(["--status", "runing"], "running"), (["--error-code", "not_fond"], "not_found")],
)
def test_a_misspelt_word_of_a_list_is_answered_with_the_nearest(spool, arguments, meant):
    """Twenty-six codes on the screen would hide it."""
    said = spool("cancel", *arguments)
    said.fails(f"did you mean {meant}?", code=2)
    assert "rate_limited" not in said.err


@pytest.mark.parametrize("command", ["show", "tail", "cancel", "retry", "prune", "export"])
def test_an_id_that_no_database_can_hold_is_a_prompt_that_is_not_there(on, command):
    """Not an overflow."""
    on(command, "99999999999999999999").fails("there is no prompt 99999999999999999999")


def test_all_and_some_contradict_each_other(spool):
    """One of them was not meant."""
    spool("cancel", "--all", "3").fails("--all leaves no choice", code=2)


def test_a_selection_is_what_was_chosen():
    """States that were not named are those that the command means."""
    chosen = SelectedPrompts(ids=(1,), batch="b", error_code="shutdown")
    selection = chosen.selection(otherwise=[PromptState.FAILED])
    assert (selection.ids, selection.batch, selection.error_code) == ((1,), "b", "shutdown")
    assert selection.states == (PromptState.FAILED,)
    named = SelectedPrompts(states=(PromptState.QUEUED,)).selection(otherwise=[PromptState.FAILED])
    assert named.states == (PromptState.QUEUED,)
    assert not SelectedPrompts()
    assert SelectedPrompts(everything=True)


@pytest.mark.parametrize("command", ["show", "tail", "cancel", "retry", "prune", "export"])
def test_what_is_no_id_is_answered_with_the_option_that_was_meant(spool, here, command):
    """People try the id that they chose themselves."""
    said = spool(command, "row-7")
    said.fails("`spool show --custom-id row-7` finds one", code=2)
    assert list(here.iterdir()) == []
