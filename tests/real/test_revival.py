"""The embedded server may die while its worker lives: it is started again, and nobody pays."""

import asyncio
import os
import signal
import sqlite3
from contextlib import closing

from worker.app import worker_app
from worker.embedded import EmbeddedServers
from worker.records import Endpoint, NewPrompt, WorkerInfo
from worker.settings import Settings
from worker.store import Store
from worker.store.schema.migrate import upgrade

PROMPTS = 4
OPTIONS = {"temperature": 0, "max_tokens": 12}


def test_a_killed_server_comes_back_and_every_prompt_is_answered(tmp_path, monkeypatch):
    """kill -9 while it is asked: an outage, which charges no attempt and needs no human."""
    started: list[EmbeddedServers] = []

    class Watched(EmbeddedServers):
        async def __aenter__(self):
            started.append(self)
            return await super().__aenter__()

    monkeypatch.setattr(worker_app, "EmbeddedServers", Watched)
    killed: list[int] = []

    def log(event, **_values):
        if event == "run_claimed" and not killed:
            (server,) = started[0]._servers.values()
            killed.append(server.pid)
            os.kill(server.pid, signal.SIGKILL)

    url = f"sqlite:///{tmp_path / 'spool.db'}"
    upgrade(url)
    endpoint = Endpoint("default", "openai-chat", "", "smollm2", 2, options=OPTIONS, embedded=True)
    settings = Settings(database_url=url, flush_seconds=0.1, endpoints={"default": endpoint})

    async def story():
        store = Store.open(url)
        store.add(NewPrompt(prompt=f"Count from {n}.") for n in range(PROMPTS))
        info = WorkerInfo("w", "here", os.getpid(), "test")
        async with worker_app.worker_of(settings, store, log, info) as worker:
            summary = await worker.run(drain=True)
            (server,) = started[0]._servers.values()
            assert server.pid not in {None, killed[0]}
        store.close()
        return summary

    summary = asyncio.run(story())
    assert (summary.completed, summary.failed) == (PROMPTS, 0)
    with closing(sqlite3.connect(tmp_path / "spool.db")) as database:
        found = database.execute("SELECT status, attempts, output <> '' FROM results").fetchall()
        interrupted = database.execute(
            "SELECT count(*) FROM runs WHERE status = 'interrupted'"
        ).fetchone()
    assert found == [("completed", 1, 1)] * PROMPTS
    assert interrupted > (0,)
