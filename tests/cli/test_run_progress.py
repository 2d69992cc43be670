"""A person sees one line that moves and what matters; programs see every event."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from dataclasses import dataclass, field
from io import StringIO
from types import SimpleNamespace

import pytest

from tests.fakes.server import FakeServer
from tests.house.tree import ROOT
from worker.cli import run_progress
from worker.cli.run_progress import RunProgress, Sparing, StatusLine
from worker.endpoints.breaker import BreakerState
from worker.errors import StoreBusy


@dataclass
class Clock:
    seconds: float = 0.0

    def monotonic(self):
        return self.seconds


@dataclass
class Queue:
    left: int = 0
    away: bool = False

    def backlog(self, endpoints):
        if self.away:
            raise StoreBusy("away")
        return SimpleNamespace(ready=self.left, later=0, running=0)

    def workers(self):
        return ()


@dataclass
class Worker:
    """What the line is made from."""

    runs: int = 0
    stopping: bool = False
    database_away: bool = False
    summary: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(completed=0, failed=0, requeued=0)
    )
    state: BreakerState = BreakerState.CLOSED
    waits_until: float = 0.0

    def health(self):
        return self

    @property
    def watches(self):
        return {"default": SimpleNamespace(breaker=self)}


@pytest.fixture
def shown(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    return StringIO()


def progress(queue=None, clock=None, out=None):
    line = StatusLine(out or StringIO())
    return RunProgress(queue or Queue(), ["default"], line, clock or Clock(), grace_seconds=30)


def looked(made):
    made._left = made._look()
    return made


def test_lines_appear_above_the_line_that_moves(shown):
    """What is written takes the status line away first and puts it back afterwards."""
    line = StatusLine(shown)
    line.show("1 done")
    line.write("event\n")
    line.show("")
    assert shown.getvalue() == "1 done\r\x1b[2Kevent\n1 done\r\x1b[2K"


def test_a_worker_in_the_background_has_no_line(shown):
    """`spool run &` shares the terminal with what its owner does next."""
    in_front = [True, False, False, True]
    line = StatusLine(shown, foreground=lambda: in_front.pop(0))
    for text in ("one", "two", "three", "four"):
        line.show(text)
    line.write("event\n")
    assert shown.getvalue() == "one\r\x1b[2Kfour\r\x1b[2Kevent\nfour"


def test_a_shell_says_who_is_in_the_foreground(here):
    """Without a terminal nobody is in anybody's way; with one, its owner's group is in front."""
    code = (
        "import os, pty, sys\nfrom worker.cli.run_progress import in_foreground\n"
        "print(in_foreground())\n"
        "seen, terminal = pty.openpty()\nos.setsid()\nos.close(os.open(os.ttyname(terminal), os.O_RDWR))\n"
        "os.dup2(terminal, 2)\nprint(in_foreground())\n"
        "if os.fork() == 0:\n    os.setpgid(0, 0)\n    print(in_foreground(), flush=True)\n    os._exit(0)\n"
        "os.wait()"
    )
    said = subprocess.run(
        [sys.executable, "-u", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert said.stdout.split() == ["True", "True", "False"]


def test_the_line_fits_the_terminal(shown, monkeypatch):
    """A line that wraps could not be taken away again."""
    monkeypatch.setenv("COLUMNS", "10")
    StatusLine(shown).show("x" * 50)
    assert shown.getvalue() == "x" * 9


def test_single_runs_are_counted_and_not_told_but_for_the_first_failure_of_each_kind():
    """A wrong model name is one line, not fifty thousand; an outage is always told."""
    told = []
    log = Sparing(lambda event, **values: told.append((event, values.get("error_code"))))
    for code in (None, None):
        log.bind(worker_id="w")("run_completed", error_code=code)
    for code in ("not_found", "not_found", "bad_request"):
        log("run_failed", error_code=code)
    log("breaker_opened")
    log("breaker_opened")
    assert told == [
        ("run_failed", "not_found"),
        ("run_failed", "bad_request"),
        ("breaker_opened", None),
        ("breaker_opened", None),
    ]


def test_a_long_list_is_told_by_its_length():
    """A hundred run ids fill a screen, and nobody reads them."""
    told = []
    log = Sparing(lambda event, **values: told.append(values["runs"]))
    log("prompts_rescued", runs=[1, 2])
    log("prompts_rescued", runs=list(range(100)))
    assert told == [[1, 2], 100]


def test_the_line_says_how_far_it_is_and_how_long_it_takes():
    """The rate is this worker's; what is left, and how long, is everybody's."""
    clock, queue, worker = Clock(), Queue(1000), Worker(runs=4)
    made = looked(progress(queue, clock))
    assert made.words(worker) == "0 completed, 1,000 to do, 4 streaming"
    clock.seconds, queue.left = 10.0, 800
    worker.summary = SimpleNamespace(completed=100, failed=2, requeued=3)
    assert looked(made).words(worker) == (
        "100 completed (10.0/s), 2 failed, 800 to do, about 40 s, 4 streaming, 3 tried again"
    )


def test_the_line_says_what_stands_in_the_way():
    """An endpoint that is down, a database that is away, an end that waits for streams."""
    made = progress(Queue(away=True))
    worker = Worker(database_away=True, state=BreakerState.OPEN)
    assert looked(made).words(worker) == (
        "the database is away, default is down, 0 completed, 0 streaming"
    )
    assert looked(progress()).words(Worker()) == "0 completed, nothing left to do, 0 streaming"
    assert made.words(Worker(runs=1, stopping=True)).startswith(
        "stopping: 1 stream may finish within 30 s; Ctrl-C again"
    )


@pytest.mark.parametrize(
    ("state", "waits_until", "said"),
    [
        (BreakerState.OPEN, 9.0, "default is down, 0"),
        (BreakerState.HALF_OPEN, 9.0, "default asks for patience, 0"),
        (BreakerState.HALF_OPEN, 0.0, "default is being tried, 0"),
    ],
)
def test_the_line_does_not_call_a_server_down_that_answers(state, waits_until, said):
    """One that asks everybody for patience (429) lives."""
    assert progress().words(Worker(state=state, waits_until=waits_until)).startswith(said)


def on_a_terminal(here, *arguments):
    """Run `spool` with a terminal as standard error; what was seen there, and on stdout."""
    seen, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", *arguments],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
    )
    os.close(terminal)
    parts = []
    try:
        while part := os.read(seen, 65536):
            parts.append(part)
    except OSError:
        pass  # how Linux says that nobody holds the other end any more
    os.close(seen)
    out, _ = process.communicate()
    assert process.returncode == 0
    return b"".join(parts).decode(), out


async def _watch(here, spool, arguments):
    async with FakeServer() as server:
        (here / "spool.toml").write_text(
            f'[endpoints.default]\ndialect = "openai-chat"\nbase_url = "{server.url}/v1"\n'
            'model = "m"\n'
        )
        spool("add", "-p", "one", "-p", "two", "-p", "bad [[fault=404]]")
        return await asyncio.to_thread(on_a_terminal, here, "run", "--drain", *arguments)


@pytest.mark.parametrize("arguments", [["-v"], ["--json"]])
def test_every_event_is_a_line_for_those_who_ask(here, spool, arguments):
    """-v and --json leave the log as it is elsewhere."""
    seen, _ = asyncio.run(_watch(here, spool, arguments))
    assert seen.count("run_completed") == 2
    assert " streaming" not in seen


def test_a_person_sees_a_line_and_the_first_failure(here, spool):
    """And the sentence at the end says where to ask."""
    seen, out = asyncio.run(_watch(here, spool, []))
    assert out == ""
    assert "run_completed" not in seen
    assert seen.count("run_failed") == 1
    assert "\x1b[2K" in seen  # a line that moves
    assert "2 prompts completed, 1 failed" in seen
    assert "`spool status` says why they failed" in seen


def test_programs_get_json(monkeypatch):
    """Where nobody watches there is no line that moves."""
    monkeypatch.setattr(sys, "stderr", StringIO())
    settings = {"log_format": "auto", "log_level": "info", "verbose": False, "as_json": False}
    assert not run_progress.wanted(**settings)


def test_a_worker_that_streams_nothing_says_what_it_waits_for(shown):
    """In the same line, first: a narrow window cuts the end off."""
    made = progress(Queue(left=0))
    made._left = made._look({"default": {"state": "closed"}})
    assert made.words(Worker()).startswith("nothing is queued for default: `spool add` queues, 0 ")
    made = progress(Queue(left=2))
    made._left = made._look({"default": {"state": "open", "error": "refused", "asks_at": "12:00"}})
    assert made.words(Worker()).startswith("2 prompts to do, but the endpoint 'default' does not")
    assert made.words(Worker(runs=1)).endswith("2 to do, 1 streaming")
