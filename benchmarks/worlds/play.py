"""Plays one world from its first second to its last, and counts."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.worlds import source
from benchmarks.worlds.loop import EPOCH, WorldClock, WorldLoop
from benchmarks.worlds.network import Network
from benchmarks.worlds.tally import Tally
from benchmarks.worlds.world import MODEL, URL, Start, World

LOOK_SECONDS = 5.0  # between two looks whether the queue is done
LINGER_SECONDS = 2.0  # after the first request to stop
MEMORY = Path("/dev/shm")
ENDPOINT = {"dialect": "openai-chat", "base_url": URL, "model": MODEL, "api_key_env": "WORLD_KEY"}
KEY = "sk-right-key"
WRONG_KEY = "sk-wrong-key"


@dataclass
class Outcome:
    """What became of a world.

    Attributes:
        failed: innocent prompts that failed, by error code; `guilty_failed` the others.
        left: prompts that were not final when the world ended.
        runs: that the store has.
        end: seconds until the last prompt was final; None if some are left.
        innocents_end, guilty_end: the same for the prompts of either kind; None if there is none.
        full: seconds from the cure to full speed; None if that never came, or there is no cure.
        said: events of the workers, counted.
        sentences: the errors of failed innocent prompts, counted.
        ended: how processes ended by themselves.
        real_seconds: that it took to play.
    """

    world: str
    seed: int
    innocents: int = 0
    completed: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    guilty: int = 0
    guilty_failed: dict[str, int] = field(default_factory=dict)
    left: int = 0
    runs: int = 0
    requests: int = 0
    paid_twice: int = 0
    canaries: int = 0
    canary_tokens: int = 0
    probes: int = 0
    end: float | None = None
    full: float | None = None
    innocents_end: float | None = None
    guilty_end: float | None = None
    said: dict[str, int] = field(default_factory=dict)
    sentences: dict[str, int] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    real_seconds: float = 0.0

    @property
    def innocents_failed(self) -> int:
        return sum(self.failed.values())


def play(world: World, *, seed: int = 0, log: source.Log | None = None) -> Outcome:
    """Play it once; the same seed, the same outcome."""
    began = time.perf_counter()
    place = Path(tempfile.mkdtemp(prefix="world-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        (place / "spool.db").write_bytes(_empty())
        url = f"sqlite:///{place / 'spool.db'}"
        with asyncio.Runner(loop_factory=WorldLoop) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, WorldLoop)
            game = _Game(world, loop, seed, place, url, log)
            with source.replaced(loop), _environment():
                runner.run(game.play())
        outcome = game.outcome
        _read(outcome, place / "spool.db", game.innocent)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    outcome.real_seconds = round(time.perf_counter() - began, 2)
    return outcome


@contextmanager
def _environment() -> Iterator[None]:
    """The keys of the worlds, and no proxy."""
    with mock.patch.dict(
        os.environ, {source.KEY_VARIABLE: KEY, source.WRONG_KEY_VARIABLE: WRONG_KEY}
    ):
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            del os.environ[name]
        yield


@cache
def _empty() -> bytes:
    """A database file without prompts, made once."""
    with tempfile.TemporaryDirectory(prefix="world-empty-") as name:
        source.new_database(Path(name))
        with closing(sqlite3.connect(Path(name) / "spool.db")) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return (Path(name) / "spool.db").read_bytes()


class _Game:
    def __init__(
        self, world: World, loop: WorldLoop, seed: int, place: Path, url: str, log: Any
    ) -> None:
        self._world = world
        self._loop = loop
        self._seed = seed
        self._place = place
        self._url = url
        self._log = log
        self._said: Counter[str] = Counter()
        self._started = 0
        self._over = asyncio.Event()
        self.innocent: set[int] = set()
        self.outcome = Outcome(world.name, seed)
        innocents = sum(ask.count for ask in world.asks if not ask.kind)
        self._tally = Tally(
            loop, innocents=innocents, at_a_time=world.at_a_time, cure_at=world.cure_at
        )
        self._network = Network(world.servers(loop, self._tally), cut_off=world.cut_off)

    async def play(self) -> None:
        world, outcome = self._world, self.outcome
        self._queue()
        lives = [asyncio.create_task(self._live(start)) for start in world.starts]
        await self._until_done(lives)
        self._over.set()
        await asyncio.gather(*lives)
        tally = self._tally
        outcome.requests, outcome.probes = tally.requests, tally.probes
        outcome.canaries, outcome.canary_tokens = tally.canaries, tally.canary_tokens
        outcome.paid_twice = tally.paid - tally.kept
        if tally.full_at is not None and world.cure_at is not None:
            outcome.full = tally.full_at - world.cure_at
        outcome.said = dict(self._said)

    def _queue(self) -> None:
        prompts = [ask for ask in self._world.asks for _ in range(ask.count)]
        if self._world.shuffled:
            random.Random(f"queue {self._seed}").shuffle(prompts)
        rows = []
        for number, ask in enumerate(prompts, 1):
            text = f"#{number} {ask.seconds:g} {ask.kind}".rstrip()
            rows.append({"prompt": text, "custom_id": str(number), "batch": ask.batch, **ask.more})
            if not ask.kind:
                self.innocent.add(number)
        store = source.open_store(self._url)
        source.queue(store, rows)
        store.close()
        self.outcome.innocents = len(self.innocent)
        self.outcome.guilty = len(rows) - len(self.innocent)

    async def _until_done(self, lives: list[asyncio.Task[None]]) -> None:
        with closing(sqlite3.connect(self._place / "spool.db", isolation_level=None)) as database:
            while self._loop.seconds < self._world.horizon:
                await asyncio.sleep(LOOK_SECONDS)
                open_ = "SELECT 1 FROM prompts WHERE status IN ('queued', 'running') LIMIT 1"
                if database.execute(open_).fetchone() is None:
                    return
                if all(life.done() for life in lives):
                    return

    async def _live(self, start: Start) -> None:
        """The life of one process, and of those that a supervisor starts in its place."""
        await self._pause(start.at - self._loop.seconds)
        while not self._over.is_set():
            ended = await self._process(start)
            if ended:
                self.outcome.ended.append(f"{self._loop.seconds:.0f} s: {ended}")
            if start.again_after is None or self._is_past(start):
                return
            await self._pause(start.again_after)

    def _is_past(self, start: Start) -> bool:
        return start.until is not None and self._loop.seconds >= start.until

    async def _process(self, start: Start) -> str:
        """How it ended, if that was by itself."""
        self._started += 1
        name = f"w{self._started}"
        clock = WorldClock(self._loop, (self._seed, name))
        place = self._place / name
        place.mkdir()
        endpoint = {**ENDPOINT, **self._world.endpoint, **start.endpoint}
        settings = source.settings(place, self._url, self._world.settings, endpoint)
        store = source.open_store(self._url)
        try:
            async with source.process(
                settings, store, clock, self._network, start.host, name, self._note(name)
            ) as worker:
                task = asyncio.create_task(worker.run(drain=start.drain))
                left = None if start.until is None else start.until - self._loop.seconds
                over = asyncio.ensure_future(self._over.wait())
                await asyncio.wait({task, over}, timeout=left, return_when="FIRST_COMPLETED")
                over.cancel()
                by_itself = task.done()
                if not by_itself:
                    worker.stop()
                    await asyncio.wait({task}, timeout=LINGER_SECONDS)
                    worker.stop()
                try:
                    await task
                except Exception as error:  # noqa: BLE001 - how `spool run` would end
                    return f"{type(error).__name__}: {error}"
                return "done" if by_itself and start.drain else ""
        finally:
            store.close()

    def _note(self, name: str) -> source.Log:
        def note(event: str, **values: object) -> None:
            self._said[event] += 1
            if self._log is not None:
                self._log(event, at=round(self._loop.seconds, 3), worker=name, **values)

        return note

    async def _pause(self, seconds: float) -> None:
        """So long, or until the world is over."""
        if seconds > 0 and not self._over.is_set():
            over = asyncio.ensure_future(self._over.wait())
            await asyncio.wait({over}, timeout=seconds)
            over.cancel()


def _read(outcome: Outcome, file: Path, innocent: set[int]) -> None:
    """What the database says in the end."""
    with closing(sqlite3.connect(file)) as database:
        (outcome.runs,) = database.execute("SELECT count(*) FROM runs").fetchone()
        rows = database.execute(
            "SELECT custom_id, status, error_code, error, finished_at FROM prompts"
        ).fetchall()
    ends: dict[bool, float] = {}
    failed: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    sentences: Counter[str] = Counter()
    for custom_id, status, code, error, at in rows:
        is_innocent = int(custom_id) in innocent
        if status in {"queued", "running"}:
            outcome.left += 1
        elif status == "completed":
            outcome.completed += is_innocent
        else:
            failed[is_innocent][code or ""] += 1
            sentences[(error or "")[:160]] += is_innocent
        if at is not None:
            seconds = (datetime.fromisoformat(f"{at}+00:00") - EPOCH).total_seconds()
            ends[is_innocent] = max(ends.get(is_innocent, 0.0), seconds)
    outcome.failed, outcome.guilty_failed = dict(failed[True]), dict(failed[False])
    outcome.sentences = {said: count for said, count in sentences.most_common(5) if count}
    outcome.end = None if outcome.left else max(ends.values())
    outcome.innocents_end, outcome.guilty_end = ends.get(True), ends.get(False)
