"""The checkout whose worker is played: how one process of it is built, and what is replaced in it.

Only what several versions of the worker share is used here: its settings file, the one function
that builds a worker from settings, its store, and its HTTP client.  Where versions differ, this
module finds out what there is.
"""

from __future__ import annotations

import importlib
import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from benchmarks.worlds.loop import EPOCH, WorldClock, WorldLoop
from benchmarks.worlds.network import HostTransport, Network
from benchmarks.worlds.threads import Threads

KEY_VARIABLE = "WORLD_KEY"
WRONG_KEY_VARIABLE = "WORLD_WRONG_KEY"
_NO_THREADS_OF_OURS = (
    "worker.store",
    "worker.cli",
    "worker.client",
    "worker.api",
    "worker.log",
    "worker.metrics",
)
_UNITS = {"seconds": 1.0, "second": 1.0, "minutes": 60.0, "minute": 60.0, "hours": 3600.0}

_EARLIER = {  # what modules were called before the rooms of today
    "app.worker_app": "cli.service",
    "http.stream": "stream",
    "store.schema.migrate": "store.schema",
    "supervisor.committer": "committer",
    "supervisor.lease": "lease",
    "supervisor.notifier": "waker",
    "supervisor.worker": "loop",
}

Log = Callable[..., None]


def choose(directory: Path) -> None:
    """Import `worker` from this checkout from now on."""
    if not (directory / "worker" / "__init__.py").is_file():
        raise SystemExit(f"{directory} holds no package `worker`: name a checkout of Spool")
    sys.path.insert(0, str(directory))


def module(name: str) -> ModuleType:
    """A module of the worker by its name of today; older checkouts have other names."""
    full = f"worker.{name}" if name else "worker"
    try:
        return importlib.import_module(full)
    except ModuleNotFoundError as error:
        if name not in _EARLIER or not full.startswith(str(error.name)):
            raise
        return importlib.import_module(f"worker.{_EARLIER[name]}")


def where() -> str:
    """The directory that `worker` is imported from."""
    return str(Path(str(module("").__file__)).parent.parent)


# --- what is replaced ------------------------------------------------------------------------


@contextmanager
def replaced(loop: WorldLoop) -> Iterator[None]:
    """Threads and the clock of SQLite are those of the loop while this lasts."""
    threads = Threads(loop)
    for name in ("retry", *_EARLIER):
        module(name)
    with mock.patch.object(sqlite3, "connect", _connecting(loop, sqlite3.connect)):
        patches = [
            mock.patch.object(each, "threading", threads)
            for name, each in list(sys.modules.items())
            if name.startswith("worker.")
            and not name.startswith(_NO_THREADS_OF_OURS)
            and hasattr(each, "threading")
        ]
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in patches:
                patch.stop()


def _connecting(loop: WorldLoop, connect: Callable[..., Any]) -> Callable[..., Any]:
    def moment(layout: str, base: str = "now", *shifts: str) -> str | None:
        if base != "now" or not layout.startswith("%Y-%m-%d"):
            raise ValueError(f"the clock of a world does not know strftime({layout!r}, {base!r})")
        at = EPOCH + timedelta(seconds=loop.seconds)
        for shift in shifts:
            if shift is None:
                return None
            number, unit = shift.split()
            at += timedelta(seconds=float(number) * _UNITS[unit])
        return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}"

    def connected(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.create_function("strftime", -1, moment, deterministic=True)
        return connection

    return connected


# --- one process -----------------------------------------------------------------------------


def settings(
    directory: Path, url: str, values: Mapping[str, Any], endpoint: Mapping[str, Any]
) -> Any:
    """The settings of a process, as a file would give them; what a version does not know is left out."""
    known = set(module("settings.model").Values.model_fields)
    known_of_endpoint = set(module("settings.endpoints").EndpointTable.model_fields)
    lines = [f"database_url = {json.dumps(url)}", 'sqlite_synchronous = "NORMAL"']
    lines += [f"{name} = {json.dumps(v)}" for name, v in values.items() if name in known]
    lines.append("[endpoints.default]")
    kept = {name: v for name, v in endpoint.items() if name in known_of_endpoint}
    options = kept.pop("options", None)
    lines += [f"{name} = {json.dumps(value)}" for name, value in kept.items()]
    if options:
        lines += ["[endpoints.default.options]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    file = directory / "spool.toml"
    file.write_text("\n".join(lines) + "\n")
    return module("settings").load(file, keys_required=False)


def new_database(directory: Path) -> str:
    """An empty database with the tables of this version; its URL."""
    url = f"sqlite:///{directory / 'spool.db'}"
    module("store.schema.migrate").upgrade(url)
    return url


def open_store(url: str) -> Any:
    return module("store").Store.open(url, synchronous="NORMAL")


def queue(store: Any, prompts: list[dict[str, Any]]) -> None:
    """Add prompts, in order; those of one batch that stand together go in together."""
    new_prompt = module("records").NewPrompt
    start = 0
    while start < len(prompts):
        batch = prompts[start].get("batch")
        end = start
        while end < len(prompts) and prompts[end].get("batch") == batch:
            end += 1
        values = [{k: v for k, v in each.items() if k != "batch"} for each in prompts[start:end]]
        store.add([new_prompt(**each) for each in values], batch=batch)
        start = end


@asynccontextmanager
async def process(
    settings: Any, store: Any, clock: WorldClock, network: Network, host: str, name: str, log: Log
) -> AsyncIterator[Any]:
    """A worker in a process of its own on `host`, as `spool run` builds it."""
    service, stream = module("app.worker_app"), module("http.stream")
    info = module("records").WorkerInfo(id=name, host=host, pid=1, version="0")
    real_options = service.options

    def options(values: Any, *, listen: bool) -> Any:
        del listen
        return real_options(values, listen=False)

    def transport(*_: object, **__: object) -> HostTransport:
        return HostTransport(network, host, name)

    with (
        mock.patch.object(service, "SystemClock", return_value=clock),
        mock.patch.object(service, "options", options),
        mock.patch.object(stream, "FastTransport", transport),
    ):
        building = service.worker_of(settings, store, log, info)
        worker = await building.__aenter__()
    try:
        yield worker
    finally:
        await building.__aexit__(None, None, None)
