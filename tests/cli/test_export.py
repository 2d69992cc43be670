"""`spool export` writes finished prompts, whole, where it was told to, and says what it left out."""

from __future__ import annotations

import csv
import io
import json

import pyarrow.parquet as pq
import pytest

from tests.cli.carried import claim, complete, every_state, flush
from worker.records import NewPrompt

TEXT = "Hello wörld.\n\n"


@pytest.fixture
def runs(store):
    return every_state(store)


def test_finished_prompts_are_lines(on, runs):
    """Completed ones with their output, failed ones with their error."""
    said = on("export")
    completed, failed = said.matches("export")
    assert (completed["id"], completed["output"]) == (1, TEXT)
    assert (failed["id"], failed["output"], failed["error_code"]) == (2, None, "bad_request")
    assert (said.code, said.err) == (0, "")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "-"])
def test_answers_that_were_cut_are_counted(on, store, here, name):
    """Beside the data, whatever its format; a column says which they are."""
    store.add([NewPrompt(prompt="x")] * 2)
    for run, reason in zip(claim(store, 2), ("length", "stop"), strict=True):
        complete(store, run, finish_reason=reason)
    said = on("export", "-o", name)
    assert "spool: 1 answer cut at the length limit: their `truncated` is true\n" in said.err
    said = on("export", "-o", name, "--format", "openai-batch")
    assert "spool: 1 answer cut at the length limit\n" in said.err


def test_partial_adds_what_is_not_finished(on, runs):
    """Under another name than the output."""
    rows = on("export", "--partial").matches("export")
    assert [row["partial_output"] for row in rows] == [None, TEXT, TEXT, TEXT, None]
    assert [row["output"] for row in rows] == [TEXT, None, None, None, None]


def test_a_selection_narrows(on, runs):
    """The same words as everywhere."""
    assert [row["id"] for row in on("export", "--status", "completed").matches("export")] == [1]
    assert [row["id"] for row in on("export", "--batch", "b", "2").matches("export")] == [2]
    assert on("export", "--error-code", "shutdown").out == ""


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv", "r.parquet", "r"])
def test_the_name_of_the_file_tells_the_format(on, runs, here, name):
    """And standard error says how many."""
    said = on("export", "-o", name)
    assert (said.code, said.out, said.err) == (0, "", f"spool: wrote 2 prompts to {name}\n")
    if name.endswith(".csv"):
        text = (here / name).read_bytes().decode()
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    elif name.endswith(".parquet"):
        rows = pq.read_table(here / name).to_pylist()
    else:
        rows = [json.loads(line) for line in (here / name).read_text().splitlines()]
    assert [(row["output"] or None, row["status"]) for row in rows] == [
        (TEXT, "completed"),
        (None, "failed"),
    ]


def test_a_pipe_gets_csv_and_parquet_too(on, runs):
    """By --format."""
    assert on("export", "--format", "csv").out.startswith("id,batch,")


def test_openai_batch_files(on, runs, here):
    """Output and errors apart."""
    said = on("export", "--format", "openai-batch", "-o", "out.jsonl", "--errors", "err.jsonl")
    (output,) = [json.loads(line) for line in (here / "out.jsonl").read_text().splitlines()]
    (error,) = [json.loads(line) for line in (here / "err.jsonl").read_text().splitlines()]
    assert output["response"]["body"]["choices"][0]["message"]["content"] == TEXT
    assert (error["custom_id"], error["response"]["status_code"]) == ("c2", 400)
    assert said.err.splitlines() == [
        "spool: wrote 1 failure to err.jsonl",
        "spool: wrote 1 prompt to out.jsonl",
    ]


def test_failures_that_are_left_out_are_told(on, runs):
    """Whoever reads only the output would never know."""
    said = on("export", "--format", "openai-batch")
    assert len(said.out.splitlines()) == 1
    assert (
        "1 prompt failed or cancelled and NOT in the output: --errors FILE writes them" in said.err
    )


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["--errors", "e"], "--errors goes with --format openai-batch", 2),
        (["--format", "openai-batch", "-o", "x", "--errors", "x"], "name the same file", 2),
        (["--format", "openai-batch", "--partial"], "no place for --partial", 2),
        (["--format", "openai-batch", "--status", "queued"], "hold finished prompts", 2),
        (["-o", "nowhere/x.jsonl"], "nowhere/x.jsonl cannot be written: No such file", 1),
    ],
)
def test_each_wrong_call_is_one_sentence_and_writes_nothing(on, runs, here, arguments, words, code):
    """Not even an empty file."""
    on("export", *arguments).fails(words, code=code)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", ["spool.db", "spool.db-wal", "./spool.db", "link"])
@pytest.mark.parametrize("option", ["--output", "--errors"])
def test_no_export_takes_the_place_of_the_database(spool, here, name, option):
    """It would take every prompt and every answer with it."""
    assert spool("add", "-p", "a").code == 0
    (here / "link").symlink_to("spool.db")
    before = (here / "spool.db").read_bytes()
    arguments = ["--format", "openai-batch", option, name]
    spool("export", *arguments).fails(f"{name} is the database itself", code=2)
    assert (here / "spool.db").read_bytes() == before


def test_nothing_to_write_is_worth_a_word(on, runs):
    """An empty pipe looks like a broken one."""
    said = on("export", "--error-code", "shutdown")
    assert (said.code, said.out) == (0, "")
    assert "no finished prompt is among these; --partial writes unfinished ones too" in said.err


def test_an_answer_too_long_to_be_held_is_the_same_text(on, store, runs, monkeypatch):
    """It passes in pieces instead of being read ahead."""
    flush(store, runs[3], *("x" * 1000 for _ in range(200)), seq=3)
    arguments = ("export", "4", "--status", "running", "--partial")
    (ahead,) = on(*arguments).matches("export")
    monkeypatch.setattr("worker.store.bulk_text.BulkTexts._affordable", lambda self, sizes: [])
    (pieces,) = on(*arguments).matches("export")
    assert ahead["partial_output"] == pieces["partial_output"] == TEXT + "x" * 200_000
