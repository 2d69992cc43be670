"""Lets the plan happen, each act at its time.

One thread watches the clock and the workers; what takes longer than a moment has a short
thread of its own.
"""

from __future__ import annotations

import sqlite3
import subprocess
import threading
import time
from bisect import insort
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import psycopg

from benchmarks.chaos import plan
from benchmarks.chaos.clock import Clock
from benchmarks.chaos.databases import Database
from benchmarks.chaos.plan import Act, Plan, What
from benchmarks.chaos.stage import Crew, ModelServer, run_spool

TICK_SECONDS = 0.05
TELL_SECONDS = 20.0
ADD_TRIES = 60
POSTPONE_SECONDS = 1.0

NOW = {
    True: "strftime('%Y-%m-%d %H:%M:%f', 'now')",
    False: "clock_timestamp()",
}


@dataclass
class Play:
    """One performance of a plan.

    Attributes:
        done: how often each kind of act really happened.
        cancelled_by_hand: prompts whose status was overwritten by somebody else.
        cancelled_at: prompt -> epoch second at which its cancellation was asked for.
    """

    plan: Plan
    crew: Crew
    server: ModelServer
    database: Database
    clock: Clock
    config: Path
    slices: list[Path]
    say: Callable[[str], None]
    forget: Callable[[], None] = lambda: None  # what was seen, when the database goes back
    done: Counter = field(default_factory=Counter)
    cancelled_by_hand: set[int] = field(default_factory=set)
    cancelled_at: dict[int, float] = field(default_factory=dict)
    added: int = 0
    drained: bool = False

    def __post_init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._copies: set[int] = set()
        self._slices_added: set[int] = set()
        self._dice = Random(self.plan.seed)
        self._sqlite = self.database.url.startswith("sqlite")
        self._lock = threading.Lock()
        self._database_busy = threading.Lock()
        self._server_busy = threading.Lock()

    def perform(self) -> None:
        """Chaos, then peace until everything is final or the time is over."""
        began = time.monotonic()
        acts, told_at = list(self.plan.acts), began
        while (now := time.monotonic() - began) < self.plan.chaos_seconds or acts:
            while acts and acts[0].at <= now:
                act = acts.pop(0)
                if not self._act(act):
                    insort(acts, replace(act, at=now + POSTPONE_SECONDS))
            self.crew.tick()
            self.server.check()
            time.sleep(TICK_SECONDS)
            if time.monotonic() - told_at > TELL_SECONDS:
                told_at = time.monotonic()
                self.say(f"{now:5.0f} s  {self._progress()}; {_told(self.done)}")
        for thread in self._threads:
            thread.join(max(0.0, began + self.plan.total_seconds - time.monotonic()))
        self.say(f"{time.monotonic() - began:5.0f} s  draining: {self._progress()}")
        while time.monotonic() - began < self.plan.total_seconds and not self.drained:
            self.crew.tick()
            self.server.check()
            time.sleep(TICK_SECONDS * 4)
            self.drained = self._left() == 0
        self.say(f"{time.monotonic() - began:5.0f} s  drained: {self.drained}")

    def _act(self, act: Act) -> bool:
        """Do it; False if it cannot be done just now, because every worker is down."""
        match act.what:
            case What.KILL | What.PAUSE | What.TERM:
                worked = self._harm_worker(act)
                self.done[act.what] += worked
                return worked
            case What.ADD:
                self._beside(self._add, act.index)
            case What.CLOCK:
                self.done[act.what] += self.clock.step(act.seconds)
            case What.DATABASE:
                self._beside(self._harm_database, act.seconds)
            case What.SNAPSHOT | What.WENT_BACK | What.READ_ONLY | What.LOCK:
                self._beside(self._meddle, act)
            case What.DOWN:
                self._beside(self._server_down, act.seconds)
            case _:
                self._beside(self._cancel, act.what)
        return True

    def _harm_worker(self, act: Act) -> bool:
        match act.what:
            case What.KILL:
                return self.crew.kill(act.index)
            case What.PAUSE:
                return self.crew.pause(act.index, act.seconds)
        return self.crew.stop(act.index, act.seconds)

    def _meddle(self, act: Act) -> None:
        """What strangers and backups do to a database; a copy that is not made is not put back."""
        with self._database_busy:
            match act.what:
                case What.SNAPSHOT:
                    self.database.snapshot(act.index)
                    self._copies.add(act.index)
                case What.READ_ONLY:
                    if not self.database.read_only(act.index, act.seconds):
                        return
                case What.LOCK:
                    self.database.lock(act.index, act.seconds)
                case What.WENT_BACK:
                    if act.index not in self._copies:
                        return
                    self.database.go_back(act.index, self.forget)
        self._count(act.what)
        if act.what is What.WENT_BACK:  # whoever restores a backup adds again what came since
            for index in sorted(self._slices_added):
                self._put(index)

    def _beside(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        thread.start()
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]

    def _harm_database(self, seconds: float) -> None:
        with self._database_busy:
            self.database.harm(seconds)
        self._count(What.DATABASE)

    def _server_down(self, seconds: float) -> None:
        with self._server_busy:
            self.server.down(seconds)
        self._count(What.DOWN)

    def _count(self, what: What) -> None:
        with self._lock:
            self.done[what] += 1

    def _add(self, index: int) -> None:
        self._put(index)
        with self._lock:
            self.added += len(self.slices[index].read_text().splitlines())
            self._slices_added.add(index)
            self.done[What.ADD] += 1

    def _put(self, index: int) -> None:
        """Add a slice until it is said to be there: adding twice adds nothing twice."""
        for _ in range(ADD_TRIES):
            with suppress(subprocess.TimeoutExpired):
                path = str(self.slices[index])
                source = self.crew.source
                adding = run_spool(self.config, "add", path, "--batch", plan.BATCH, source=source)
                if adding.returncode == 0:
                    break
            time.sleep(0.5)

    def _cancel(self, how: What) -> None:
        running = self._rows("SELECT id FROM prompts WHERE status = 'running' ORDER BY id")
        if not running:
            return
        with self._lock:
            (prompt_id,) = self._dice.choice(running)
        self.cancelled_at[prompt_id] = time.time()
        if how is What.CANCEL:
            worked = self._cancel_by_command(prompt_id)
        else:
            worked = self._change(prompt_id, how)
        if worked:
            self._count(how)

    def _cancel_by_command(self, prompt_id: int) -> bool:
        done = run_spool(self.config, "cancel", str(prompt_id), source=self.crew.source)
        return done.returncode == 0

    def _change(self, prompt_id: int, how: What) -> bool:
        now = NOW[self._sqlite]
        change = f"cancel_requested_at = {now}"
        if how is What.CANCEL_HAND:
            self.cancelled_by_hand.add(prompt_id)  # first: nobody knows whether it will work
            change = f"status = 'cancelled', finished_at = {now}"
        with suppress(psycopg.Error, sqlite3.Error), closing(self.database.connect()) as client:
            changed = client.execute(
                f"UPDATE prompts SET {change} WHERE id = {prompt_id} AND status = 'running'"
            )
            return bool(changed.rowcount)
        return False

    def _rows(self, question: str) -> list[Any]:
        with suppress(psycopg.Error, sqlite3.Error), closing(self.database.connect()) as client:
            return client.execute(question).fetchall()
        return []

    def _left(self) -> int | None:
        rows = self._rows("SELECT COUNT(*) FROM prompts WHERE finished_at IS NULL")
        return rows[0][0] if rows else None

    def _progress(self) -> str:
        rows = self._rows("SELECT status, COUNT(*) FROM prompts GROUP BY status ORDER BY status")
        return ", ".join(f"{count} {status}" for status, count in rows)


def _told(done: Counter) -> str:
    return ", ".join(f"{count} {what}" for what, count in done.items())
