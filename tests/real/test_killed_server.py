"""A real server that is killed in the middle of its answers: what it had said is in the table."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from contextlib import closing

import pytest

from tests.real.limits import LIMITS
from worker.app import worker_app
from worker.embedded import EmbeddedServers
from worker.records import Endpoint, NewPrompt, WorkerInfo
from worker.settings import Settings
from worker.store import Store
from worker.store.schema.migrate import upgrade

TOKENS = 120
QUESTION = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,"  # a base model goes on with it


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Endpoint, status, code, text, done mark and prompt state of each run."""
    folder = tmp_path_factory.mktemp("killed")
    url = f"sqlite:///{folder / 'spool.db'}"
    upgrade(url)
    endpoints = {
        dialect: Endpoint(
            dialect,
            dialect,
            "",
            "smollm2",
            1,
            options={"temperature": 0, "seed": 1, limit: TOKENS},
            embedded=True,
        )
        for dialect, limit in LIMITS.items()
    }
    settings = Settings(database_url=url, flush_seconds=0.1, endpoints=endpoints)
    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(kill_while_all_stream(settings, url, patch))
    with closing(sqlite3.connect(folder / "spool.db")) as database:
        return database.execute(
            "SELECT p.endpoint, a.status, a.error_code, a.text, a.done_frame, p.status"
            " FROM attempts a JOIN prompts p ON p.id = a.prompt_id ORDER BY a.prompt_id, a.attempt"
        ).fetchall()


async def kill_while_all_stream(settings, url, patch):
    """One prompt in each dialect; once each has some text in the table, their server is gone."""
    started: list[EmbeddedServers] = []

    class Watched(EmbeddedServers):
        async def __aenter__(self):
            started.append(self)
            return await super().__aenter__()

    patch.setattr(worker_app, "EmbeddedServers", Watched)
    store = Store.open(url)
    store.add(NewPrompt(prompt=QUESTION, endpoint=dialect) for dialect in LIMITS)
    info = WorkerInfo("w", "here", os.getpid(), "test")
    async with worker_app.worker_of(settings, store, lambda *_, **__: None, info) as worker:
        working = asyncio.create_task(worker.run(drain=True))
        await all_have_text(worker, url, working)
        (server,) = started[0]._servers.values()
        os.kill(server.pid, signal.SIGKILL)
        await working
    store.close()


async def all_have_text(worker, url, working):
    """Until the first flush of every run is durable, and none has ended."""
    flushed = (
        "SELECT count(DISTINCT r.id) FROM chunks c JOIN runs r ON r.id = c.run_id"
        " WHERE r.status = 'streaming'"
    )
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        while database.execute(flushed).fetchone() < (len(LIMITS),):
            assert not working.done(), "a run ended before all had text"
            await worker._clock.sleep(0.01)


@pytest.mark.parametrize("dialect", LIMITS)
def test_the_run_is_interrupted_and_its_text_is_kept(rows, dialect):
    """The text is the start of what the next run gets as a whole, from a server started again.

    The code says whether the server answered again before the run ended, which is a race.
    """
    first, *_, last = [row[1:] for row in rows if row[0] == dialect]
    status, code, kept, done, prompt = first
    assert (status, done, prompt) == ("interrupted", 0, "completed")
    assert code in ("endpoint_died", "connection_lost")
    assert last[0] == "completed"
    assert kept
    assert last[2].startswith(kept)
    assert len(kept) < len(last[2])
