"""What a person sees while `spool run` works: one line that moves, and above it what matters.

Fifty thousand runs are fifty thousand events, which is what a log is for and not what a person
can read.  On a terminal single runs are counted in the line, the first failure of each kind is
told in full, and whatever concerns the worker, an endpoint or the database is told as always.
`-v`, `--json`, another `log_format` than `auto`, or standard error in a file: every event is a
line, as `docs/operations.md` lists them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol

from worker.clock import Clock
from worker.diagnosis.phrases import counted, span
from worker.diagnosis.wait_reasons import Endpoints, Queue, endpoints_of, of_worker
from worker.endpoints.breaker import Breaker, BreakerState
from worker.errors import StoreError

if TYPE_CHECKING:
    from worker.supervisor.worker import Worker

SHOW_SECONDS = 0.5
LOOK_SECONDS = 2.0
_LOOK_SHARE = 20  # a look at the queue costs at most a twentieth of the time between two
_WINDOW_SECONDS = 30.0  # over which rates are taken
_LISTED = 5
_CLEAR = "\r\x1b[2K"
_ROUTINE = frozenset({"run_completed", "run_cancelled"})
_TROUBLE = frozenset({"run_interrupted", "run_failed", "run_lost"})


class Terminal(Protocol):
    """Standard error, if a person watches it."""

    def write(self, text: str, /) -> object:
        """Write text."""
        ...

    def flush(self) -> None:
        """Let it be seen."""
        ...

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        ...


class StatusLine:
    """A terminal with a last line of its own: what is written appears above it."""

    def __init__(
        self, terminal: Terminal, *, foreground: Callable[[], bool] = lambda: True
    ) -> None:
        """foreground: whether this process has the terminal; a line that moves is for no other."""
        self._terminal = terminal
        self._foreground = foreground
        self._shown = ""
        self._lock = threading.Lock()  # events come from any thread

    def write(self, text: str) -> int:
        """Write whole lines above the status line."""
        with self._lock:
            self._terminal.write(f"{_CLEAR if self._shown else ''}{text}{self._shown}")
        return len(text)

    def flush(self) -> None:
        """Let it be seen."""
        self._terminal.flush()

    def isatty(self) -> bool:
        """Whether it may have colours."""
        return self._terminal.isatty()

    def show(self, text: str) -> None:
        """Replace the status line; an empty text takes it away."""
        columns = shutil.get_terminal_size().columns
        if not self._foreground():
            text = ""
        with self._lock:
            if not (text or self._shown):
                return
            before = _CLEAR if self._shown else ""
            self._shown = text[: columns - 1]
            self._terminal.write(before + self._shown)
            self._terminal.flush()


def in_foreground() -> bool:
    """Whether the shell has given the terminal of standard error to this process."""
    try:
        return os.tcgetpgrp(sys.stderr.fileno()) == os.getpgrp()
    except (AttributeError, OSError):
        return True  # a system without job control


class Log(Protocol):
    """Where events go."""

    def __call__(self, event: str, **values: object) -> None:
        """Report one."""
        ...


class Sparing:
    """A log for people: of single runs it tells only the first failure of each kind."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._told: set[tuple[str, object]] = set()

    def __call__(self, event: str, **values: object) -> None:
        """Report an event, unless it is one of thousands."""
        if event in _ROUTINE:
            return
        if event in _TROUBLE:
            kind = (event, values.get("error_code"))
            if kind in self._told:
                return
            self._told.add(kind)
        self._log(event, **{name: _brief(value) for name, value in values.items()})

    def bind(self, **_values: object) -> Log:
        """The same: a terminal has one worker, whose id need not stand in every line."""
        return self


def _brief(value: object) -> object:
    """A list that would fill the screen is told by its length."""
    return len(value) if isinstance(value, list) and len(value) > _LISTED else value


class RunProgress:
    """Keeps the status line of a worker up to date."""

    def __init__(
        self,
        store: Queue,
        names: Collection[str],
        line: StatusLine,
        clock: Clock,
        *,
        grace_seconds: float,
    ) -> None:
        """names: the endpoints that are served; grace_seconds: `shutdown_grace_seconds`."""
        self._store = store
        self._names = names
        self._line = line
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._left: int | None = None
        self._waiting = ""  # for what, while nothing streams
        self._past: deque[tuple[float, int, int | None]] = deque()

    async def follow(self, worker: Worker) -> None:
        """Show how it goes until cancelled."""
        look_at = 0.0
        try:
            while True:
                now = self._clock.monotonic()
                if now >= look_at:
                    idle = None if worker.carried else endpoints_of(worker, self._clock)
                    self._left = await asyncio.to_thread(self._look, idle)
                    took = self._clock.monotonic() - now
                    look_at = now + max(LOOK_SECONDS, took * _LOOK_SHARE)
                self._line.show(self.words(worker))
                await self._clock.sleep(SHOW_SECONDS)
        finally:
            self._line.show("")

    def _look(self, idle: Endpoints | None = None) -> int | None:
        """How many prompts are not finished; None if the database does not say.

        idle: how the endpoints of a worker stand that streams nothing.
        """
        self._waiting = ""
        try:
            backlog = self._store.backlog(self._names)
            if idle is not None:
                self._waiting = of_worker(backlog, idle, self._store.workers()).words
        except StoreError:
            return None  # the worker meets it too, and reports it
        return backlog.ready + backlog.later + backlog.running

    def words(self, worker: Worker) -> str:
        """The line at this moment."""
        health, done = worker.health(), worker.summary
        if health.stopping and not health.runs:
            return ""
        if health.stopping:
            streams = counted(health.runs, "stream")
            return (
                f"stopping: {streams} may finish within {self._grace_seconds:g} s;"
                " Ctrl-C again hands them back now"
            )
        # A narrow window cuts the end off: what matters most stands first.
        parts = ["the database is away"] if health.database_away else []
        waiting = "" if health.runs or health.database_away else self._waiting
        parts += [waiting] if waiting else self._down(worker)
        rate, time_left = self._pace(done.completed)
        parts.append(f"{done.completed:,} completed" + (f" ({rate:.1f}/s)" if rate else ""))
        if done.failed:
            parts.append(f"{done.failed:,} failed")
        if self._left is not None and not waiting:
            parts.append(f"{self._left:,} to do{time_left}" if self._left else "nothing left to do")
        if not waiting:
            parts.append(f"{health.runs:,} streaming")
        if done.requeued:
            parts.append(f"{done.requeued:,} tried again")
        return ", ".join(parts)

    def _down(self, worker: Worker) -> list[str]:
        now = self._clock.monotonic()
        return [
            f"{name} {_standing(watch.breaker, now)}"
            for name, watch in worker.watches.items()
            if watch.breaker.state is not BreakerState.CLOSED
        ]

    def _pace(self, completed: int) -> tuple[float, str]:
        """Completed a second here, and how long all workers together will take."""
        now = self._clock.monotonic()
        self._past.append((now, completed, self._left))
        while now - self._past[0][0] > _WINDOW_SECONDS:
            self._past.popleft()
        then, completed_then, left_then = self._past[0]
        seconds = now - then
        if seconds < LOOK_SECONDS:
            return 0.0, ""
        gone = 0 if self._left is None or left_then is None else left_then - self._left
        left = f", about {span(self._left * seconds / gone)}" if gone > 0 and self._left else ""
        return (completed - completed_then) / seconds, left


def _standing(breaker: Breaker, now: float) -> str:
    """What an endpoint does that is not simply up."""
    if breaker.state is BreakerState.OPEN:
        return "is down"
    return "asks for patience" if now < breaker.waits_until else "is being tried"


def wanted(*, log_format: str, log_level: str, verbose: bool, as_json: bool) -> bool:
    """Whether a person watches and has not asked for every event."""
    ordinary = log_format == "auto" and log_level != "debug"
    return ordinary and not verbose and not as_json and sys.stderr.isatty()
