"""Every setting of a worker, with its unit, its range and the reason for its default.

The descriptions are the documentation: `spool config --defaults` prints them as
a commented `spool.toml`, `spool config --reference` as `docs/configuration.md`,
and tests keep both files equal to what this module says.  What one value says
about another (`flush_bytes` must fit into `stream_buffer_bytes`) is checked in
`load.py`, where the file and the key at fault are still known.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from worker.records import Endpoint
from worker.settings.endpoints import EndpointTable

_MEBIBYTE = 1024 * 1024
_SQLITE = "sqlite:///"


class Values(BaseModel):
    """The settings that are single values; endpoints are tables of their own."""

    # Deferred: of the models made of this one, two are never asked to validate anything.
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True
    )

    database_url: str = Field(
        default="sqlite:///spool.db",
        repr=False,
        description="Where prompts and their text live: sqlite:///file.db (relative to the working"
        " directory), sqlite:////absolute/file.db, or postgresql://user:password@host/database.",
    )
    lease_seconds: float = Field(
        default=30,
        ge=3,
        le=3600,
        description="How long a worker may be silent before others take its prompts over."
        " It renews every third of this; shorter means faster rescue, and more false alarms.",
    )
    shutdown_grace_seconds: float = Field(
        default=30,
        ge=0,
        description="After SIGTERM, how long running streams may go on before they are handed back."
        " Keep it below the time that systemd or Kubernetes waits before it kills.",
    )
    flush_seconds: float = Field(
        default=1.0,
        ge=0.01,
        le=3600,
        description="A chunk is written when its oldest text is this old: the most that kill -9 can"
        " lose.  Shorter costs more writes per byte, on SQLite many times more.",
    )
    flush_bytes: int = Field(
        default=8192,
        ge=1,
        description="... or when it is this long, whichever comes first.",
    )
    stream_buffer_bytes: int = Field(
        default=262144,
        ge=4096,
        description="Unflushed text of one run; beyond it, its socket is read no further until the"
        " database has caught up.",
    )
    worker_buffer_bytes: int = Field(
        default=64 * _MEBIBYTE,
        ge=4096,
        description="The same for all runs of a worker together: the bound of its memory.",
    )
    max_frame_bytes: int = Field(
        default=16 * _MEBIBYTE,
        ge=1024,
        description="The longest single frame a server may send; a longer one fails the run.",
    )
    max_attempts: int = Field(
        default=5,
        ge=1,
        description="Attempts a prompt may use up.  Outages, rate limits and shutdowns are not"
        " charged; a prompt may carry a number of its own.",
    )
    max_runs: int = Field(
        default=20,
        ge=1,
        description="Runs of a prompt in a row that may end without any evidence whose fault it"
        " was, and without progress (500 characters more than any run before): then it fails.  Rate"
        " limits, overload, shut doors, shutdowns and crashes do not count.",
    )
    max_crashes: int = Field(
        default=3,
        ge=1,
        description="Workers that may die while carrying a prompt before it is given up as the"
        " likely cause.",
    )
    poll_seconds: float = Field(
        default=1.0,
        ge=0.05,
        le=3600,
        description="How often an idle worker looks for new prompts; on PostgreSQL a notification"
        " is faster, and this is what stands behind it.",
    )
    listen: bool = Field(
        default=True,
        description="PostgreSQL: wait for notifications on a connection of its own.  Set false"
        " behind PgBouncer in transaction mode; SQLite ignores it.",
    )
    read_interval_ms: int = Field(
        default=250,
        ge=0,
        le=5000,
        description="How long tokens may gather in the kernel before they are read together, which"
        " saves most of the processor time.  With more than a thousand streams it grows, for 4,000"
        " reads a second at most; never longer than half of flush_seconds, or of an"
        " idle_timeout_seconds.  0 reads each token as it comes.",
    )
    commit_interval_ms: int = Field(
        default=50,
        ge=0,
        le=5000,
        description="How long flushes of different runs may gather into one transaction, never"
        " longer than a tenth of flush_seconds; with many streams this halves what SQLite writes."
        "  The end of a run does not wait.  0 commits each as soon as the last is done.",
    )
    transport: Literal["fast", "httpx"] = Field(
        default="fast",
        description="How HTTP is spoken: fast (HTTP/1.1, built in), or httpx (its own transport:"
        " proxies from the environment).",
    )
    busy_timeout_seconds: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="SQLite: how long a write waits for the lock that another process holds before"
        " it counts as an outage of the database, which is retried.  PostgreSQL ignores it, and"
        " waits 30 seconds.",
    )
    sqlite_synchronous: Literal["NORMAL", "FULL"] = Field(
        default="NORMAL",
        description="SQLite's own setting.  NORMAL survives a killed process; FULL also keeps the"
        " last commits when the machine loses power, and is slower.",
    )
    postgresql_synchronous_commit: Literal["on", "server"] = Field(
        default="on",
        description="PostgreSQL: `on` asks for commits that survive a crash of the server, whatever"
        " its default is; `server` leaves that to the server.  Text that is forgotten then ends its"
        " run.",
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Where `spool run` answers /metrics, /live and /ready, on 127.0.0.1 only;"
        " 0 = nowhere.  Every worker on a machine needs a port of its own.",
    )
    max_line_bytes: int = Field(
        default=16 * _MEBIBYTE,
        ge=1024,
        description="`spool add`: the longest line, row or request of a file; a longer one is"
        " reported and skipped without being loaded.",
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto",
        description="console is for people, json has one object per line; auto is console when"
        " standard error is a terminal, json otherwise.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="The least important events that are still written.",
    )


class Written(Values):
    """What a person may write, in a file or in the environment; `load` turns it into Settings."""

    endpoints: dict[str, EndpointTable] = Field(
        default_factory=lambda: {"default": EndpointTable()},
        description="Where prompts can be sent, by name; prompts name one of these.",
    )


class Settings(Values):
    """What the rest of the program is given: checked, complete, frozen.

    Attributes:
        endpoints: by name, keys and defaults resolved; `api_key` is None where none is
            configured, or where it is missing and nobody required it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    endpoints: Mapping[str, Endpoint] = Field(
        default_factory=lambda: {"default": EndpointTable().resolved("default", api_key=None)}
    )

    @property
    def keep_commits(self) -> bool:
        """Whether sessions of PostgreSQL ask that what is acknowledged survives a crash."""
        return self.postgresql_synchronous_commit == "on"

    @property
    def read_interval_seconds(self) -> float:
        """How long reads may gather: `read_interval_ms`, unless that is too long."""
        return min(self.read_interval_ms / 1000, self.read_interval_most_seconds)

    @property
    def read_interval_most_seconds(self) -> float:
        """How long reads may gather, however many streams there are: flushes must not wait.

        Nor may a server seem idle whose words wait in the kernel.
        """
        shortest = min((each.idle_timeout_seconds for each in self.endpoints.values()), default=inf)
        return min(self.flush_seconds / 2, shortest / 2)

    @property
    def commit_interval_seconds(self) -> float:
        """How long flushes may gather: `commit_interval_ms`, but little beside a flush."""
        return min(self.commit_interval_ms / 1000, self.flush_seconds / 10)

    @property
    def sqlite_file(self) -> Path | None:
        """The file of the database as it was named; None if the database is no file."""
        name = self.database_url.removeprefix(_SQLITE)
        return None if name == self.database_url else Path(name)

    @property
    def safe_database_url(self) -> str:
        """The database URL as it may be shown: without its password."""
        return without_password(self.database_url)

    @property
    def secrets(self) -> list[str]:
        """What no log may repeat: those of the endpoints, and the password of the database."""
        endpoints = (secret for each in self.endpoints.values() for secret in each.secrets)
        return [*endpoints, *_password(self.database_url)]


def _password(url: str) -> list[str]:
    credentials, at, _ = url.partition("://")[2].rpartition("@")
    _, colon, password = credentials.partition(":")
    return [password] if at and colon else []


def without_password(url: str) -> str:
    """The URL with `***` for the password, also where it stands in the query."""
    scheme, separator, rest = url.partition("://")
    rest, question, query = rest.partition("?")
    # The last @, and not the first /: a password that was not escaped must not show either.
    credentials, at, place = rest.rpartition("@")
    if ":" in credentials:
        credentials = f"{credentials.partition(':')[0]}:***"
    fields = [
        f"{key}={'***' if 'password' in key.lower() else value}" if equals else key
        for key, equals, value in (pair.partition("=") for pair in query.split("&"))
    ]
    return f"{scheme}{separator}{credentials}{at}{place}{question}{'&'.join(fields)}"


def plain(value: Any) -> Any:
    """A setting as a person would write it: 30 rather than 30.0 where both mean the same."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
