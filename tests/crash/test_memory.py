"""While the database takes nothing, a worker reads no further, and does not grow."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

import psutil

from tests.conftest import Client
from tests.crash.stage import Stage, sentence, until

TOKENS = 200_000  # over 20 MB on the wire, more than sockets hold
STREAMS = 2
GROWTH_BYTES = 20_000_000


def resident_bytes(pid: int) -> int:
    """The memory of a process; a minimal system has no `ps` to ask."""
    resident: int = psutil.Process(pid).memory_info().rss
    return resident


def test_streams_that_nobody_can_store_are_held_back_at_their_source(
    new_stage: Callable[..., Stage], sqlite_url: str, connect: Callable[[str], Client]
) -> None:
    """Their servers find the socket full; when the lock is gone, every word arrives."""
    stage = new_stage(sqlite_url, connect(sqlite_url), lease_seconds=60, busy_timeout_seconds=60)
    stage.add(*[f"Number {n}. [[tokens={TOKENS} delay=0.5]]" for n in range(STREAMS)])
    worker = stage.start()
    until("all are running", lambda: stage.sql.one("SELECT COUNT(*) FROM runs") == STREAMS)
    path = sqlite_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        before = resident_bytes(worker.process.pid)
        until(
            "every server has to wait",
            lambda: [one["blocked"] for one in stage.requests()] == [True] * STREAMS,
        )
        sent = [one["bytes_sent"] for one in stage.requests()]
        assert [one["bytes_sent"] for one in stage.requests()] == sent
        assert resident_bytes(worker.process.pid) - before < GROWTH_BYTES
        intruder.execute("ROLLBACK")
    until(
        "all are completed",
        lambda: stage.sql.one("SELECT COUNT(*) FROM prompts WHERE status = 'completed'") == STREAMS,
        seconds=120,
    )
    assert resident_bytes(worker.process.pid) - before < GROWTH_BYTES
    audit = stage.audit()
    assert not audit.broken, sentence(audit)
