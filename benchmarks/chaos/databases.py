"""The databases of the experiment, and what is done to them.

PostgreSQL is a real server, killed as a power failure would (`pg_ctl stop -m immediate`) and
started again; its owner has set `synchronous_commit` to off.  Both are put back to copies that
are seconds or minutes old, locked by strangers, and PostgreSQL's sessions turn read-only.  SQLite lives on a small file system of
its own that is filled to the last byte and emptied again, so that SQLite and the kernel
say what they say when a disk is full.  Where no such file system can be mounted (it
needs Linux and its namespaces), the size of files is limited instead: then the error
is "disk I/O error" rather than "disk is full", and the report says so.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import psycopg

from benchmarks.chaos.tables import connection
from tests.fakes import postgres

DISK_BYTES = 384 * 1024 * 1024
BALLAST_BYTES = 1024 * 1024
# A server whose owner has chosen speed: what it acknowledges may be gone after a crash.
LAZY = {"synchronous_commit": "off", "wal_writer_delay": "5s"}
INSIDE = "SPOOL_CRASH_HAS_ITS_OWN_MOUNTS"


class Database(Protocol):
    """A database that can be harmed.

    Attributes:
        outages: epoch seconds between which it may have refused to work.
        went_back: epoch seconds of each copy that took its place, and of when it did.
    """

    url: str
    outages: list[tuple[float, float]]
    went_back: list[tuple[float, float]]

    def harm(self, seconds: float) -> None:
        """Take it away, for so long at least, and bring it back."""
        ...

    def settle(self) -> None:
        """Keep what is there, whatever comes: without its tables nothing can be judged."""
        ...

    def snapshot(self, number: int) -> None:
        """Put a consistent copy aside, as a backup would have it."""
        ...

    def go_back(self, number: int, forget: Callable[[], None]) -> None:
        """Put the copy in the place of the database; `forget` is called in between."""
        ...

    def read_only(self, number: int, seconds: float) -> bool:
        """Let sessions be read-only for so long; False where there is no such thing."""
        ...

    def lock(self, number: int, seconds: float) -> None:
        """Let a stranger hold a lock for so long."""
        ...

    def connect(self) -> Any:
        """A plain connection of the driver in autocommit mode."""
        ...


class Postgres:
    """A PostgreSQL server that belongs to the experiment."""

    def __init__(self, server: postgres.Server) -> None:
        self._server = server
        self.url = server.create_database("crash")
        self.outages: list[tuple[float, float]] = []
        self.went_back: list[tuple[float, float]] = []
        self._copied_at: dict[int, float] = {}

    def harm(self, seconds: float) -> None:
        with self._crashed():
            time.sleep(seconds)

    @contextmanager
    def _crashed(self) -> Iterator[None]:
        began = time.time()
        self._server.crash()
        yield
        self._server.start()
        self.outages.append((began, time.time()))

    def settle(self) -> None:
        with closing(self.connect()) as client:
            client.execute("CHECKPOINT")

    def snapshot(self, number: int) -> None:
        with self._crashed():
            self._copied_at[number] = time.time()
            _copy(self._server.data, self._copy(number))

    def go_back(self, number: int, forget: Callable[[], None]) -> None:
        with self._crashed():
            shutil.rmtree(self._server.data)
            _copy(self._copy(number), self._server.data)
            forget()
            self.went_back.append((self._copied_at[number], time.time()))
        shutil.rmtree(self._copy(number))

    def _copy(self, number: int) -> Path:
        return self._server.home / f"copy-{number}"

    def read_only(self, number: int, seconds: float) -> bool:
        """Every second time sessions that begin later can write, as behind a failover."""
        began = time.time()
        if number % 2:
            self._set("ALTER DATABASE crash SET default_transaction_read_only = off")
        self._set("ALTER SYSTEM SET default_transaction_read_only = on")
        time.sleep(seconds)
        self._set("ALTER SYSTEM RESET default_transaction_read_only")
        self._set("ALTER DATABASE crash RESET default_transaction_read_only")
        self.outages.append((began, time.time()))
        return True

    def _set(self, statement: str) -> None:
        with closing(connection(self._server.url())) as client:
            client.execute("SET default_transaction_read_only = off")
            client.execute(statement)
            client.execute("SELECT pg_reload_conf()")

    def lock(self, number: int, seconds: float) -> None:
        """Every second time of the table, as VACUUM FULL does; else of three running prompts."""
        began = time.time()
        rows = "SELECT id FROM prompts WHERE status = 'running' ORDER BY id LIMIT 3 FOR UPDATE"
        whole = number % 2
        with closing(self.connect()) as client, suppress(psycopg.Error):
            client.execute("BEGIN")
            client.execute("LOCK TABLE prompts" if whole else rows)
            time.sleep(seconds)
            client.execute("ROLLBACK")
        if whole:
            self.outages.append((began, time.time()))

    def connect(self) -> Any:
        return connection(self.url)


class Sqlite:
    """An SQLite file on a disk that can be filled."""

    def __init__(self, folder: Path, *, pids: Callable[[], list[int]]) -> None:
        self._folder = folder
        self._pids = pids
        self._place = folder / "place"  # as a whole, for its files belong together
        self._place.mkdir()
        self.path = self._place / "spool.db"
        self.url = f"sqlite:///{self.path}"
        self.outages: list[tuple[float, float]] = []
        self.went_back: list[tuple[float, float]] = []
        self._copied_at: dict[int, float] = {}

    def harm(self, seconds: float) -> None:
        began = time.time()
        if os.environ.get(INSIDE):
            self._fill(seconds)
        else:
            self._limit(seconds)
        self.outages.append((began, time.time()))

    def settle(self) -> None:
        pass

    def snapshot(self, number: int) -> None:
        place = self._folder / f"copy-{number}"
        place.mkdir()
        with closing(self.connect()) as live, closing(sqlite3.connect(place / "spool.db")) as copy:
            live.backup(copy)
        self._copied_at[number] = time.time()

    def go_back(self, number: int, forget: Callable[[], None]) -> None:
        """Move the files away and the copy to their place, while workers have them open."""
        began, away = time.time(), self._folder / f"old-{number}"
        self._place.rename(away)
        forget()
        (self._folder / f"copy-{number}").rename(self._place)
        self.went_back.append((self._copied_at[number], time.time()))
        self.outages.append((began, time.time()))
        shutil.rmtree(away)

    def read_only(self, number: int, seconds: float) -> bool:
        del number, seconds
        return False

    def lock(self, number: int, seconds: float) -> None:
        del number
        began = time.time()
        with closing(self.connect()) as client, suppress(sqlite3.Error):
            client.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            client.execute("ROLLBACK")
        self.outages.append((began, time.time()))

    def _fill(self, seconds: float) -> None:
        """Ballast until not a byte is left, and none in the write-ahead log either."""
        ballast = self._folder / "ballast"
        until = time.monotonic() + max(seconds, 0.5)
        try:
            with ballast.open("wb", buffering=0) as file:
                while time.monotonic() < until:
                    self._shrink_log()
                    with suppress(OSError):
                        while file.write(b"\0" * BALLAST_BYTES):
                            pass
                    with suppress(OSError):
                        while file.write(b"\0" * 4096):
                            pass
                    time.sleep(0.05)
        finally:
            ballast.unlink(missing_ok=True)

    def _shrink_log(self) -> None:
        # Otherwise the log would be written from its beginning again, into blocks it has.
        with suppress(sqlite3.Error), closing(self.connect()) as client:
            client.execute("PRAGMA busy_timeout = 200")
            client.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _limit(self, seconds: float) -> None:
        import resource

        changed = []
        for pid in self._pids():
            with suppress(ProcessLookupError, PermissionError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
                changed.append((pid, hard))
        time.sleep(max(seconds, 0.5))
        for pid, hard in changed:
            with suppress(ProcessLookupError, PermissionError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))

    def connect(self) -> Any:
        return connection(self.url)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


@contextmanager
def opened(
    kind: str, folder: Path, *, pids: Callable[[], list[int]], clock: Mapping[str, str]
) -> Iterator[Database]:
    """A fresh database without tables; it is gone afterwards.

    clock: what a server of PostgreSQL has in its environment, to go by another clock.
    """
    if kind == "postgresql":
        with postgres.private(settings={**postgres.DURABLE, **LAZY}, environment=clock) as server:
            yield Postgres(server)
        return
    disk = folder / "disk"
    disk.mkdir()
    if not os.environ.get(INSIDE):
        yield Sqlite(disk, pids=pids)
        return
    size = f"size={DISK_BYTES}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "crash", str(disk)], check=True)
    try:
        yield Sqlite(disk, pids=pids)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)


def with_mounts_of_its_own(module: str, arguments: list[str]) -> None:
    """Start this program again where it may mount a file system that nobody else sees.

    Returns if that is done already, or cannot be done here.
    """
    if os.environ.get(INSIDE) or not shutil.which("unshare"):
        return
    for how in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]):
        trial = [*how, "mount", "-t", "tmpfs", "-o", "size=1m", "crash", "/tmp"]
        if subprocess.run(trial, capture_output=True, check=False).returncode == 0:
            sys.stdout.flush()
            command = [*how, sys.executable, "-m", module, *arguments]
            os.execvpe(command[0], command, {**os.environ, INSIDE: "yes"})
