"""Nothing waits without saying for what, and until when."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace

import pytest

from worker.diagnosis import wait_reasons
from worker.diagnosis.wait_reasons import (
    AGAIN_SECONDS,
    LOOK_SECONDS,
    Announcer,
    of_prompt,
    of_worker,
)
from worker.errors import StoreBusy
from worker.states import PromptState
from worker.store.rows import Backlog, WorkerStatus

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
UP = {"state": "closed"}
DOWN = {"state": "open", "error": "it refuses connections", "asks_at": "soon"}
PAUSED = {"state": "closed", "paused_until": "later"}


def worker(lease_seconds_left=25.0, runs=0, endpoints=None, id_="w"):
    return WorkerStatus(id_, "host", 12, "0", NOON, None, lease_seconds_left, runs, endpoints)


@pytest.mark.parametrize(
    ("backlog", "endpoint", "workers", "kind", "words"),
    [
        (Backlog(), UP, [], "idle", "nothing is queued for gpu: `spool add` queues"),
        (Backlog(ready=2), DOWN, [], "open gpu", "2 prompts to do, but the endpoint 'gpu' does"),
        (Backlog(later=2), DOWN, [], "open gpu", "(it refuses connections); it is asked again at"),
        (Backlog(later=1), PAUSED, [], "paused gpu", "asked to wait until later"),
        (Backlog(ready=1), UP, [], "ready", "1 prompt to do: claimed at the next look"),
        (Backlog(later=3, next_in_seconds=90), UP, [], "later", "the first in 1 min 30 s"),
        (Backlog(running=1), UP, [], "elsewhere", "1 prompt streaming at other workers"),
        (
            Backlog(running=1),
            UP,
            [worker(20, runs=1), worker(25)],
            "elsewhere",
            "; if worker host:12 has died, its prompts are taken over in 20 s",
        ),
        (Backlog(running=1), UP, [worker(-1, runs=1)], "elsewhere", "are taken over soon"),
    ],
)
def test_an_idle_worker_says_what_it_waits_for(backlog, endpoint, workers, kind, words):
    """Prompts, an endpoint, another worker: each with its moment."""
    wait = of_worker(backlog, {"gpu": endpoint}, workers)
    assert wait.kind == kind
    assert words in wait.words


@pytest.mark.parametrize(
    ("given", "workers", "kind", "words"),
    [
        ({}, [], "no worker", "no worker is running: start `spool run`"),
        ({}, [worker(-1)], "no worker", "start `spool run`"),
        ({}, [worker()], "turn", "waits for its turn at the endpoint 'gpu'"),
        ({}, [worker(endpoints={"gpu": UP})], "turn", "waits for its turn"),
        ({}, [worker(endpoints={"other": UP})], "unserved", "`spool run --endpoint gpu`"),
        ({}, [worker(endpoints={"gpu": DOWN})], "open gpu", "(it refuses connections); it is"),
        ({}, [worker(endpoints={"gpu": DOWN}), worker(endpoints={"gpu": UP})], "turn", "its turn"),
        ({"seconds": 30}, [worker()], "later", "it is tried again in 30 s"),
        ({"status": PromptState.RUNNING}, [worker()], "streaming", "no new text is stored yet"),
        ({"status": PromptState.RUNNING}, [worker(-1)], "silent", "the next `spool run` takes it"),
        ({"status": PromptState.RUNNING}, [worker(id_="x")], "silent", "another worker takes it"),
    ],
)
def test_a_prompt_without_new_text_says_what_it_waits_for(given, workers, kind, words):
    """And what to do, if somebody has to."""
    given = {"status": PromptState.QUEUED, "seconds": -1, **given}
    available_at = NOON + timedelta(seconds=given["seconds"])
    detail = SimpleNamespace(endpoint="gpu", status=given["status"], available_at=available_at)
    wait = of_prompt(detail, workers, "w", NOON)
    assert wait.kind == kind
    assert words in wait.words


@dataclass
class World:
    """A store, a worker and a clock; the test ends when there is no look left."""

    backlogs: list[Backlog | None]
    carried: int = 0
    watches: dict = field(default_factory=lambda: {"gpu": UP})
    seconds: float = 1000.0
    told: list[str] = field(default_factory=list)

    def backlog(self, _endpoints):
        now = self.backlogs[0]
        if now is None:
            raise StoreBusy("away")
        return now

    def workers(self):
        return ()

    def health(self):
        return SimpleNamespace(stopping=False)

    def monotonic(self):
        return self.seconds

    async def sleep(self, seconds):
        self.backlogs.pop(0)
        if not self.backlogs:
            raise asyncio.CancelledError
        self.seconds += seconds

    def log(self, event, **values):
        assert event == "worker_waiting"
        self.told.append(values["waiting_for"])


@pytest.fixture
def follow(monkeypatch):
    return partial(_follow, monkeypatch)


def _follow(monkeypatch, backlogs, **given):
    world = World([None, *backlogs], **given)
    monkeypatch.setattr(wait_reasons, "endpoints_of", lambda worker, _clock: worker.watches)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Announcer(world, world.log, world).follow(world))
    return world.told


def test_a_worker_without_a_terminal_reports_its_waits(follow):
    """Once each, when it was seen twice: a pause between two prompts is no wait."""
    later = [Backlog(later=1, next_in_seconds=each) for each in (9, 7, 5)]
    assert follow([Backlog(), later[0], Backlog(), Backlog(), Backlog(), *later]) == [
        "nothing is queued for gpu: `spool add` queues",
        "1 prompt to be tried again, the first in 7 s",
    ]


def test_a_wait_that_goes_on_is_told_again(follow):
    """With its new moment; only to have nothing to do needs no reminder."""
    looks = int(AGAIN_SECONDS / LOOK_SECONDS) + 3
    waits = [Backlog(later=1, next_in_seconds=1000 - each) for each in range(looks)]
    assert len(follow(waits)) == 2
    assert len(follow([Backlog()] * looks)) == 1


def test_who_works_or_cannot_know_says_nothing(follow):
    """A worker that streams does not wait; a database that is away is reported elsewhere."""
    assert follow([None] * 4) == []
    assert follow([Backlog()] * 4, carried=1) == []
