"""`spool status` shows the queue in one shape for people and in one for programs."""

from __future__ import annotations

import asyncio
import io
import sys

import pytest

from tests.cli.carried import claim, complete, every_state
from worker.cli import status
from worker.errors import StoreBusy
from worker.records import NewPrompt
from worker.settings import Settings


class Terminal(io.StringIO):
    """A person's window."""

    def isatty(self):
        return True


def test_people_get_a_table_and_sentences(on, store):
    """Queue, workers, what streams, and what to know."""
    every_state(store)
    said = on("status")
    assert said.code == 0
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines[0].endswith(": 5 prompts, 1 completed in the last hour")
    assert "batch endpoint queued running completed failed cancelled" in lines
    assert "b default 2 1 1 1 0" in lines
    assert any(line.startswith("host:12 0.1.0 1 ") for line in lines)
    assert any(line.startswith("prompt 4 c4 default 1 ") for line in lines)
    assert lines[1] == "3 to do, 1.0 a minute completed"
    assert any(
        line.startswith("- waiting for a later try: 1 prompt, the first in") for line in lines
    )


def test_programs_get_one_object(on, store):
    """Stable keys; the sentences too."""
    every_state(store)
    (shown,) = on("status", "--json").matches("status")
    assert (shown["ready"], shown["later"], shown["failures"]) == (1, 1, {"bad_request": 1})
    assert shown["queue"][0]["queued"] == 2
    assert [run["prompt_id"] for run in shown["live"]] == [4]
    assert len(shown["concerns"]) == 2


def test_answers_that_were_cut_are_counted(on, store):
    """For people and for programs; only as long as they are the answer."""
    store.add([NewPrompt(prompt="x", custom_id=str(n)) for n in range(3)], batch="b")
    for run, reason in zip(claim(store, 3), ("length", "max_tokens", "stop"), strict=True):
        complete(store, run, finish_reason=reason)
    assert "- cut at their length limit: 2 completed answers" in on("status").out
    (found,) = on("status", "--json").matches("status")
    assert found["truncated"] == 2
    store.add([NewPrompt(prompt="y", custom_id="0")], batch="b", replace=True)
    assert on("status", "--json").json["truncated"] == 1


def test_an_empty_queue_is_one_line(on):
    """There is nothing to say."""
    said = on("status")
    assert said.out.count("\n") == 1
    assert said.out.endswith(": 0 prompts\n")


@pytest.fixture
def looks(monkeypatch):
    """Ends a watch after three looks; returns how long it waited between them."""
    waited = []

    class Clock:
        def monotonic(self):
            return 0.0

        async def sleep(self, seconds):
            waited.append(seconds)
            if len(waited) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(status, "SystemClock", Clock)
    return waited


@pytest.mark.parametrize("as_json", [False, True])
def test_watching_looks_again_and_again(on, store, looks, as_json):
    """Where nobody watches a terminal, each look is printed."""
    every_state(store)
    said = on("status", "--watch", "--interval", "0.5", *(["--json"] if as_json else []))
    assert looks == [0.5, 0.5, 0.5]
    assert said.code == 130
    assert len(said.matches("status")) == 3 if as_json else said.out.count("last hour") == 3


def test_on_a_terminal_it_is_a_screen(store, looks, monkeypatch):
    """It takes the whole window and gives it back."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(sys, "stdout", Terminal())
    every_state(store)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(status._watch(store, Settings(), 0.5, as_json=False))
    shown = sys.stdout.getvalue()
    assert "\x1b[?1049h" in shown
    assert shown.count("completed in the last hour") >= 3
    assert "\x1b[?1049l" in shown


@pytest.mark.parametrize("terminal", [False, True])
def test_a_database_that_is_away_for_a_while_is_asked_again(
    store, looks, monkeypatch, capsys, terminal
):
    """Whoever watches through the night does not find a dead screen because of one restart."""
    answers = [store.status(), StoreBusy("the database cannot be reached"), store.status()]

    def status_of():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(store, "status", status_of)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERM", "xterm")
    if terminal:
        monkeypatch.setattr(sys, "stdout", Terminal())
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(status._watch(store, Settings(), 0.5, as_json=False))
    assert answers == []
    told = sys.stdout.getvalue() if terminal else capsys.readouterr().err
    assert "the database cannot be reached; asking again" in told


def test_looking_costs_a_fifth_of_the_time_at_most(store, monkeypatch):
    """A queue of millions is not counted every second."""
    seconds = iter(range(0, 1000, 3))
    waited = []

    class Clock:
        def monotonic(self):
            return next(seconds)

        async def sleep(self, seconds):
            waited.append(seconds)
            raise KeyboardInterrupt

    monkeypatch.setattr(status, "SystemClock", Clock)
    monkeypatch.setattr(sys, "stdout", Terminal())
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(status._watch(store, Settings(), 0.5, as_json=False))
    assert waited[0] >= 15


def test_an_interval_of_nothing_is_wrong_usage(spool):
    """It would load the database for no reason."""
    spool("status", "--watch", "--interval", "0").fails("is not in the range x>=0.2", code=2)
    for word in ("nan", "inf", "x"):
        spool("status", "--watch", "--interval", word).fails("not a valid number of", code=2)
