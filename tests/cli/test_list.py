"""`spool list` shows a page of prompts as a person can read it, and a program too."""

from __future__ import annotations

import pytest

from tests.cli.carried import every_state
from worker.records import NewPrompt
from worker.store.statements import listing


def test_the_newest_stand_first_with_what_became_of_them(on, store):
    """A failed one says why instead of what it asks."""
    every_state(store)
    said = on("list")
    assert said.code == 0
    names, *rows = said.out.splitlines()
    assert names.split()[:5] == ["id", "status", "batch", "custom_id", "endpoint"]
    assert [row.split()[:2] for row in rows] == [
        ["5", "queued"], ["4", "running"], ["3", "queued"], ["2", "failed"], ["1", "completed"],
    ]  # fmt: skip
    assert "bad_request: HTTP 400: no" in rows[3]
    assert rows[4].endswith("prompt 1")


def test_a_page_says_how_to_go_on(on, store):
    """On standard error, so that a pipe gets rows alone."""
    every_state(store)
    first = on("list", "--limit", "2")
    assert first.err == "spool: there are more: --before 4 goes on\n"
    assert on("list", "--limit", "3", "--before", "4").out.splitlines()[1].startswith("3 ")


def test_conditions_are_those_of_the_other_commands(on, store):
    """Status, code, batch, endpoint, ids."""
    every_state(store)
    for arguments, count in [
        (["--status", "queued"], 2),
        (["--error-code", "bad_request"], 1),
        (["--batch", "b", "--status", "completed"], 1),
        (["--endpoint", "default"], 5),
        (["1", "3"], 2),
    ]:
        assert len(on("list", *arguments, "--json").matches("list")) == count
    assert on("list", "--status", "cancelled").err == "spool: there is no such prompt\n"


def test_what_is_rare_is_looked_for_by_the_page(on, store, monkeypatch):
    """The end of a look is said, and where to go on."""
    monkeypatch.setattr(listing, "LOOKED_THROUGH", 2)
    every_state(store)
    said = on("list", "--status", "completed")
    assert said.out == ""
    assert "found no prompt among the last 2 looked through; --before 4 goes on" in said.err


@pytest.mark.parametrize(
    "prompt",
    ["a\nb\x1b[31m\x07" + "x" * 300, "长" * 300, "e\u0301" * 300],
    ids=["escapes", "wide", "marks"],
)
def test_a_row_is_one_line_that_fits_and_controls_nothing(on, store, prompt):
    """Also in a file that is looked at later."""
    from rich.cells import cell_len

    store.add([NewPrompt(prompt=prompt, custom_id="名" * 40)], batch="b\u202e" * 30)
    said = on("list").out
    assert "\x1b" not in said
    assert "\u202e" not in said
    _, row = said.splitlines()
    assert cell_len(row) <= 100


def test_messages_are_known_by_what_the_user_says_first(on, store):
    """Not by the system prompt, which all have in common."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": 'Say "a".'}]
    parts = [{"content": [{"type": "text", "text": "see"}], "role": "user"}]
    store.add([NewPrompt(messages=messages), NewPrompt(messages=parts)])
    rows = on("list").out.splitlines()
    assert rows[2].endswith('  Say "a".')
    assert '"text": "see"' in rows[1] or '"text":"see"' in rows[1]


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["--batch", "nobody"], "there is no batch 'nobody'", 1),
        (["--endpoint", "far"], "the endpoint 'far' is not configured", 2),
        (["--limit", "0"], "0 is not in the range", 2),
        (["--status", "complete"], "did you mean completed", 2),
    ],
)
def test_each_wrong_call_is_one_sentence(on, store, arguments, words, code):
    """With its exit code."""
    every_state(store)
    on("list", *arguments).fails(words, code=code)
