"""`spool` as a person would type it, in an empty directory where nobody has configured anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.cli.schemas import check
from tests.house.tree import ROOT
from worker.cli import cli


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The only object that it printed."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    def matches(self, schema: str):
        """Check every line against docs/json, and return the objects."""
        objects = [json.loads(line) for line in self.out.splitlines()]
        for each in objects:
            check(each, schema)
        return objects

    def fails(self, sentence: str, code: int = 1) -> None:
        """It said one sentence that holds these words, nothing else, and left with the code."""
        assert self.code == code, (self.code, self.out, self.err)
        assert sentence in self.err
        assert "Traceback" not in self.err
        assert self.out == ""
        assert self.err.startswith("spool: ")
        assert self.err.count("\n") == 1


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    for name in list(os.environ):
        if name.upper().startswith(("SPOOL_", "_SPOOL")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def spool() -> Callable[..., Said]:
    """Runs `spool` with these arguments."""

    def run(*args: object, stdin: str | bytes | None = None) -> Said:
        result = CliRunner().invoke(cli, [str(each) for each in args], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def on(spool: Callable[..., Said], database_url: str) -> Callable[..., Said]:
    """Runs `spool` on a migrated database of each kind."""

    def run(*args: object, stdin: str | bytes | None = None) -> Said:
        return spool("--database-url", database_url, *args, stdin=stdin)

    return run


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    """A model server in a process of its own."""
    command = [sys.executable, "-m", "tests.fakes.server", "--port", "0"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin
        assert server.stdout
        yield json.loads(server.stdout.readline())["url"]
        server.stdin.close()
