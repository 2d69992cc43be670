"""A worker is built from settings, and nothing of it is left when it has ended."""

from __future__ import annotations

import signal
import threading
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.aio import aio
from tests.fakes.server import FakeServer
from worker.app import worker_app
from worker.app.worker_app import options, serve, serving
from worker.embedded import EmbeddedServers
from worker.errors import SettingsError
from worker.log import make
from worker.records import WorkerInfo
from worker.settings import load
from worker.store import Store
from worker.store.schema.migrate import upgrade
from worker.supervisor.worker import Worker


def quiet():
    return make(log_format="json", level="error")


@pytest.fixture
def store(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'spool.db'}"
    upgrade(url)
    opened = Store.open(url)
    yield opened
    opened.close()


def settings_for(tmp_path: Path, url: str, more: str = ""):
    path = tmp_path / "spool.toml"
    path.write_text(
        f"poll_seconds = 0.05\n{more}\n"
        f'[endpoints.default]\ndialect = "ollama-chat"\nbase_url = "{url}"\nmodel = "m"\n'
    )
    return load(path)


def test_options_carry_every_setting_of_the_loop(tmp_path: Path) -> None:
    """A setting that is written reaches the room that obeys it."""
    more = (
        "lease_seconds = 7\nshutdown_grace_seconds = 1\nmax_attempts = 9\nmax_crashes = 4\n"
        "flush_seconds = 2\nflush_bytes = 5000\nstream_buffer_bytes = 6000\n"
        "worker_buffer_bytes = 7000\nmax_frame_bytes = 8000"
    )
    made = options(settings_for(tmp_path, "http://x", more), listen=True)
    assert (made.lease_seconds, made.shutdown_grace_seconds) == (7, 1)
    assert (made.max_attempts, made.max_crashes, made.listen) == (9, 4, True)
    assert (made.worker_buffer_bytes, made.max_frame_bytes) == (7000, 8000)
    limits = made.limits
    assert (limits.flush_seconds, limits.flush_bytes, limits.stream_bytes) == (2, 5000, 6000)


def test_only_named_endpoints_are_served(tmp_path: Path) -> None:
    """None named means all; an unknown name is an error that lists the known ones."""
    settings = settings_for(tmp_path, "http://x")
    assert serving(settings, ()) is settings
    assert list(serving(settings, ["default"]).endpoints) == ["default"]
    with pytest.raises(SettingsError, match="no endpoint 'x'; configured are: default"):
        serving(settings, ["x"])


@aio
async def test_the_start_and_the_end_of_an_embedded_server_are_reported(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log says whether a child process is there."""

    class Servers(EmbeddedServers):
        async def __aenter__(self):
            self.endpoints = {
                name: replace(each, embedded=True) for name, each in self.endpoints.items()
            }
            return self

    monkeypatch.setattr(worker_app, "EmbeddedServers", Servers)
    reported = []

    def log(event: str, **values: object) -> None:
        reported.append((event, values["endpoint"]))

    settings = settings_for(tmp_path, "http://x")
    async with worker_app.worker_of(settings, store, log, WorkerInfo("w", "here", 1, "test")):
        assert reported == [("embedded_server_started", "default")]
    assert reported[1:] == [("embedded_server_stopped", "default")]


@aio
async def test_a_signal_stops_it_and_nothing_is_left(tmp_path: Path, store: Store) -> None:
    """SIGTERM ends the worker; its threads, handlers and company are gone afterwards."""
    before = set(threading.enumerate())
    gone = []

    async def company(worker: Worker) -> None:
        try:
            while worker.health().renewed_seconds_ago is None:
                await worker._clock.sleep(0.01)
            signal.raise_signal(signal.SIGTERM)
            await worker._clock.sleep(3600)
        finally:
            gone.append(True)

    async with FakeServer() as server:
        settings = settings_for(tmp_path, server.url)
        await serve(settings, store, quiet(), beside=company)
    assert gone == [True]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    left = {each.name for each in threading.enumerate() if each not in before}
    assert not [name for name in left if name.startswith(("committer", "lease", "waker", "store"))]
    (worker,) = store.status().workers or [None]
    assert worker is None or worker.stopped_at is not None


@aio
async def test_health_is_answered_while_it_works(tmp_path: Path, store: Store) -> None:
    """With metrics_port set, the three pages are there from the first moment to the last."""
    found = {}

    async def company(worker: Worker) -> None:
        import asyncio

        while worker.health().renewed_seconds_ago is None:
            await worker._clock.sleep(0.01)
        for page in ("live", "ready", "metrics"):
            url = f"http://127.0.0.1:{port}/{page}"
            found[page] = await asyncio.to_thread(
                lambda url=url: urllib.request.urlopen(url).status
            )
        worker.stop()

    async with FakeServer() as server, FakeServer() as taken:
        port = taken.port
        await taken.down()
        settings = settings_for(tmp_path, server.url, f"metrics_port = {port}")
        await serve(settings, store, quiet(), beside=company)
    assert found == {"live": 200, "ready": 200, "metrics": 200}
