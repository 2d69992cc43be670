"""The databases of the experiment, and what is done to them.

PostgreSQL is a real server with its durable settings, killed as a power failure would
(`pg_ctl stop -m immediate`) and started again.  SQLite lives on a small file system of
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
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from benchmarks.chaos.tables import connection
from tests.fakes import postgres

DISK_BYTES = 384 * 1024 * 1024
BALLAST_BYTES = 1024 * 1024
INSIDE = "SPOOL_CRASH_HAS_ITS_OWN_MOUNTS"


class Database(Protocol):
    """A database that can be harmed.

    Attributes:
        outages: epoch seconds between which it may have refused to work.
    """

    url: str
    outages: list[tuple[float, float]]

    def harm(self, seconds: float) -> None:
        """Take it away, for so long at least, and bring it back."""
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

    def harm(self, seconds: float) -> None:
        began = time.time()
        self._server.crash()
        time.sleep(seconds)
        self._server.start()
        self.outages.append((began, time.time()))

    def connect(self) -> Any:
        return connection(self.url)


class Sqlite:
    """An SQLite file on a disk that can be filled."""

    def __init__(self, folder: Path, *, pids: Callable[[], list[int]]) -> None:
        self._folder = folder
        self._pids = pids
        self.path = folder / "spool.db"
        self.url = f"sqlite:///{self.path}"
        self.outages: list[tuple[float, float]] = []

    def harm(self, seconds: float) -> None:
        began = time.time()
        if os.environ.get(INSIDE):
            self._fill(seconds)
        else:
            self._limit(seconds)
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


@contextmanager
def opened(kind: str, folder: Path, *, pids: Callable[[], list[int]]) -> Iterator[Database]:
    """A fresh database without tables; it is gone afterwards."""
    if kind == "postgresql":
        with postgres.private(settings=postgres.DURABLE) as server:
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
