"""Databases to measure on: an SQLite file, or a PostgreSQL of our own that really writes to disk."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from benchmarks import harness
from tests.fakes import postgres
from worker.records import NewPrompt
from worker.store import Store
from worker.store.schema import migrate

KINDS = ("sqlite", "postgresql")
NAME = "PostgreSQL 18 (fsync on, its defaults); SQLite (WAL, synchronous=NORMAL)"
DURABLE = {**postgres.DURABLE, "max_connections": "200"}

_counter = itertools.count(1)


class Databases:
    """Makes databases, each fresh and migrated."""

    def __init__(self, folder: Path, stack: ExitStack, cores: set[int]) -> None:
        self._folder = folder
        self._cores = cores
        self._stack = stack
        self._server: postgres.Server | None = None

    def new(self, kind: str) -> str:
        """The URL of a migrated database."""
        url = self.empty(kind)
        migrate.upgrade(url)
        return url

    def empty(self, kind: str) -> str:
        """The URL of a database without tables."""
        number = next(_counter)
        if kind == "sqlite":
            return f"sqlite:///{self._folder}/bench{number}.db"
        return self.postgres.create_database(f"bench{number}")

    def drop(self, url: str) -> None:
        """This one is not needed any more."""
        if not url.startswith("sqlite"):
            self.postgres.drop_database(psycopg.conninfo.conninfo_to_dict(url)["dbname"])

    @property
    def postgres(self) -> postgres.Server:
        """The server, started when it is first needed."""
        if self._server is None:
            os.sched_setaffinity(0, self._cores)  # a child inherits it
            try:
                self._server = self._stack.enter_context(postgres.private(settings=DURABLE))
            finally:
                os.sched_setaffinity(0, set(harness.CORES))
            postmaster = int((self._server.data / "postmaster.pid").read_text().split()[0])
            ended = threading.Event()
            self._stack.callback(ended.set)
            threading.Thread(target=_prefer_family, args=(postmaster, ended), daemon=True).start()
        return self._server


@contextmanager
def databases(*, all_cores: bool = False) -> Iterator[Databases]:
    """Somewhere to make databases; they go when the context is left.

    PostgreSQL has the core of the servers, or all cores.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="spool-bench-"))
        cores = set(harness.CORES) if all_cores else {harness.SERVER_CORE}
        yield Databases(Path(folder), stack, cores)


def _prefer_family(postmaster: int, ended: threading.Event) -> None:
    """The same as `harness.prefer`: every PostgreSQL process makes a session of its own."""
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children")
    known: set[str] = set()
    while not ended.wait(0.1):
        with contextlib.suppress(OSError):
            family = {str(postmaster), *children.read_text().split()}
            for pid in family - known:
                Path(f"/proc/{pid}/autogroup").write_text(str(harness.PREFERRED_NICE))
                os.setpriority(os.PRIO_PROCESS, int(pid), harness.PREFERRED_NICE)
            known = family


def add(url: str, count: int, prompt: str = "Explain streaming.") -> None:
    """Queue so many prompts."""
    store = Store.open(url)
    store.add(NewPrompt(prompt=prompt) for _ in range(count))
    store.close()


def ask(url: str, statement: str) -> list[tuple]:
    """Run one statement as any client would."""
    if url.startswith("sqlite"):
        import sqlite3

        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        rows = connection.execute(statement).fetchall()
        connection.close()
        return rows
    with psycopg.connect(url, autocommit=True) as client:
        cursor = client.execute(statement)
        return cursor.fetchall() if cursor.description else []


def configuration(folder: Path, url: str, dialect: str, base_url: str, **settings: object) -> Path:
    """A spool.toml; names with `endpoint_` in front belong to the endpoint."""
    top = {"database_url": url, "log_format": "json"}
    endpoint: dict[str, object] = {"dialect": dialect, "base_url": base_url, "model": "m"}
    for name, value in settings.items():
        if name.startswith("endpoint_"):
            endpoint[name.removeprefix("endpoint_")] = value
        else:
            top[name] = value
    lines = [f"{name} = {_toml(value)}" for name, value in top.items()]
    lines += ["[endpoints.default]", *(f"{name} = {_toml(v)}" for name, v in endpoint.items())]
    path = folder / "spool.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
