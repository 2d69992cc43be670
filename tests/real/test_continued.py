"""A real server that is killed in the middle of long answers: they go on where they were cut."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from contextlib import closing

import pytest

from worker.app import worker_app
from worker.embedded import EmbeddedServers
from worker.records import Endpoint, NewPrompt, WorkerInfo
from worker.settings import Settings
from worker.store import Store
from worker.store.schema.migrate import upgrade

TOKENS = 320
CUT_CHARS = 620  # each answer has so many when its server is killed
LIMITS = {
    "openai-chat": "max_tokens",
    "anthropic-messages": "max_tokens",
    "openai-completions": "max_tokens",
    "llamacpp-completion": "n_predict",
}
QUESTION = "Tell a long story about a river, a town and a bridge. Once upon a time"
ROWS = """
SELECT r.endpoint, r.attempt, r.status, r.continued_by, r.not_continued, r.carried_chars,
    (SELECT group_concat(text, '') FROM
        (SELECT text FROM chunks c WHERE c.run_id = r.id ORDER BY seq)),
    coalesce(r.completion_tokens, r.frames)
FROM runs r ORDER BY r.endpoint, r.attempt
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The runs of each dialect."""
    folder = tmp_path_factory.mktemp("continued")
    url = f"sqlite:///{folder / 'spool.db'}"
    upgrade(url)
    endpoints = {
        dialect: Endpoint(
            dialect,
            dialect,
            "",
            "smollm2",
            1,
            options={"temperature": 0, "seed": 1, "ignore_eos": True, limit: TOKENS},
            embedded=True,
        )
        for dialect, limit in LIMITS.items()
    }
    settings = Settings(database_url=url, flush_seconds=0.1, endpoints=endpoints)
    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(_kill_in_the_middle(settings, url, patch))
    with closing(sqlite3.connect(folder / "spool.db")) as database:
        found = database.execute(ROWS).fetchall()
    return {name: [row[1:] for row in found if row[0] == name] for name in LIMITS}


async def _kill_in_the_middle(settings, url, patch):
    """One prompt in each dialect; once each has so much text, their server is gone."""
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
        await _all_are_long(worker, url, working)
        (server,) = started[0]._servers.values()
        os.kill(server.pid, signal.SIGKILL)
        await working
    store.close()


async def _all_are_long(worker, url, working):
    """Until so much text of every run is durable."""
    flushed = (
        "SELECT count(*) FROM (SELECT c.run_id FROM chunks c JOIN runs r ON r.id = c.run_id"
        " WHERE r.status = 'streaming' GROUP BY c.run_id HAVING sum(length(c.text)) > ?)"
    )
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        while database.execute(flushed, [CUT_CHARS]).fetchone() < (len(LIMITS),):
            assert not working.done(), "a run ended before all had text"
            await worker._clock.sleep(0.01)


@pytest.mark.parametrize("dialect", LIMITS)
def test_the_answer_goes_on_where_it_was_cut(runs, dialect):
    """The text that was there is there still, byte for byte; only a word is generated twice."""
    first, *_, last = runs[dialect]
    (_, status, _, _, _, old, generated) = first
    assert status == "interrupted"
    (_, status, by, why_not, carried, text, rest) = last
    assert (status, by, why_not) == ("completed", "prefill", None)
    assert carried >= CUT_CHARS - 64
    assert text[:carried] == old[:carried]
    assert len(text) > carried
    assert text[carried].isspace()  # the white space that was left off is the model's own again
    assert generated + rest <= TOKENS + 1


def test_no_more_is_generated_than_the_answers_are_long(runs):
    """Beginning again would have paid for all of the first runs a second time."""
    for dialect in LIMITS:
        first, *_, last = runs[dialect]
        stored = sum(len(run[5] or "") for run in runs[dialect])
        assert stored - last[4] < len(last[5]) + 100
        assert first[5][: last[4]] in last[5]
