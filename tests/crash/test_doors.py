"""Real workers before servers that refuse everybody: no prompt fails, whatever the server says.

Each is a process of its own; the server answers every request in one way.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.chaos.stage import ROOT, environment

PROMPTS = 40
CONCURRENCY = 4
END_SECONDS = 120  # nobody waits so long; a worker that does not end is a failure, not a hang
ANSWER = (
    'data: {"choices": [{"index": 0, "delta": {"content": "Hello"}}]}\n\n'
    'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
)
OPENAI_KEY = '{"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}'
ANTHROPIC_CREDIT = '{"error": {"message": "Your credit balance is too low to access the API."}}'
SUSPENDED = '{"error": {"message": "Account x is suspended, failure to pay past invoices."}}'
PAGE = "<html><head><title>We are down for maintenance</title></head></html>"


class Door:
    """A server; `answer` says what it makes of a request.

    Attributes:
        asked: how often each prompt was asked for.
    """

    def __init__(self) -> None:
        self.status, self.body = 200, ANSWER
        self.right_key: str | None = None
        self.asked: Counter[str] = Counter()

    def answer(self, prompt: str, key: str | None) -> tuple[int, str]:
        """Status and body for a request."""
        self.asked[prompt] += 1
        if self.right_key is not None:
            return (200, ANSWER) if key == f"Bearer {self.right_key}" else (401, OPENAI_KEY)
        if "too long" in prompt:
            return 400, '{"error": {"message": "prompt is too long: 9 > 8"}}'
        return self.status, self.body


@pytest.fixture
def door() -> Iterator[Door]:
    it = Door()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            said = json.loads(self.rfile.read(int(self.headers["content-length"])))
            prompt = said["messages"][-1]["content"]
            status, text = it.answer(prompt, self.headers.get("authorization"))
            self.send_response(status)
            is_page = text.startswith("<")
            self.send_header("content-type", "text/html" if is_page else "text/event-stream")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_args):
            """Tests are quiet."""

    with serving(Handler) as port:
        it.url = f"http://127.0.0.1:{port}/v1"
        yield it


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Home:
    """A directory with settings, a queue in SQLite, and workers that drain it."""

    def __init__(self, path: Path, door: Door) -> None:
        self.path = path
        self.settings("spool.toml", door)

    def settings(self, name: str, door: Door, more: str = "") -> None:
        """A file of settings."""
        (self.path / name).write_text(
            f'database_url = "sqlite:///{self.path}/spool.db"\nlease_seconds = 3\n'
            '[endpoints.default]\ndialect = "openai-chat"\nmodel = "m"\n'
            f'base_url = "{door.url}"\nconcurrency = {CONCURRENCY}\n{more}'
        )

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """A process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "worker", *words],
            cwd=self.path,
            env={**environment(), "PYTHONPATH": str(ROOT), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def spool(self, *words: str, **variables: str) -> tuple[int, str]:
        """A command to its end: exit code and everything that it printed."""
        with self.start(*words, **variables) as process:
            said, _ = process.communicate(timeout=END_SECONDS)
        return process.returncode, said

    def add(self, *prompts: str) -> None:
        """Queue prompts."""
        lines = "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)
        (self.path / "in.jsonl").write_text(lines)
        code, said = self.spool("add", "in.jsonl")
        assert code == 0, said

    def rows(self, sql: str) -> list[tuple]:
        """What is stored."""
        with closing(sqlite3.connect(self.path / "spool.db")) as connection:
            return connection.execute(sql).fetchall()

    @property
    def states(self) -> dict[str, int]:
        """How many prompts are in each state."""
        return dict(self.rows("SELECT status, count(*) FROM prompts GROUP BY status"))


@pytest.fixture
def home(tmp_path: Path, door: Door) -> Home:
    return Home(tmp_path, door)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, OPENAI_KEY),
        (400, ANTHROPIC_CREDIT),
        (412, SUSPENDED),
        (400, '{"error": "a sentence that is on no list"}'),
        (200, PAGE),
        (404, '{"error": "model m not found"}'),
    ],
)
def test_no_prompt_fails_at_a_door_that_is_shut_for_everybody(home, door, status, body):
    """They stay queued, no attempt is used up, and draining ends with a sentence and code 1."""
    door.status, door.body = status, body
    home.add(*(f"Number {n}" for n in range(PROMPTS)))
    code, said = home.spool("run", "--drain")
    assert code == 1, said
    assert "endpoint 'default' has never answered" in said or status == 200, said
    assert home.states == {"queued": PROMPTS}
    assert home.rows("SELECT DISTINCT attempts FROM prompts") == [(0,)]
    assert len([prompt for prompt in door.asked if prompt != "Hi"]) <= CONCURRENCY


def test_five_starts_at_a_shut_door_spend_prompts_once_and_the_sixth_does_them_all(home, door):
    """What the server said is known at the next start; that it is mended, the canary finds out."""
    door.status, door.body = 401, OPENAI_KEY
    home.add(*(f"Number {n}" for n in range(PROMPTS)))
    for start in range(5):
        before = sum(door.asked.values()) - door.asked["Hi"]
        code, said = home.spool("run", "--drain")
        assert code == 1, said
        spent = sum(door.asked.values()) - door.asked["Hi"] - before
        assert spent <= (0 if start else CONCURRENCY)
    door.status, door.body = 200, ANSWER
    code, said = home.spool("run", "--drain")
    assert (code, home.states) == (0, {"completed": PROMPTS}), said


def test_prompts_that_are_too_long_fail_and_take_no_other_with_them(home, door):
    """Each is asked twice; the others are answered."""
    good, bad = 30, 10
    home.add(*(f"Number {n}{' too long' if n % 4 == 0 else ''}" for n in range(good + bad)))
    code, said = home.spool("run", "--drain")
    assert code == 0, said
    assert home.states == {"completed": good, "failed": bad}
    assert home.rows("SELECT DISTINCT error_code FROM prompts WHERE status = 'failed'") == [
        ("context_exceeded",)
    ]


def test_a_worker_with_a_wrong_key_beside_a_right_one_fails_nothing(home, door):
    """The wrong one stops by itself, the right one does the whole queue; `status` tells of both."""
    door.right_key = "right"
    for name in ("right", "wrong"):
        home.settings(f"{name}.toml", door, 'api_key_env = "KEY"\n')
    home.add(*(f"Number {n}" for n in range(PROMPTS)))
    wrong = home.start("--config", "wrong.toml", "run", "--drain", KEY="typo")
    with wrong:
        code, said = home.spool("--config", "right.toml", "run", "--drain", KEY="right")
        wrong.communicate(timeout=END_SECONDS)
    assert (code, home.states) == (0, {"completed": PROMPTS}), said
    digests = home.rows("SELECT count(DISTINCT digest) FROM endpoint_states")
    assert digests == [(2,)]
