"""The tables as anybody could read them: plain SQL, no code of the worker.

Whatever the program believes of itself, this is what its user finds in the morning.
Times are epoch seconds.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

WATCH_SECONDS = 0.5


@dataclass(frozen=True)
class PromptRow:
    """A row of `prompts`."""

    id: int
    custom_id: str
    prompt: str
    status: str
    attempts: int
    crashes: int
    runs: int
    run_id: int | None
    error_code: str | None
    error: str | None
    available_at: float
    cancel_requested_at: float | None
    finished_at: float | None


@dataclass(frozen=True)
class RunRow:
    """A row of `runs`."""

    id: int
    prompt_id: int
    attempt: int
    worker_id: str
    status: str
    started_at: float
    finished_at: float | None
    completion_tokens: int | None
    chars: int
    chunks: int
    request_id: str | None
    error_code: str | None
    error: str | None
    done_frame: bool
    continues_run_id: int | None = None
    carried_chars: int | None = None
    carried_chunks: int | None = None


@dataclass(frozen=True)
class ChunkRow:
    """A row of `chunks`."""

    seq: int
    kind: str
    text: str
    created_at: float


@dataclass
class Tables:
    """Everything, read once at the end."""

    prompts: dict[int, PromptRow]
    runs: dict[int, RunRow]
    chunks: dict[int, list[ChunkRow]]
    pids: dict[str, int]  # worker id -> pid
    leases: dict[str, float] = field(default_factory=dict)

    def text(self, run_id: int, kind: str = "text") -> str:
        """The text of a run, as the views concatenate it."""
        return "".join(chunk.text for chunk in self.chunks.get(run_id, []) if chunk.kind == kind)

    def moments(self) -> Iterable[float]:
        """When anything was written, as far as the rows tell."""
        for run in self.runs.values():
            yield run.started_at
            if run.finished_at is not None:
                yield run.finished_at
        for chunks in self.chunks.values():
            yield from (chunk.created_at for chunk in chunks)

    def runs_of(self, prompt_id: int) -> list[RunRow]:
        """In the order in which they were started."""
        return sorted(
            (run for run in self.runs.values() if run.prompt_id == prompt_id),
            key=lambda run: run.attempt,
        )


def connection(url: str) -> Any:
    """A plain connection of the driver, in autocommit mode."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        return sqlite3.connect(path, isolation_level=None, timeout=10)
    return psycopg.connect(url, autocommit=True, connect_timeout=5)


def _epoch(value: Any) -> Any:
    if isinstance(value, str):
        value = datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value.timestamp() if isinstance(value, datetime) else value


def _rows(connection: Any, table: str, kind: type, true: Callable[[float], float]) -> Iterable[Any]:
    names = list(kind.__dataclass_fields__)
    cursor = connection.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY id")
    for row in cursor:
        values = dict(zip(names, row, strict=True))
        for name in names:
            if name.endswith("_at") and values[name] is not None:
                values[name] = true(_epoch(values[name]))
        yield kind(**values)


def read(connection: Any, true: Callable[[float], float] = lambda told: told) -> Tables:
    """All tables.

    true: the epoch second at which the database told this one, if its clock was set.
    """
    chunks: dict[int, list[ChunkRow]] = defaultdict(list)
    cursor = connection.execute(
        "SELECT run_id, seq, kind, text, created_at FROM chunks ORDER BY run_id, seq"
    )
    for run_id, seq, kind, text, created_at in cursor:
        chunks[run_id].append(ChunkRow(seq, kind, text, true(_epoch(created_at))))
    workers = connection.execute("SELECT id, pid, lease_until FROM workers").fetchall()
    runs = {row.id: row for row in _rows(connection, "runs", RunRow, true)}
    for run in sorted(runs.values(), key=lambda run: -run.id):
        source = runs.get(run.continues_run_id or 0)
        if source and run.carried_chars and source.carried_chunks:
            # What a run had carried over is kept by the next one only.
            own = [chunk for chunk in chunks[source.id] if chunk.seq >= source.carried_chunks]
            kept = [chunk for chunk in chunks[run.id] if chunk.seq < source.carried_chunks]
            chunks[source.id] = kept + own
    return Tables(
        {row.id: row for row in _rows(connection, "prompts", PromptRow, true)},
        runs,
        dict(chunks),
        {id_: pid for id_, pid, _ in workers},
        {id_: _epoch(until) for id_, _, until in workers},
    )


def keep(tables: Tables, path: Path) -> None:
    """Write them to one SQLite file, for those who want to look."""
    with closing(sqlite3.connect(path)) as copy, copy:
        for name, rows in (("prompts", tables.prompts), ("runs", tables.runs)):
            kind = PromptRow if name == "prompts" else RunRow
            copy.execute(f"CREATE TABLE {name} ({', '.join(kind.__dataclass_fields__)})")
            holes = ", ".join("?" * len(kind.__dataclass_fields__))
            values = [tuple(vars(row).values()) for row in rows.values()]
            copy.executemany(f"INSERT INTO {name} VALUES ({holes})", values)
        copy.execute("CREATE TABLE chunks (run_id, seq, kind, text, created_at)")
        for run_id, chunks in tables.chunks.items():
            values = [(run_id, *vars(chunk).values()) for chunk in chunks]
            copy.executemany("INSERT INTO chunks VALUES (?, ?, ?, ?, ?)", values)
        copy.execute("CREATE TABLE workers (id, pid, lease_until)")
        pids = [(id_, pid, tables.leases[id_]) for id_, pid in tables.pids.items()]
        copy.executemany("INSERT INTO workers VALUES (?, ?, ?)", pids)


class Watcher:
    """Somebody who looks at the tables all the time, and remembers what was there.

    What was once seen must never be gone: a database shows only what it will not forget.

    Attributes:
        seen: run -> the most chunks and characters that were there at one time.
        completed: runs that were seen completed.
        looks: how often the tables were looked at.
    """

    def __init__(self, connect: Any) -> None:
        self._connect = connect
        self._stopping = threading.Event()
        self.seen: dict[int, tuple[int, int]] = {}
        self.completed: set[int] = set()
        self.looks = 0
        self._guard = threading.Lock()
        self._went_back = False
        self._thread = threading.Thread(target=self._work, name="watcher", daemon=True)
        self._thread.start()

    def forget(self) -> None:
        """The database is an older one from now on: what was seen before counts no more."""
        with self._guard:
            self.seen.clear()
            self.completed.clear()
            self._went_back = True

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping.wait(WATCH_SECONDS):
            with suppress(psycopg.Error, sqlite3.Error):
                self._went_back = False
                connection = self._connect()
                try:
                    while not (self._stopping.wait(WATCH_SECONDS) or self._went_back):
                        self._look(connection)
                finally:
                    connection.close()

    def _look(self, connection: Any) -> None:
        found = connection.execute(
            "SELECT r.id, COUNT(*), SUM(LENGTH(c.text)) FROM runs r JOIN chunks c"
            " ON c.run_id = r.id WHERE r.status = 'streaming' GROUP BY r.id"
        )
        rows = found.fetchall()
        since = max(self.completed, default=0) - 500
        done = connection.execute(
            f"SELECT id FROM runs WHERE status = 'completed' AND id > {since}"
        )
        completed = {run_id for (run_id,) in done.fetchall()}
        with self._guard:
            if self._went_back:
                return
            for run_id, chunks, chars in rows:
                before = self.seen.get(run_id, (0, 0))
                self.seen[run_id] = (max(before[0], chunks), max(before[1], chars))
            self.completed |= completed
        self.looks += 1
