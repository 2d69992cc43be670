"""One SQLite file: opened as workers need it, and watched, for a name is not the file.

Whoever moves another file to the path, or removes it, leaves open connections with a file
that nobody else will ever read.  SQLite does not mind.  So the file is recognised by its
device and inode, and a transaction on another one than the first is an error.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

from worker.errors import StoreBroken

SQLITE_OLDEST = (3, 37, 0)  # RETURNING, UPDATE FROM, strict tables
SQLITE_CACHE_KIB = 512  # of each connection: four times as much wrote no byte less, no faster
WAL_KEPT_BYTES = 64 * 1024 * 1024


class OpenFile:
    """The file that was at a path when it was first looked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = self._look()

    def check(self) -> None:
        """Raise StoreBroken unless the same file is still there."""
        found = self._look()
        if self._known is None:
            self._known = found
        if found == self._known:
            return
        what = "was removed" if found is None else "was replaced by another file"
        raise StoreBroken(
            f"{self.path} {what} while this program had it open: nothing is written to the old"
            " file any more; start again to work with what is there now"
        )

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError:
            return getattr(self, "_known", None)  # SQLite will say what is wrong
        return found.st_dev, found.st_ino


def connect_sqlite(
    path: Path, *, busy_timeout_seconds: float, synchronous: str, create: bool
) -> sqlite3.Connection:
    """Open the file in WAL mode; raises StoreBroken where a person has to help."""
    _check_sqlite(path, create=create)
    if create:
        _make_private(path)
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={'rwc' if create else 'rw'}",
        uri=True,
        timeout=busy_timeout_seconds,
        isolation_level=None,  # autocommit: every BEGIN is ours
        check_same_thread=False,  # the pool lends a connection to one thread at a time
        cached_statements=256,
    )
    try:
        _tune(connection, path, synchronous)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_private(path: Path) -> None:
    # SQLite would make it for everybody to read; its other files take their mode from this one.
    with suppress(OSError):  # it is there already, or SQLite will say why it cannot be made
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _tune(connection: sqlite3.Connection, path: Path, synchronous: str) -> None:
    # Other programs may store bytes that are no UTF-8; one such prompt must not stop a claim.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = {-SQLITE_CACHE_KIB}")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreBroken(
            f"{path} cannot use a write-ahead log (it stays in mode {mode}):"
            " put it on a local disk, not on a network file system"
        )


def _check_sqlite(path: Path, *, create: bool) -> None:
    if sqlite3.sqlite_version_info < SQLITE_OLDEST:
        oldest = ".".join(map(str, SQLITE_OLDEST))
        raise StoreBroken(
            f"this Python comes with SQLite {sqlite3.sqlite_version}; {oldest} or later is needed"
        )
    if not path.parent.is_dir():
        raise StoreBroken(f"the directory {path.parent} does not exist: create it for {path.name}")
    if path.is_dir():
        raise StoreBroken(f"{path} is a directory: name a file, such as {path / 'spool.db'}")
    if not create and not path.exists():
        raise StoreBroken(f"the database {path} does not exist: run `spool migrate` to create it")
