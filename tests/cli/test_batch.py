"""`spool batch` adds, runs and exports in one, and goes on after whatever ended it."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.fakes.plan import expected_text


@pytest.fixture
def batch(spool, server_url):
    """Runs `spool batch` on a server that no settings name."""

    def run(*arguments):
        return spool("batch", *arguments, "--base-url", f"{server_url}/v1", "--model", "m")

    return run


def openai_line(custom_id, text):
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    line = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(line) + "\n"


def lines(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def test_openai_lines_in_openai_lines_out(here, batch):
    """Without any settings; exit code 0, and the sentences are talk."""
    (here / "in.jsonl").write_text(
        openai_line("a", "one [[tokens=5]]") + openai_line("b", "two [[tokens=5]]")
    )
    said = batch("in.jsonl", "-o", "out.jsonl")
    assert (said.code, said.out) == (0, "")
    assert "2 prompts completed; wrote 2 prompts to out.jsonl" in said.err
    found = {
        line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"]
        for line in lines(here / "out.jsonl")
    }
    assert found == {
        "a": expected_text("one [[tokens=5]]"),
        "b": expected_text("two [[tokens=5]]"),
    }


def test_a_second_call_adds_and_asks_nothing(here, batch):
    """It writes the same output again."""
    (here / "in.jsonl").write_text('{"custom_id": "a", "prompt": "one [[tokens=5]]"}\n')
    assert batch("in.jsonl", "-o", "out.jsonl").code == 0
    first = (here / "out.jsonl").read_bytes()
    (here / "out.jsonl").unlink()
    said = batch("in.jsonl", "-o", "out.jsonl", "--json")
    (found,) = said.matches("batch")
    assert (found["added"], found["existing"], found["completed"]) == (0, 1, 1)
    assert (here / "out.jsonl").read_bytes() == first
    with closing(sqlite3.connect("spool.db")) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def test_failures_stand_in_the_output_or_in_a_file_of_their_own(here, batch):
    """Exit code 1 either way, and how to go on."""
    (here / "in.jsonl").write_text(
        openai_line("a", "one [[tokens=5]]") + openai_line("b", "x [[fault=400]]")
    )
    said = batch("in.jsonl", "-o", "out.jsonl")
    assert said.code == 1
    assert "1 prompt completed, 1 failed or cancelled; wrote 2 prompts" in said.err
    assert "`spool retry --batch in.jsonl`" in said.err
    assert [line["response"]["status_code"] for line in lines(here / "out.jsonl")] == [200, 400]
    assert batch("in.jsonl", "-o", "out.jsonl", "--errors", "bad.jsonl").code == 1
    assert [line["custom_id"] for line in lines(here / "out.jsonl")] == ["a"]
    assert [line["custom_id"] for line in lines(here / "bad.jsonl")] == ["b"]


def test_the_format_is_that_of_the_input_unless_the_output_says_another(here, batch):
    """CSV for CSV; JSON Lines for lines of text; Parquet by name."""
    (here / "in.csv").write_text("prompt\none [[tokens=5]]\n")
    assert batch("in.csv", "-o", "answers").code == 0
    with (here / "answers").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["output"] == expected_text("one [[tokens=5]]")
    assert batch("in.csv", "-o", "answers", "--format", "jsonl").code == 0
    assert lines(here / "answers")[0]["output"] == row["output"]
    said = batch("in.csv", "-o", "-", "--format", "jsonl")
    assert json.loads(said.out)["output"] == row["output"]


def test_a_trial_takes_the_first_prompts_and_the_next_call_the_rest(here, batch):
    """--limit, as for `spool add`."""
    (here / "in.jsonl").write_text(
        "".join(f'{{"custom_id": "{n}", "prompt": "{n} [[tokens=3]]"}}\n' for n in range(5))
    )
    assert batch("in.jsonl", "-o", "out.jsonl", "--limit", "2").code == 0
    assert [line["custom_id"] for line in lines(here / "out.jsonl")] == ["0", "1"]
    assert batch("in.jsonl", "-o", "out.jsonl").code == 0
    assert len(lines(here / "out.jsonl")) == 5


def test_bad_lines_are_left_out_with_exit_code_1_or_stop_it(here, batch):
    """`--strict` does nothing at all."""
    (here / "in.jsonl").write_text('{"custom_id": "a", "prompt": "x [[tokens=3]]"}\nnonsense\n')
    said = batch("in.jsonl", "-o", "out.jsonl", "--strict")
    assert said.code == 1
    assert not (here / "out.jsonl").exists()
    assert not (here / "spool.db").exists()
    said = batch("in.jsonl", "-o", "out.jsonl")
    assert said.code == 1
    assert "in.jsonl: line 2" in said.err
    assert len(lines(here / "out.jsonl")) == 1


def test_changed_prompts_stop_it_before_the_old_answers_pass_for_new_ones(here, batch):
    """--replace asks them anew."""
    (here / "in.jsonl").write_text('{"custom_id": "a", "prompt": "old [[tokens=3]]"}\n')
    batch("in.jsonl", "-o", "out.jsonl")
    (here / "in.jsonl").write_text('{"custom_id": "a", "prompt": "new [[tokens=4]]"}\n')
    (here / "out.jsonl").unlink()
    said = batch("in.jsonl", "-o", "out.jsonl")
    assert said.code == 1
    assert "--replace" in said.err
    assert not (here / "out.jsonl").exists()
    assert batch("in.jsonl", "-o", "out.jsonl", "--replace").code == 0
    assert lines(here / "out.jsonl")[0]["output"] == expected_text("new [[tokens=4]]")


def test_prompts_that_are_not_in_the_file_any_more_are_told(here, batch):
    """They are in the output, as they are in the batch."""
    (here / "in.jsonl").write_text(
        '{"custom_id": "a", "prompt": "x [[tokens=3]]"}\n'
        '{"custom_id": "b", "prompt": "y [[tokens=3]]"}\n'
    )
    batch("in.jsonl", "-o", "out.jsonl")
    (here / "in.jsonl").write_text('{"custom_id": "a", "prompt": "x [[tokens=3]]"}\n')
    said = batch("in.jsonl", "-o", "out.jsonl")
    assert "batch in.jsonl has 1 prompt beside those of in.jsonl" in said.err


def test_after_kill_9_the_same_command_goes_on(here, server_url):
    """What was answered is not asked again, every prompt is there once, the output is whole."""
    texts = [f"{n} [[tokens={5 if n < 3 else 400}]]" for n in range(6)]
    (here / "in.jsonl").write_text("".join(openai_line(str(n), t) for n, t in enumerate(texts)))
    command = [sys.executable, "-m", "worker", "batch", "in.jsonl", "-o", "out.jsonl"]
    command += ["--base-url", f"{server_url}/v1", "--model", "m", "--concurrency", "1"]
    with subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        completed = 0
        while completed < 3:
            completed += '"run_completed"' in process.stderr.readline()
        os.kill(process.pid, signal.SIGKILL)
    assert not (here / "out.jsonl").exists()
    again = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "nothing new: 6 prompts of in.jsonl are already in batch in.jsonl" in again.stderr
    found = {
        line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"]
        for line in lines(here / "out.jsonl")
    }
    assert found == {str(n): expected_text(text) for n, text in enumerate(texts)}
    with closing(sqlite3.connect(here / "spool.db")) as database:
        first = "SELECT count(*) FROM runs WHERE prompt_id <= 3"
        assert database.execute(first).fetchone() == (3,)


def test_a_stop_says_how_to_go_on(here, server_url):
    """Exit code 130, no output, and the prompts are handed back."""
    (here / "spool.toml").write_text("shutdown_grace_seconds = 0\n")
    (here / "in.jsonl").write_text('{"prompt": "x [[tokens=100000 rate=5]]"}\n')
    command = [sys.executable, "-m", "worker", "batch", "in.jsonl", "-o", "out.jsonl", "-v"]
    command += ["--base-url", f"{server_url}/v1", "--model", "m"]
    with subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if '"run_claimed"' in line)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert "1 prompt still to answer: the same command goes on" in said
    assert not (here / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["in.jsonl"], "missing option '-o'", 2),
        (["-", "-o", "x"], "give the batch one with --batch", 2),
        (["in.jsonl", "-o", "-", "--json"], "would share standard output", 2),
        (["in.jsonl", "-o", "spool.db"], "is the database itself", 2),
        (["none.jsonl", "-o", "x"], "there is no file none.jsonl", 1),
        (["in.jsonl", "-o", "x", "--endpoint", "far"], "'far' is not configured", 2),
        (["in.jsonl", "-o", "x", "--base-url", "ftp://h", "--model", "m"], "--base-url must", 2),
    ],
)
def test_each_wrong_call_is_one_sentence(here, spool, arguments, words, code):
    """And makes no database."""
    (here / "in.jsonl").write_text('{"prompt": "x"}\n')
    spool("batch", *arguments).fails(words, code=code)
    assert not (here / "spool.db").exists()


def test_it_ends_when_its_own_batch_is_done(here, spool, batch, server_url):
    """A long prompt that somebody else queued is handed back, not waited for."""
    (here / "spool.toml").write_text(
        "shutdown_grace_seconds = 0\n"
        f'[endpoints.default]\ndialect = "openai-chat"\nbase_url = "{server_url}/v1"\nmodel = "m"\n'
    )
    spool("add", "-p", "[[tokens=100000 rate=5]]")
    (here / "in.jsonl").write_text('{"prompt": "x [[tokens=3]]"}\n')
    assert batch("in.jsonl", "-o", "out.jsonl").code == 0
    with closing(sqlite3.connect("spool.db")) as database:
        states = database.execute("SELECT status FROM prompts ORDER BY id").fetchall()
    assert states == [("queued",), ("completed",)]


def test_a_command_runs_when_the_output_is_there(here, batch):
    """With the batch and its counts; again at the next call, and its failure is ours."""
    (here / "in.jsonl").write_text('{"custom_id": "a", "prompt": "x [[tokens=3]]"}\n')
    command = 'echo "$BATCH_NAME $BATCH_COMPLETED $BATCH_FAILED $(wc -l < $BATCH_OUTPUT)" >> told'
    for _ in range(2):
        assert batch("in.jsonl", "-o", "out.jsonl", "--on-complete", command).code == 0
    assert [line.split() for line in (here / "told").read_text().splitlines()] == [
        ["in.jsonl", "1", "0", "1"]
    ] * 2
    assert batch("in.jsonl", "-o", "out.jsonl", "--on-complete", "exit 3").code == 1
