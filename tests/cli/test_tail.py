"""`spool tail` prints each stored word once, in order, and follows a prompt to its end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from tests.cli.carried import claim, complete, every_state, fail, flush, requeue
from worker.cli import tail
from worker.errors import StoreBusy
from worker.records import NewPrompt
from worker.store import Store


@pytest.fixture
def runs(store):
    return every_state(store)


@pytest.fixture
def script(monkeypatch):
    """What happens while `tail -f` waits: one step each time that it would sleep."""

    def play(*steps):
        left = list(steps)

        class Clock:
            seconds = 0.0

            def monotonic(self):
                return self.seconds

            def now(self):
                return datetime(2026, 11, 22, tzinfo=UTC)

            async def sleep(self, seconds):
                assert left, "tail went on after the last step"
                self.seconds += 60
                left.pop(0)()
                await asyncio.sleep(0)

        monkeypatch.setattr(tail, "SystemClock", Clock)

    return play


def test_what_is_stored_is_printed(on, runs):
    """A finished prompt whole; an unfinished one with a word about it."""
    assert on("tail", "1").out == "Hello wörld.\n\n"
    said = on("tail", "4")
    assert (said.code, said.out) == (0, "Hello wörld.\n\n")
    assert "prompt 4 is still streaming; -f follows it" in said.err


def test_it_goes_on_where_it_was(on, runs):
    """Chunks have numbers."""
    assert on("tail", "1", "--after-seq", "0").out == "wörld.\n\n"
    assert on("tail", "1", "--after-seq", "1").out == ""


def test_several_prompts_are_told_apart(on, runs):
    """By their id, at the start of each line."""
    assert on("tail", "1", "2").out == "[1] Hello wörld.\n[1] \n[2] Hello wörld.\n[2] \n"


def test_thinking_can_be_followed_too(on, runs):
    """Instead of the answer."""
    assert on("tail", "1", "--thinking").out == "hm\n"


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["99"], "there is no prompt 99", 1),
        ([], "missing argument", 2),
        (["1", "2", "--after-seq", "1"], "--after-seq goes with one ID", 2),
        (["1", "--after-seq", "-1"], "-1 is not in the range", 2),
        (["1", "--after-seq", "1", "--after", "1:1"], "say the same: keep one", 2),
        (["1", "--after", "7"], "'7' is not RUN:SEQ", 2),
        (["1", "--after", "1:99999999999999999999"], "is not RUN:SEQ", 2),
        (["1", "--after", "2:0"], "run 2 is no attempt at these prompts", 1),
    ],
)
def test_what_cannot_be_followed_is_one_sentence(on, runs, arguments, words, code):
    """Before anything is printed."""
    on("tail", *arguments).fails(words, code=code)


def test_it_follows_to_the_done_frame(on, store, runs, script):
    """Text that comes with the end is printed, and the exit code is that of the prompt."""
    run = runs[3]

    def finish():
        flush(store, run, " Bye.", seq=4)
        complete(store, run)

    script(lambda: flush(store, run, "More.", seq=3), finish)
    said = on("tail", "4", "-f")
    assert (said.code, said.out) == (0, "Hello wörld.\n\nMore. Bye.\n")


def test_it_follows_from_one_attempt_to_the_next(on, store, script):
    """A new run begins from the start, and standard error says so."""
    store.add([NewPrompt(prompt="x")])
    (first,) = claim(store)
    flush(store, first, "half")

    def again():
        (second,) = claim(store)
        flush(store, second, "whole")
        complete(store, second)

    script(lambda: (flush(store, first, " way", seq=1), requeue(store, first, 0.0)), again)
    said = on("tail", first.prompt_id, "-f")
    assert (said.code, said.out) == (0, "half way\nwhole\n")
    assert "attempt 2 begins from the start" in said.err


def test_a_prompt_that_is_queued_is_waited_for(on, store, script):
    """Its text may come from any machine."""
    store.add([NewPrompt(prompt="x")])

    def carry():
        (run,) = claim(store)
        flush(store, run, "done")
        complete(store, run)

    script(lambda: None, carry)
    assert on("tail", "1", "-f").out == "done\n"


def test_a_prompt_that_waits_says_for_what(on, store, script):
    """At once, and again when the reason changes; its text goes on to be data alone."""
    store.add([NewPrompt(prompt="x")])
    runs = []
    script(
        lambda: None,
        lambda: runs.extend(claim(store)),
        lambda: None,
        lambda: flush(store, runs[0], "text"),
        lambda: complete(store, runs[0]),
    )
    said = on("tail", 1, "-f")
    assert (said.code, said.out) == (0, "text\n")
    assert said.err.splitlines() == [
        "spool: prompt 1 waits: no worker is running: start `spool run`",
        "spool: prompt 1 waits: it is streaming, and no new text is stored yet",
    ]


def test_a_failure_is_the_exit_code(on, store, runs, script):
    """With the reason."""
    script(lambda: fail(store, runs[3]))
    said = on("tail", "4", "-f")
    assert said.code == 1
    assert "prompt 4 failed (bad_request: HTTP 400: no)" in said.err


def test_several_are_followed_line_by_line(on, store, runs, script):
    """A line is printed when it is whole."""

    def finish():
        flush(store, runs[3], "b\n", seq=4)
        complete(store, runs[3])

    script(lambda: flush(store, runs[3], "a", seq=3), finish)
    said = on("tail", "1", "4", "-f")
    assert said.out.endswith("[4] Hello wörld.\n[4] \n[4] ab\n")


def test_a_line_without_end_is_not_kept_for_ever(on, store, script, monkeypatch):
    """Memory is bounded."""
    monkeypatch.setattr(tail, "_LINE_PIECES", 2)
    store.add([NewPrompt(prompt="x"), NewPrompt(prompt="y")])
    run, other = claim(store, 2)
    flush(store, run, "a", "b", "c", "d")
    complete(store, run)
    complete(store, other)
    assert on("tail", run.prompt_id, other.prompt_id).out == "[1] abc\n[1] d\n"


def test_json_is_an_object_a_chunk(on, store, runs, script):
    """And one for the end."""
    script(lambda: complete(store, runs[3]))
    first, second, end = on("tail", "4", "-f", "--json").matches("tail")
    assert (first["seq"], second["seq"], first["text"]) == (0, 1, "Hello ")
    assert end == {"prompt_id": 4, "status": "completed"}


def test_an_interrupt_says_how_to_go_on(on, runs, script):
    """With the run and the number of the last chunk, of each prompt."""

    def interrupt():
        raise KeyboardInterrupt

    script(interrupt)
    said = on("tail", "4", "-f")
    assert said.code == 130
    assert "to go on: spool tail 4 -f --after 4:1\n" in said.err
    script(interrupt)
    said = on("tail", "4", "3", "5", "-f", "--thinking")
    assert "to go on: spool tail 4 3 5 -f --thinking --after 4:2 --after 3:2\n" in said.err
    script(interrupt)
    said = on("tail", "4", "-f", "--json")
    assert "to go on: spool tail 4 -f --json --after 4:1\n" in said.err


def test_what_it_says_is_how_it_goes_on(on, store, script):
    """Also when another attempt has begun meanwhile: that one is told from its start."""
    store.add([NewPrompt(prompt="x")])
    (first,) = claim(store)
    flush(store, first, "a", "b", "c")
    assert on("tail", "1", "--after", f"{first.id}:1").out == "c\n"
    requeue(store, first, 0.0)
    (second,) = claim(store)
    flush(store, second, "A", "B", "C")
    complete(store, second)
    said = on("tail", "1", "-f", "--after", f"{first.id}:1")
    assert (said.code, said.out) == (0, "c\nABC\n")
    assert "attempt 2 begins from the start" in said.err
    assert on("tail", "1", "--after", f"{second.id}:1").out == "C\n"


def test_a_database_that_is_away_for_a_while_is_asked_again(on, store, runs, script, monkeypatch):
    """An answer that takes all night is followed through the restart of a server."""
    real, faults = Store.prompt, []

    def prompt(self, prompt_id):
        if faults:
            raise faults.pop()
        return real(self, prompt_id)

    def goes_away():
        faults.extend([StoreBusy("the database cannot be reached")] * 2)

    monkeypatch.setattr(Store, "prompt", prompt)
    script(goes_away, lambda: None, lambda: None, lambda: None, lambda: complete(store, runs[3]))
    said = on("tail", "4", "-f")
    assert (said.code, said.out, faults) == (0, "Hello wörld.\n\n", [])
    assert said.err.count("the database cannot be reached; asking again") == 1


def test_on_sqlite_the_database_is_read_only_after_somebody_wrote(spool, sqlite_url, monkeypatch):
    """A thousand people may watch an idle file."""
    other = Store.open(sqlite_url)
    other.add([NewPrompt(prompt="x")])
    (run,) = claim(other)
    looks = []
    look = tail._Tail.look
    monkeypatch.setattr(tail._Tail, "look", lambda self: (looks.append(1), look(self)))

    class Clock:
        left = 6

        def monotonic(self):
            return 0.0

        def now(self):
            return datetime(2026, 11, 22, tzinfo=UTC)

        async def sleep(self, seconds):
            Clock.left -= 1
            if Clock.left == 0:
                complete(other, run)

    monkeypatch.setattr(tail, "SystemClock", Clock)
    assert spool("--database-url", sqlite_url, "tail", "1", "-f").code == 0
    other.close()
    assert len(looks) == 3  # at the start, to learn the version, and after the end was written
