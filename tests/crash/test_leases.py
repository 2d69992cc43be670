"""A lease belongs to the worker: a stream may be as slow as it likes, and a death shows soon."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from tests.conftest import Client
from tests.crash.stage import Stage, sentence, until
from tests.fakes import postgres
from worker.store.schema import migrate

LEASE_SECONDS = 3.0


def test_a_slow_stream_is_never_rescued_while_its_worker_lives(
    new_stage: Callable[..., Stage], database_url: str, sql: Client
) -> None:
    """One token every two seconds, for many leases, while another worker sweeps all the time."""
    stage = new_stage(database_url, sql, lease_seconds=LEASE_SECONDS)
    (prompt_id,) = stage.add("Slowly. [[tokens=8 rate=0.5]]")
    carrying = stage.start()
    until("it is running", lambda: stage.status(prompt_id) == "running")
    other = stage.start()
    until("it is completed", lambda: stage.status(prompt_id) == "completed")
    assert len(stage.runs(prompt_id)) == 1
    assert [worker.said("prompts_rescued") for worker in (carrying, other)] == [[], []]
    audit = stage.audit()
    assert not audit.broken, sentence(audit)


@contextmanager
def locked(url: str) -> Iterator[None]:
    """A stranger holds the write lock of the SQLite file."""
    path = url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        yield
        stranger.execute("ROLLBACK")


@contextmanager
def stopped(server: postgres.Server) -> Iterator[None]:
    """PostgreSQL is not there."""
    server.stop()
    yield
    server.start()


SIX = ["Slowly. [[tokens=60 rate=5]]"] * 6


def six_streams_outlive(stage: Stage, away: Callable[[], object]) -> None:
    """Six streams run; the database is away until a lease has lapsed; all end in their first run."""
    ids = stage.add(*SIX, endpoint="oai")
    workers = [stage.start(), stage.start()]
    for prompt_id in ids:
        stage.until_text(prompt_id)
    with away():
        for worker in workers:
            worker.until_said("lease_lapsed")
    until("all are completed", lambda: {stage.status(each) for each in ids} == {"completed"})
    assert [len(stage.runs(each)) for each in ids] == [1] * 6
    assert [worker.said("prompts_rescued") for worker in workers] == [[], []]
    audit = stage.audit()
    assert not audit.broken, sentence(audit)


def test_streams_outlive_a_lock_that_a_stranger_holds_for_longer_than_a_lease(
    new_stage: Callable[..., Stage], sqlite_url: str, connect: Callable[[str], Client]
) -> None:
    """A VACUUM, a copy of the file, a forgotten transaction: no stream is begun again."""
    stage = new_stage(sqlite_url, connect(sqlite_url), busy_timeout_seconds=1)
    six_streams_outlive(stage, lambda: locked(sqlite_url))


def test_streams_outlive_a_database_that_is_away_for_longer_than_a_lease(
    new_stage: Callable[..., Stage], connect: Callable[[str], Client]
) -> None:
    """A failover, an upgrade: no stream is begun again."""
    with postgres.private() as server:
        url = server.create_database("spool")
        migrate.upgrade(url)
        stage = new_stage(url, connect(url))

        @contextmanager
        def away() -> Iterator[None]:
            with stopped(server):
                yield
            stage.sql = connect(url)

        six_streams_outlive(stage, away)


def test_a_worker_that_was_killed_on_this_host_is_not_waited_for(
    new_stage: Callable[..., Stage], database_url: str, sql: Client
) -> None:
    """Its lease would run for an hour: the next worker sees that its process is gone."""
    stage = new_stage(database_url, sql, lease_seconds=3600)
    (prompt_id,) = stage.add("Slowly. [[tokens=100 rate=2]]")
    carrying = stage.start()
    stage.until_text(prompt_id)
    carrying.kill()
    stage.start()
    until("it runs again", lambda: len(stage.runs(prompt_id)) == 2)
    assert stage.sql("SELECT attempts, crashes FROM prompts") == [(1, 1)]


def test_a_dead_workers_prompt_runs_again_within_about_a_lease(
    new_stage: Callable[..., Stage], database_url: str, sql: Client
) -> None:
    """The others look three times a lease; nobody has to do anything."""
    stage = new_stage(database_url, sql, lease_seconds=LEASE_SECONDS)
    (prompt_id,) = stage.add("Slowly. [[tokens=100 rate=2]]")
    carrying = stage.start()
    stage.until_text(prompt_id)
    other = stage.start()
    other.until_said("worker_started")
    carrying.kill()
    until("it runs again", lambda: len(stage.runs(prompt_id)) == 2)
    assert stage.sql("SELECT attempts, crashes FROM prompts") == [(1, 1)]
