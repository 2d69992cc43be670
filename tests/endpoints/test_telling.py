"""What a worker tells of its endpoints, and what it hears of them."""

from __future__ import annotations

from typing import Any

from tests.endpoints.place import Place
from tests.fakes.aio import aio
from tests.fakes.scripted_store import ScriptedStore
from worker.endpoints.telling import HEAR_SECONDS, Standing, Telling
from worker.errors import Busy, ErrorCode, Refused

WRONG_KEY = Refused("HTTP 401: wrong key", code=ErrorCode.UNAUTHORIZED, http_status=401)


async def in_store(work: Any) -> Any:
    return work()


def telling(it: Place, store: ScriptedStore, worker_id: str = "w1") -> Telling:
    return Telling(store, worker_id, {"default": it.monitor}, clock=it.clock)


@aio
async def test_it_tells_how_an_endpoint_stands_when_that_has_changed():
    """State, reason, moments; the same moment is spelled the same each time."""
    it, store = Place(), ScriptedStore()
    told = telling(it, store)
    await told.look(in_store)
    await told.look(in_store)
    assert [report["default"]["state"] for report in store.reports] == ["closed"]
    it.stream.alive = WRONG_KEY
    await it.fail(it.send(), WRONG_KEY)
    it.clock.move(0.1)
    await told.look(in_store)
    it.clock.move(0.1)
    await told.look(in_store)
    said = store.reports[-1]["default"]
    assert len(store.reports) == 2
    assert (said["state"], said["error"]) == ("open", WRONG_KEY.message)
    assert (said["refuses"], said["never_worked"], said["canaries"]) == ("unauthorized", True, 1)
    assert said["since"] < said["asks_at"]


@aio
async def test_it_tells_what_a_person_should_know():
    """Patience, crowds, batches that are held, a canary that is of no use."""
    it = Place(concurrency=8)
    standing = Standing(it.monitor, it.clock)
    it.streaming(2)
    busy = Busy("HTTP 429", http_status=429, charged=False, retry_after_seconds=60)
    await it.fail(it.send(), busy)
    for prompt_id in range(20):
        it.monitor.brake.refused(7, prompt_id, "bad_request", "no", at=0.0)
    said = standing.tell()
    assert said["paused_until"] == "2026-01-01T00:01:00+00:00"
    assert said["streams_at_a_time"] == 2
    assert said["held_batches"] == [{"batch": 7, "code": "bad_request", "error": "no"}]


@aio
async def test_what_the_server_said_is_shared_and_heard():
    """By the next start at once; by others within seconds, if their settings are the same."""
    it, store = Place(), ScriptedStore()
    it.stream.alive = WRONG_KEY
    await it.fail(it.send(), WRONG_KEY)
    await telling(it, store).look(in_store)
    assert list(store.said) == [("default", it.monitor.said.digest)]
    same, other = Place(), Place(api_key="sk-right")
    for each in (same, other):
        await telling(each, store, "w2").hear(in_store, at_start=True)
    assert same.monitor.room().limit == 0
    assert other.monitor.room().limit == 4
    late = Place()
    hears = telling(late, store, "w3")
    hears._hear_at = late.clock.monotonic() + HEAR_SECONDS
    await hears.look(in_store)
    assert late.monitor.room().limit == 4
    late.clock.move(HEAR_SECONDS)
    await hears.look(in_store)
    assert late.monitor.room().limit == 0
