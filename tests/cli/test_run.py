"""`spool run`: the worker as a command, with real servers and real signals."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.plan import expected_text
from worker.cli import run
from worker.supervisor.active_runs import Summary

CONFIG = """
lease_seconds = 3
poll_seconds = 0.05
shutdown_grace_seconds = 0
[endpoints.default]
dialect = "openai-chat"
base_url = "{url}/v1"
model = "m"
[endpoints.other]
dialect = "ollama-chat"
base_url = "{url}"
model = "m"
"""


@pytest.fixture
def configured(here: Path, server_url: str) -> Path:
    """A working directory whose settings name the server."""
    (here / "spool.toml").write_text(CONFIG.format(url=server_url))
    return here


def ask(here: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(here / "spool.db")) as database:
        return database.execute(query).fetchall()


def test_drain_carries_everything_and_ends(configured: Path, spool: Callable[..., Any]) -> None:
    """Prompts in, answers out, exit 0, and one sentence that counts them."""
    spool("add", "-p", "one [[tokens=20]]", "-p", "two [[tokens=20]]")
    said = spool("run", "--drain")
    assert said.code == 0
    assert said.out == ""
    assert "2 prompts completed, 0 failed" in said.err
    assert ask(configured, "SELECT output FROM results ORDER BY id") == [
        (expected_text("one [[tokens=20]]"),),
        (expected_text("two [[tokens=20]]"),),
    ]


def test_answers_that_were_cut_are_told_in_the_last_line(
    configured: Path, spool: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their prompts are completed, so nothing else would say so."""
    monkeypatch.setattr(run, "work", lambda *_, **__: Summary(completed=2, truncated=1))
    said = spool("run", "--drain")
    assert "2 prompts completed (1 cut at their length limit), 0 failed" in said.err
    (done,) = spool("run", "--drain", "--json").matches("run")
    assert (done["completed"], done["truncated"]) == (2, 1)


def test_a_server_that_is_not_there_is_waited_for_with_a_word(
    here: Path, spool: Callable[..., Any]
) -> None:
    """Why, until when, and how much is to do: without a terminal an event says so."""
    url = "http://127.0.0.1:9"  # nothing answers there
    (here / "spool.toml").write_text(CONFIG.format(url=url))
    spool("add", "-p", "x")
    command = [sys.executable, "-m", "worker", "run", "--drain"]
    with subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        events = (json.loads(line) for line in process.stderr if line.startswith("{"))
        waits = (each["waiting_for"] for each in events if each["event"] == "worker_waiting")
        said = next(each for each in waits if "does not work" in each)
        process.terminate()
    assert said.startswith("1 prompt to do, but the endpoint 'default' does not work (127.0.0.1:9")
    assert "; it is asked again at " in said


def test_drain_of_an_empty_queue_ends_at_once(configured: Path, spool: Callable[..., Any]) -> None:
    """Nothing to do is done; the database is made if it is a new file."""
    said = spool("run", "--drain")
    assert said.code == 0
    assert (configured / "spool.db").exists()


def test_failed_prompts_fail_the_command_only_if_asked(
    configured: Path, spool: Callable[..., Any]
) -> None:
    """By default a drained queue is a success; --fail-on-error makes the exit code 1."""
    spool("add", "-p", "x [[fault=400]]")
    assert spool("run", "--drain").code == 0
    spool("retry", "--all")
    assert spool("run", "--drain", "--fail-on-error").code == 1


def test_json_tells_the_counts(configured: Path, spool: Callable[..., Any]) -> None:
    """A program reads what became of the prompts."""
    spool("add", "-p", "one [[tokens=5]]")
    (counts,) = spool("run", "--drain", "--json").matches("run")
    assert counts["completed"] == 1


def test_only_the_named_endpoint_is_served(configured: Path, spool: Callable[..., Any]) -> None:
    """--endpoint leaves the prompts of others in the queue."""
    (configured / "p.jsonl").write_text(
        '{"prompt": "a [[tokens=5]]"}\n{"prompt": "b [[tokens=5]]", "endpoint": "other"}\n'
    )
    spool("add", "p.jsonl")
    assert spool("run", "--drain", "--endpoint", "other").code == 0
    states = ask(configured, "SELECT endpoint, status FROM prompts ORDER BY id")
    assert states == [("default", "queued"), ("other", "completed")]


@pytest.mark.parametrize(
    ("arguments", "sentence", "code"),
    [
        (["--endpoint", "othr"], "there is no endpoint 'othr'; configured are: default, other", 2),
        (["--fail-on-error"], "--fail-on-error needs --drain", 2),
        (["--drian"], "--drian", 2),
    ],
)
def test_wrong_usage_is_said(
    configured: Path, spool: Callable[..., Any], arguments: list[str], sentence: str, code: int
) -> None:
    """One sentence, exit code 2, and no database is made."""
    said = spool("run", *arguments)
    assert said.code == code
    assert sentence in said.err
    assert not (configured / "spool.db").exists()


def test_a_missing_key_stops_it_before_anything(here: Path, spool: Callable[..., Any]) -> None:
    """The variable that lacks the key is named; nothing is claimed without it."""
    (here / "spool.toml").write_text(
        '[endpoints.default]\nmodel = "m"\napi_key_env = "NOT_SET_HERE"\n'
    )
    said = spool("run", "--drain")
    assert said.code == 2
    assert "NOT_SET_HERE" in said.err
    assert not (here / "spool.db").exists()


def test_a_schema_that_is_too_old_is_refused(configured: Path, spool: Callable[..., Any]) -> None:
    """A worker does not start on tables that it does not understand; the cure is named."""
    with closing(sqlite3.connect(configured / "spool.db")) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.commit()
    said = spool("run", "--drain")
    assert said.code == 1
    assert "spool migrate" in said.err
    assert ask(configured, "SELECT count(*) FROM sqlite_master WHERE name = 'prompts'") == [(0,)]


def test_a_port_that_is_taken_is_said(
    configured: Path, server_url: str, spool: Callable[..., Any]
) -> None:
    """metrics_port of another program: one sentence, exit code 2."""
    port = server_url.rsplit(":", 1)[1]
    settings = configured / "spool.toml"
    settings.write_text(f"metrics_port = {port}\n{settings.read_text()}")
    said = spool("run", "--drain")
    assert said.code == 2
    assert f"metrics_port = {port} cannot be used" in said.err
