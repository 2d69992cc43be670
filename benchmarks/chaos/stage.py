"""The processes of the experiment: a model server, workers, a database.

Every process is started here and ended here, by its id; those that would outlive a killed
experiment are told by the kernel to end with it.  Nothing but 127.0.0.1 and a Unix socket
is ever spoken to.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos import plan

ROOT = Path(__file__).resolve().parent.parent.parent
RESTART_SECONDS = 0.3  # after a worker that ended by itself, as a supervisor would
TERM_SECONDS = 30.0


# Becomes what its arguments say, after asking the kernel to end it together with its parent.
_BOUND = "import ctypes,os,sys;ctypes.CDLL(None).prctl(1,9);os.execv(sys.executable,sys.argv[1:])"


def python(*arguments: str) -> list[str]:
    """The command line of a Python that does not outlive this process (where Linux helps)."""
    plain = [sys.executable, *arguments]
    if sys.platform != "linux":
        return plain
    return [sys.executable, "-I", "-S", "-c", _BOUND, *plain]


def environment(source: Path = ROOT) -> dict[str, str]:
    """What children see: a checkout, this one, and no settings of the person who runs it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SPOOL_")}
    return {**kept, "PYTHONPATH": str(source), "PYTHONUNBUFFERED": "1"}


def spool(config: Path, *arguments: str) -> list[str]:
    """The command line of `spool`, out of the checkout that `environment` names."""
    return python("-m", "worker", "--config", str(config), *arguments)


def run_spool(
    config: Path, *arguments: str, timeout: float = 60.0, source: Path = ROOT
) -> subprocess.CompletedProcess:
    """Run one command of `spool` to its end."""
    return subprocess.run(
        spool(config, *arguments),
        cwd=config.parent,
        env=environment(source),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def write_config(
    path: Path, database_url: str, server_url: str, **settings: float | str | bool
) -> Path:
    """A settings file with the endpoints of the plan."""
    values = {
        "lease_seconds": plan.LEASE_SECONDS,
        "flush_seconds": plan.FLUSH_SECONDS,
        "shutdown_grace_seconds": 5,
        "poll_seconds": 0.5,
        "max_attempts": plan.MAX_ATTEMPTS,
        "max_crashes": plan.MAX_CRASHES,
        "max_frame_bytes": plan.MAX_FRAME_BYTES,
        "busy_timeout_seconds": 10,
        **settings,
    }
    lines = [f"database_url = {json.dumps(database_url)}"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    for name, (dialect, path_below, concurrency) in plan.ENDPOINTS.items():
        lines += [
            f"[endpoints.{name}]",
            f'dialect = "{dialect}"',
            f'base_url = "{server_url}{path_below}"',
            'model = "fake"',
            f"concurrency = {concurrency}",
            f"idle_timeout_seconds = {plan.IDLE_TIMEOUT_SECONDS}",
            f"first_frame_timeout_seconds = {plan.FIRST_FRAME_TIMEOUT_SECONDS}",
        ]
    path.write_text("\n".join(lines) + "\n")
    return path


class ModelServer:
    """The misbehaving server, in a process of its own."""

    def __init__(self, folder: Path, *, seed: int = 0, faults: Mapping[str, float]) -> None:
        self.log = folder / "server.jsonl"
        self.outages: list[tuple[float, float]] = []  # monotonic seconds
        arguments = ["--log", str(self.log), "--seed", str(seed), "--behaviour", "own=1"]
        arguments += ["--faults", ",".join(f"{name}={chance}" for name, chance in faults.items())]
        self._process = subprocess.Popen(
            python("-m", "tests.fakes.server", *arguments),
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url: str = json.loads(self._process.stdout.readline())["url"]

    def down(self, seconds: float) -> None:
        """Refuse connections, and reset those there are, for so long."""
        began = time.monotonic()
        self._tell("down")
        time.sleep(seconds)
        self._tell("up")
        self.outages.append((began, time.monotonic() + 0.5))

    def check(self) -> None:
        """Raise if somebody else has ended it: without its log nothing can be judged."""
        if self._process.poll() is not None:
            raise SystemExit(f"the model server ended by itself, with {self._process.returncode}")

    def close(self) -> None:
        """End it; its log is complete then."""
        with suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=10)
        self._process.kill()
        self._process.wait()

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()


@dataclass
class Harm:
    """What was done to one worker process; times are epoch seconds."""

    pid: int
    kind: str
    began: float
    ended: float


@dataclass
class Slot:
    """A place for one worker, and the process that fills it now."""

    process: subprocess.Popen
    resume_at: float | None = None
    began: float = 0.0
    restart_at: float | None = None
    kill_at: float | None = None  # it was told to stop, and has until then


@dataclass
class Crew:
    """So many workers; one that is killed is replaced at once."""

    config: Path
    size: int
    harms: list[Harm] = field(default_factory=list)
    exits: Counter = field(default_factory=Counter)  # exit codes of workers that ended themselves
    source: Path = ROOT
    clock: Mapping[str, str] = field(default_factory=dict)  # see clock.py

    def __post_init__(self) -> None:
        self._logs = [self.config.parent / f"worker-{n}.log" for n in range(self.size)]
        self._slots = [Slot(self._start(n)) for n in range(self.size)]

    def _start(self, index: int) -> subprocess.Popen:
        with self._logs[index].open("a") as log:
            return subprocess.Popen(
                spool(self.config, "run"),
                cwd=self.config.parent,
                env={**environment(self.source), **self.clock},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pids(self) -> list[int]:
        """The processes that work, or pause."""
        return [slot.process.pid for slot in self._slots]

    def kill(self, index: int) -> bool:
        """SIGKILL, and a new worker in its place; False if there is nobody to kill."""
        victim = self._victim(index, paused=True)
        if victim is None:
            return False
        slot = self._slots[victim]
        now = time.time()
        if slot.resume_at is not None:  # it was paused: nobody will resume it
            self.harms.append(Harm(slot.process.pid, "pause", slot.began, now))
        slot.process.kill()
        slot.process.wait()
        self.harms.append(Harm(slot.process.pid, "kill", now, now))
        self._slots[victim] = Slot(self._start(victim))
        return True

    def stop(self, index: int, seconds: float) -> bool:
        """SIGTERM; `tick` kills it if it has not ended after so long.  False if nobody is there."""
        victim = self._victim(index, paused=False)
        if victim is None or self._slots[victim].kill_at is not None:
            return False
        slot = self._slots[victim]
        now = time.time()
        slot.process.terminate()
        slot.kill_at = time.monotonic() + seconds
        self.harms.append(Harm(slot.process.pid, "term", now, now))
        return True

    def pause(self, index: int, seconds: float) -> bool:
        """SIGSTOP; `tick` resumes it when the time is over.  False if there is nobody to stop."""
        victim = self._victim(index, paused=False)
        if victim is None:
            return False
        slot = self._slots[victim]
        slot.process.send_signal(signal.SIGSTOP)
        slot.began, slot.resume_at = time.time(), time.monotonic() + seconds
        return True

    def _victim(self, index: int, *, paused: bool) -> int | None:
        """The worker that was drawn, or the next one that lives and, unless `paused`, moves."""
        for distance in range(self.size):
            slot = self._slots[at := (index + distance) % self.size]
            if slot.process.poll() is None and (paused or slot.resume_at is None):
                return at
        return None

    def tick(self) -> None:
        """Resume who has been paused long enough, replace who ended."""
        for index, slot in enumerate(self._slots):
            now = time.monotonic()
            if slot.resume_at is not None and now >= slot.resume_at:
                slot.resume_at = None
                slot.process.send_signal(signal.SIGCONT)
                self.harms.append(Harm(slot.process.pid, "pause", slot.began, time.time()))
            if slot.kill_at is not None and now >= slot.kill_at and slot.process.poll() is None:
                self.kill(index)
                continue
            if slot.process.poll() is None:
                continue
            if slot.restart_at is None:
                self.exits[slot.process.returncode] += 1
                slot.restart_at = now + RESTART_SECONDS
            elif now >= slot.restart_at:
                self._slots[index] = Slot(self._start(index))

    def dismiss(self) -> list[int]:
        """SIGTERM to all; their exit codes."""
        for slot in self._slots:
            slot.process.send_signal(signal.SIGCONT)
            slot.process.terminate()
        codes = []
        for slot in self._slots:
            try:
                codes.append(slot.process.wait(TERM_SECONDS))
            except subprocess.TimeoutExpired:
                slot.process.kill()
                codes.append(slot.process.wait())
        return codes

    def close(self) -> None:
        """Leave nobody behind, however the experiment ends."""
        for slot in self._slots:
            if slot.process.poll() is None:
                slot.process.kill()
                slot.process.wait()

    def logged(self) -> Iterator[dict]:
        """The events that all workers logged."""
        for path in self._logs:
            yield from events(path)


def events(path: Path) -> Iterator[dict]:
    """The events in one log; a line that a kill cut short is left out."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with suppress(ValueError):
                yield json.loads(line)
