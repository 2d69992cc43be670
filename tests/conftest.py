"""Fixtures that several folders share: databases, real ones, of both kinds.

A test that asks for `store` runs twice, on SQLite and on PostgreSQL, under the same
id but for the parameter.  Every test gets a database of its own, copied from one that
was migrated once.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from tests.fakes import postgres, roles
from worker.store import Store
from worker.store.schema import grants, migrate

# Where it is set, what a program leaves in its buffers is never seen to fail as it ends.
os.environ.pop("PYTHONUNBUFFERED", None)

# No verdict depends on how fast the machine is: other work may share it.
settings.register_profile(
    "calm", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("calm")

_counter = itertools.count(1)


class Client:
    """What somebody with `sqlite3` or `psql` at hand can do; every statement commits by itself."""

    def __init__(self, url: str) -> None:
        self.is_sqlite = url.startswith("sqlite")
        self._connection: Any
        if self.is_sqlite:
            self._connection = sqlite3.connect(
                url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA foreign_keys = ON")
        else:
            self._connection = psycopg.connect(url, autocommit=True)

    def __call__(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        cursor = self._connection.execute(statement)
        return cursor.fetchall() if cursor.description else []

    def one(self, statement: str) -> Any:
        """The only value of the only row."""
        ((value,),) = self(statement)
        return value

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """One PostgreSQL server for the whole run, all xdist workers included."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")[:16]
    with postgres.shared(run) as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "spool.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def new_postgres(postgres_server: postgres.Server) -> Iterator[Callable[..., str]]:
    """Makes databases on the shared server, empty or migrated; they go when the test ends."""
    made: list[str] = []

    def make(*, migrated: bool) -> str:
        name = f"test_{os.getpid()}_{next(_counter)}"
        template = postgres_server.template("migrated", _prepare) if migrated else None
        url = postgres_server.create_database(name, template)
        made.append(name)
        return url

    yield make
    for name in made:
        postgres_server.drop_database(name)


def _prepare(url: str) -> None:
    migrate.upgrade(url)
    grants.apply(url)


def _make(request: pytest.FixtureRequest, tmp_path: Path, *, migrated: bool) -> str:
    # PostgreSQL is asked for only where it is needed: a run on SQLite alone starts no server.
    if request.param == "postgresql":
        url: str = request.getfixturevalue("new_postgres")(migrated=migrated)
        return url
    path = tmp_path / "spool.db"
    if migrated:
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated database of each kind."""
    return _make(request, tmp_path, migrated=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of each kind without any table; the SQLite file is not there yet."""
    return _make(request, tmp_path, migrated=False)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a migrated SQLite file."""
    shutil.copy(sqlite_template, tmp_path / "spool.db")
    return f"sqlite:///{tmp_path / 'spool.db'}"


@pytest.fixture
def postgres_url(new_postgres: Callable[..., str]) -> str:
    """The URL of a migrated PostgreSQL database."""
    return new_postgres(migrated=True)


@pytest.fixture
def open_at() -> Iterator[Callable[[str], Store]]:
    """Opens stores anywhere, and closes them when the test ends."""
    opened: list[Store] = []

    def open_one(url: str) -> Store:
        opened.append(roles.open_store(url))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def open_store(database_url: str, open_at: Callable[[str], Store]) -> Callable[[], Store]:
    """Opens further stores on the same database, as other processes would."""
    return lambda: open_at(database_url)


@pytest.fixture
def sqlite_store(sqlite_url: str, open_at: Callable[[str], Store]) -> Store:
    """A store on a migrated SQLite file, for what only SQLite does."""
    return open_at(sqlite_url)


@pytest.fixture
def postgres_store(postgres_url: str, open_at: Callable[[str], Store]) -> Store:
    """A store on a migrated PostgreSQL database, for what only PostgreSQL does."""
    return open_at(postgres_url)


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Store:
    """A store on a migrated database of each kind."""
    return open_store()


@pytest.fixture
def connect() -> Iterator[Callable[[str], Client]]:
    """Opens plain SQL clients, and closes them when the test ends."""
    clients: list[Client] = []

    def connect_one(url: str) -> Client:
        clients.append(Client(url))
        return clients[-1]

    yield connect_one
    for client in clients:
        client.close()


@pytest.fixture
def sql(database_url: str, connect: Callable[[str], Client]) -> Client:
    """A plain SQL client on the same database as `store`."""
    return connect(database_url)


@pytest.fixture
def another_sql(database_url: str, connect: Callable[[str], Client]) -> Client:
    """A second one, for two people at once."""
    return connect(database_url)


@pytest.fixture
def postgres_sql(postgres_url: str, connect: Callable[[str], Client]) -> Client:
    """A plain SQL client on the same database as `postgres_store`."""
    return connect(postgres_url)


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that neither accepts nor refuses: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        yield port
        for sock in waiting:
            sock.close()
