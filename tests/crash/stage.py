"""A database, a model server and real workers, for one test; all of them processes.

Tests here wait for what other processes do, and only with `until`: a bounded poll that says
what it waited for.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Self, TypeVar

from benchmarks.chaos import plan, tables
from benchmarks.chaos.audit import Audit
from benchmarks.chaos.evidence import Evidence, served_from
from benchmarks.chaos.stage import (
    ROOT,
    Harm,
    ModelServer,
    environment,
    events,
    python,
    run_spool,
    spool,
    write_config,
)
from tests.conftest import Client
from tests.fakes.patience import HANG_SECONDS

T = TypeVar("T")

PATIENCE_SECONDS = HANG_SECONDS
POLL_SECONDS = 0.03


def until(what: str, happened: Callable[[], T | None], *, seconds: float = PATIENCE_SECONDS) -> T:
    """Poll until it has happened, and return what it returned."""
    deadline = time.monotonic() + seconds
    while not (result := happened()):
        if time.monotonic() > deadline:
            raise AssertionError(f"within {seconds:g} s it never happened that {what}")
        time.sleep(POLL_SECONDS)
    return result


class WorkerProcess:
    """One `spool run`."""

    def __init__(self, command: list[str], folder: Path, number: int) -> None:
        self.log = folder / f"worker-{number}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.harms: list[Harm] = []
        self._paused_at = 0.0

    def kill(self) -> float:
        """SIGKILL; returns the epoch second."""
        now = time.time()
        self.process.kill()
        self.process.wait()
        self.harms.append(Harm(self.process.pid, "kill", now, now))
        return now

    def pause(self) -> None:
        """SIGSTOP."""
        self._paused_at = time.time()
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)
        self.harms.append(Harm(self.process.pid, "pause", self._paused_at, time.time()))

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to stop."""
        self.process.send_signal(number)

    def ended(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for its exit code; below zero for a signal."""
        until("the worker ends", lambda: self.process.poll() is not None, seconds=seconds)
        if self.process.returncode == -signal.SIGKILL:
            self.harms.append(Harm(self.process.pid, "kill", time.time(), time.time()))
        return self.process.returncode

    def said(self, event: str) -> list[dict[str, Any]]:
        """What it logged under that name."""
        return [line for line in events(self.log) if line.get("event") == event]

    def until_said(self, event: str) -> dict[str, Any]:
        """Wait for that event."""
        return until(f"a worker says {event}", lambda: self.said(event))[0]

    @property
    def output(self) -> str:
        """Everything it wrote."""
        return self.log.read_text()

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Stage:
    """Everything that one test needs; `with` ends it."""

    def __init__(self, folder: Path, url: str, sql: Client, **settings: float | str | bool) -> None:
        self.folder = folder
        self.url = url
        self.sql = sql
        self.server = ModelServer(folder, faults={})
        self.config = write_config(folder / "spool.toml", url, self.server.url, **settings)
        self.workers: list[WorkerProcess] = []
        self.max_crashes = int(settings.get("max_crashes", plan.MAX_CRASHES))
        self._added = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.close()
        self.server.close()

    # --- what a person does -------------------------------------------------------------------

    def add(self, *prompts: str, **columns: str) -> list[int]:
        """Queue prompts by plain SQL, as anybody may; returns their ids."""
        names = ", ".join(["custom_id", "prompt", *columns])
        for prompt in prompts:
            self._added += 1
            values = [f"p-{self._added}", prompt, *columns.values()]
            quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
            self.sql(f"INSERT INTO prompts ({names}) VALUES ({quoted})")
        return [row[0] for row in self.sql("SELECT id FROM prompts ORDER BY id")][-len(prompts) :]

    def start(self, *arguments: str) -> WorkerProcess:
        """A worker, `spool run` with these arguments."""
        return self._start(spool(self.config, "run", *arguments))

    def start_dying(self, step: str, *, nth: int = 1) -> WorkerProcess:
        """A worker that kills itself with SIGKILL at a step (see dying.py), the nth time."""
        arguments = ["--config", str(self.config), "run"]
        return self._start(python("-m", "tests.crash.dying", step, str(nth), *arguments))

    def _start(self, command: list[str]) -> WorkerProcess:
        self.workers.append(WorkerProcess(command, self.folder, len(self.workers)))
        return self.workers[-1]

    def drain(self) -> WorkerProcess:
        """A healthy worker that does everything that is left."""
        worker = self.start("--drain")
        assert worker.ended() == 0, worker.output
        return worker

    def expire(self) -> None:
        """Let the leases of the dead be over now; tests that are about leases wait instead."""
        self.sql("UPDATE workers SET lease_until = '2000-01-01 00:00:00'")

    def spool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Any other command."""
        return run_spool(self.config, *arguments)

    # --- what can be seen ---------------------------------------------------------------------

    def requests(self) -> list[dict[str, Any]]:
        """What the server has been asked, and what it has sent until now."""
        with urllib.request.urlopen(f"{self.server.url}/log", timeout=HANG_SECONDS) as answer:
            return [one for one in json.loads(answer.read()) if one["method"] == "POST"]

    def text(self, run_id: int) -> str:
        """The stored text of a run."""
        return "".join(
            text
            for (text,) in self.sql(
                f"SELECT text FROM chunks WHERE run_id = {run_id} AND kind = 'text' ORDER BY seq"
            )
        )

    def status(self, prompt_id: int) -> str:
        """The state of a prompt."""
        return self.sql.one(f"SELECT status FROM prompts WHERE id = {prompt_id}")

    def runs(self, prompt_id: int) -> list[tuple[int, str, str | None]]:
        """Id, state and error code of each run of a prompt, in order."""
        return self.sql(
            "SELECT id, status, error_code FROM runs"
            f" WHERE prompt_id = {prompt_id} ORDER BY attempt"
        )

    def until_text(self, prompt_id: int, *, chunks: int = 1) -> int:
        """Wait until so much of a running prompt is stored; returns the run."""
        found = until(
            f"prompt {prompt_id} has {chunks} chunks",
            lambda: self.sql(
                "SELECT r.id FROM runs r JOIN chunks c ON c.run_id = r.id"
                f" WHERE r.prompt_id = {prompt_id} AND r.status = 'streaming'"
                f" GROUP BY r.id HAVING COUNT(*) >= {chunks}"
            ),
        )
        return found[0][0]

    # --- the end ------------------------------------------------------------------------------

    def audit(self) -> Audit:
        """End everything and hold the tables against what the server sent; see chaos/audit.py."""
        for worker in self.workers:
            worker.close()
        self.server.close()
        connect = tables.connection(self.url)
        with closing(connect) as connection:
            found = tables.read(connection)
        evidence = Evidence(
            served_from(self.server.log),
            [harm for worker in self.workers for harm in worker.harms],
            [],
            [],
            added=self._added,
            max_crashes=self.max_crashes,
        )
        return Audit(found, evidence).check()


def sentence(audit: Audit) -> str:
    """Every finding."""
    return "\n".join(f"{promise}: {cases}" for promise, cases in audit.findings.items())


__all__ = ["ROOT", "Stage", "WorkerProcess", "sentence", "until"]
