"""`spool show` prints the answer, and never lets a part pass for the whole."""

from __future__ import annotations

import json

import pytest

from tests.cli.carried import WORKER, claim, complete, every_state, flush, requeue
from worker.cli.show import without_last_newlines
from worker.records import Beginning, Chunk, Kind, NewPrompt


@pytest.fixture
def runs(store):
    return every_state(store)


def test_an_answer_is_data_and_nothing_else(on, runs):
    """Without the line ends at its end, and with one."""
    said = on("show", "1")
    assert (said.code, said.out, said.err) == (0, "Hello wörld.\n", "")


CALL = '{"index":0,"id":"c1","name":"weather","arguments":"{}"}\n'


@pytest.fixture
def lost(store):
    """The server died under an answer and refuses everybody since: three attempts, one text."""
    store.add([NewPrompt(prompt="x")])
    (run,) = claim(store)
    flush(store, run, "almost ", "all\n")
    flush(store, run, CALL, kind=Kind.TOOL_CALLS, seq=2)
    requeue(store, run, delay_seconds=-1.0)
    for _ in range(2):
        (again,) = claim(store)
        requeue(store, again, delay_seconds=-1.0)
    return run


def test_the_text_of_an_earlier_attempt_is_not_lost(on, lost):
    """Attempts that were refused hide nothing, and the text says whose it is."""
    said = on("show", lost.prompt_id)
    assert said.out.startswith("almost all\n")
    assert "this is what attempt 1, the latest one with text, left" in said.err
    assert on("show", lost.prompt_id, "--raw").out == "almost all\n"
    (shown,) = on("show", lost.prompt_id, "--json").matches("show")
    assert (shown["partial_output"], shown["text_run_id"]) == ("almost all\n", lost.id)
    assert on("tail", lost.prompt_id).out == "almost all\n"
    (line,) = on("export", "--partial").matches("export")
    assert (line["partial_output"], line["text_run_id"]) == ("almost all\n", lost.id)


def test_any_attempt_can_be_read(on, lost):
    """Its text is data; how it ended is told beside it."""
    said = on("show", lost.prompt_id, "--attempt", 1)
    assert said.out.startswith("almost all\n")
    assert f"attempt 1 of prompt {lost.prompt_id}: interrupted (connection_lost: cut)" in said.err
    said = on("show", lost.prompt_id, "--attempt", 3)
    assert (said.code, said.out) == (0, "")
    assert "it has no text" in said.err
    on("show", lost.prompt_id, "--attempt", 4).fails("has no attempt 4: its attempts are 1 to 3")


def test_tool_calls_are_whole_wherever_they_are_read(on, lost):
    """A JSON array for people and programs, of which the database keeps the pieces."""
    calls = [{"index": 0, "id": "c1", "name": "weather", "arguments": "{}"}]
    assert json.loads(on("show", lost.prompt_id).out.splitlines()[-1]) == calls
    (shown,) = on("show", lost.prompt_id, "--json").matches("show")
    assert shown["tool_calls"] == calls
    (line,) = on("export", "--partial").matches("export")
    assert line["tool_calls"] == calls


def test_an_answer_that_is_nothing_but_calls_is_not_called_empty(on, store):
    """What the model wants to be called is its answer."""
    store.add([NewPrompt(prompt="x")])
    (run,) = claim(store)
    flush(store, run, CALL, kind=Kind.TOOL_CALLS)
    complete(store, run, finish_reason="tool_calls")
    said = on("show", run.prompt_id)
    assert json.loads(said.out)[0]["name"] == "weather"
    assert said.err == ""


def test_an_answer_that_was_cut_says_so(on, store):
    """It is complete for the server, and not for a person."""
    store.add([NewPrompt(prompt="x")])
    (run,) = claim(store)
    flush(store, run, "half of")
    complete(store, run, finish_reason="length")
    said = on("show", run.prompt_id)
    assert said.out == "half of\n"
    assert "is completed, but its answer was cut at its length limit (length)" in said.err
    (shown,) = on("show", run.prompt_id, "--json").matches("show")
    assert shown["truncated"]


def test_raw_is_exact(on, runs):
    """To the last byte."""
    assert on("show", "1", "--raw").out == "Hello wörld.\n\n"


def test_thinking_is_apart(on, runs):
    """Instead of the answer."""
    assert on("show", "1", "--thinking").out == "hm\n"


@pytest.mark.parametrize(
    ("prompt_id", "words"),
    [
        (2, "prompt 2 failed (bad_request: HTTP 400: no); this is what its latest run left"),
        (3, "prompt 3 is queued again after 1 attempt (connection_lost: cut); this is what"),
        (4, "prompt 4 is still streaming; this is what its latest run left"),
        (5, "prompt 5 is queued and was not started yet; there is no text"),
    ],
)
def test_a_part_is_called_a_part(on, runs, prompt_id, words):
    """On standard error; the text itself is data."""
    said = on("show", prompt_id)
    assert said.code == 0
    assert f"spool: {words}" in said.err
    assert said.out == ("" if prompt_id == 5 else "Hello wörld.\n")


def test_a_cancelled_prompt_says_so(on, runs):
    """It has no error."""
    on("cancel", "5")
    assert "prompt 5 was cancelled; there is no text" in on("show", "5").err


def test_a_prompt_is_found_by_its_custom_id(on, store, runs):
    """In any batch, unless several have it."""
    assert on("show", "--custom-id", "c1").out == "Hello wörld.\n"
    store.add([NewPrompt(prompt="x", custom_id="c1")], batch="other")
    on("show", "--custom-id", "c1").fails("2 prompts have the custom_id 'c1': add --batch")
    assert on("show", "--custom-id", "c1", "--batch", "b").out == "Hello wörld.\n"


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["99"], "there is no prompt 99", 1),
        (["--custom-id", "zz"], "no prompt has the custom_id 'zz': `spool list` shows them", 1),
        (["--custom-id", "c1", "--batch", "zz"], "no prompt has the custom_id 'c1' in batch", 1),
        ([], "name one prompt: by ID, or by --custom-id", 2),
        (["1", "--custom-id", "c1"], "name one prompt", 2),
        (["1", "--batch", "b"], "--batch goes with --custom-id", 2),
        (["1", "--attempt", "1", "--json"], "leave out --attempts and --json", 2),
        (["5", "--attempt", "1"], "prompt 5 has no attempt 1: it was not started yet", 1),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(on, runs, arguments, words, code):
    """With the next step."""
    on("show", *arguments).fails(words, code=code)


@pytest.mark.parametrize("prompt_id", range(1, 6))
def test_json_has_everything(on, runs, prompt_id):
    """In one shape, whatever the state."""
    (shown,) = on("show", prompt_id, "--json").matches("show")
    text = "Hello wörld.\n\n"
    expected = {1: (text, None), 5: (None, None)}.get(prompt_id, (None, text))
    assert (shown["output"], shown["partial_output"]) == expected
    assert len(shown["history"]) == (prompt_id < 5)


def test_attempts_tell_the_story(on, runs):
    """A line each."""
    line = on("show", "3", "--attempts").out
    assert line.startswith("attempt 1: interrupted, ")
    assert "connection_lost: cut (run " in line
    assert "it was not started yet" in on("show", "5", "--attempts").err


def test_attempts_draw_the_seams(on, store):
    """Where an attempt goes on with another one, and why one began again."""
    store.add([NewPrompt(prompt="x")])
    (first,) = claim(store)
    flush(store, first, "one two thr")
    requeue(store, first, delay_seconds=-1.0)
    (second,) = claim(store)
    beginning = Beginning(
        second.id, first.id, "prefill", chunks=1, last_text="one two", bounds=(1,), chars=7
    )
    chunk = Chunk(second.id, 1, Kind.TEXT, " three", second.nonce, beginning=beginning)
    assert not store.commit(WORKER.id, [chunk], [])
    requeue(store, second, delay_seconds=-1.0)
    (third,) = claim(store)
    why = Beginning(third.id, not_continued="the server fell silent twice")
    chunk = Chunk(third.id, 0, Kind.TEXT, "one", third.nonce, beginning=why)
    assert not store.commit(WORKER.id, [chunk], [])
    lines = on("show", "1", "--attempts").out.splitlines()
    assert "its first 7 characters are those of attempt 1" in lines[2]
    assert lines[4] == "  began again: the server fell silent twice"
    assert len(lines) == 5
    (shown,) = on("show", "1", "--json").matches("show")
    assert [each["carried_chars"] for each in shown["history"]] == [None, 7, None]
    complete(store, third)
    (row,) = on("export").matches("export")
    assert (row["spliced"], row["carried_chars"]) == (False, None)
    assert (row["total_prompt_tokens"], row["total_completion_tokens"]) == (3, 4)


def test_an_answer_without_text_is_told(on, store):
    """Completed and empty is odd, and not nothing."""
    store.add([NewPrompt(prompt="x")])
    (run,) = claim(store)
    flush(store, run, "hm", kind=Kind.THINKING)
    complete(store, run)
    said = on("show", run.prompt_id)
    assert (said.out, said.err) == (
        "",
        f"spool: prompt {run.prompt_id} is completed, but has no text\n",
    )


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["a\n", "\n", "b\n\n"], "a\n\nb"),
        (["\n\n"], ""),
        ([], ""),
        (["a\r\n"], "a"),
        (["\n", "a"], "\na"),
    ],
)
def test_only_line_ends_at_the_end_are_left_off(parts, expected):
    """However the text was cut into chunks."""
    assert "".join(without_last_newlines(parts)) == expected
