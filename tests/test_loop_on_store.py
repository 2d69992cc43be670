"""A worker on real databases: what its rows say when it, the server or the database fails.

Only the model server and the clock are played here.  Every test runs on SQLite and on
PostgreSQL.
"""

from __future__ import annotations

import sqlite3
from itertools import count

import pytest

from tests.fakes.aio import aio
from tests.fakes.clock import FakeClock
from tests.fakes.house import House, living
from tests.fakes.scripted_stream import (
    CHAT,
    DONE,
    END,
    HOLD,
    STOP,
    Pause,
    ScriptedStream,
    endpoint,
    say,
    think,
)
from worker import retry
from worker.errors import Broken, Busy, Refused, Unreachable
from worker.records import Kind, NewPrompt, Usage
from worker.run import attribution
from worker.run.buffer import Limits
from worker.states import PromptState, RunState
from worker.wire.events import Delta, Done

LEASE_RAN_OUT = "UPDATE workers SET lease_until = '2000-01-01 00:00:00.000000' WHERE id = '{}'"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(retry, "DATABASE_WAIT_MAX_SECONDS", 0.01)


def queue(store, number: int = 1, **values: object) -> None:
    store.add([NewPrompt(prompt=f"p{n}", **values) for n in range(number)])


def text(store, run_id: int) -> str:
    return "".join(piece for _, piece in store.text(run_id))


def states(store) -> list[str]:
    return [row.status.value for row in store.results(_everything())]


def _everything():
    from worker.store import Selection

    return Selection()


@aio
async def test_prompts_in_answers_out(store):
    """Every word, every count and every state is where SQL finds it."""
    answers = count(1)
    async with living(House(store, drain=True)) as it:
        it.stream.usual = lambda: [
            think("let me see"),
            say(f"answer {next(answers)}, "),
            say("née \u2028 done"),
            STOP,
            DONE,
        ]
        queue(store, 9)
        summary = await it.begin()
    assert summary.completed == 9
    assert states(store) == ["completed"] * 9
    said = {text(store, store.prompt(n).run_id) for n in range(1, 10)}
    assert said == {f"answer {n}, née \u2028 done" for n in range(1, 10)}
    (attempt,) = store.attempts(1)
    assert (attempt.status, attempt.finish_reason) == (RunState.COMPLETED, "stop")
    assert attempt.chars == len("answer 1, née \u2028 done")
    run_id = store.prompt(1).run_id
    assert list(store.text(run_id, Kind.THINKING)) == [(0, "let me see")]


@aio
async def test_a_worker_that_is_stopped_hands_over_to_the_next(store):
    """The text of the first stays with its run, and nobody's attempt is used up."""
    queue(store)
    async with living(House(store)) as first:
        task = first.begin()
        await first.streaming(1)
        await first.settle()
        first.worker.stop()
        first.worker.stop()
        await task
    prompt = store.prompt(1)
    assert (prompt.status, prompt.attempts, prompt.crashes) == (PromptState.QUEUED, 0, 0)
    async with living(House(store, worker_id="w2", drain=True)) as second:
        second.stream.usual = lambda: [say("all of it"), DONE]
        await second.begin()
    one, two = store.attempts(1)
    assert (one.status, one.error_code, text(store, one.run_id)) == (
        RunState.INTERRUPTED,
        "shutdown",
        "hello",
    )
    assert (two.status, text(store, two.run_id)) == (RunState.COMPLETED, "all of it")
    assert store.prompt(1).attempts == 1


@aio
async def test_the_prompts_of_a_dead_worker_are_carried_by_a_living_one(store, sql):
    """Without a human, without a charge; and what the dead had flushed is kept."""
    queue(store)
    async with living(House(store, limits=Limits(flush_bytes=1))) as dead:
        dead.begin()
        await dead.streaming(1)
        await dead.settle()
        while not sql.one("SELECT count(*) FROM chunks"):
            await dead.settle()
        sql(LEASE_RAN_OUT.format("w1"))
        async with living(House(store, worker_id="w2", drain=True)) as other:
            other.stream.usual = lambda: [say("all of it"), DONE]
            ended = other.begin()
            await other.settle()
            while not ended.done():  # nobody is rescued before the rescuer has seen a whole lease
                await other.pass_(10)
            assert "prompts_rescued" in other.words
        (reader,) = dead.stream.readers
        reader.push(say(" too late"), DONE)
        await dead.ended(1)
        assert "run_lost" in dead.words
    one, two = store.attempts(1)
    assert (one.status, one.error_code, text(store, one.run_id)) == (
        RunState.INTERRUPTED,
        "lease_expired",
        "hello",
    )
    assert (two.status, text(store, two.run_id)) == (RunState.COMPLETED, "all of it")
    prompt = store.prompt(1)
    assert (prompt.attempts, prompt.crashes) == (1, 1)


@aio
async def test_cancelling_a_prompt_closes_its_stream_and_keeps_its_text(store):
    """Run and prompt are cancelled within a flush interval."""
    queue(store)
    async with living(House(store)) as it:
        it.begin()
        await it.streaming(1)
        await it.settle()
        store.cancel(_everything())
        await it.pass_(1)
        await it.ended(1)
        assert it.stream.closed == 1
    (attempt,) = store.attempts(1)
    assert (attempt.status, text(store, attempt.run_id)) == (RunState.CANCELLED, "hello")
    assert store.prompt(1).status is PromptState.CANCELLED


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE prompts SET status = 'cancelled', finished_at = created_at",
        "DELETE FROM prompts",
    ],
)
@aio
async def test_a_prompt_that_somebody_takes_away_closes_a_stream_that_is_silent(store, sql, change):
    """It has nothing to flush, so no fence tells it: a sweep does, within a lease."""
    queue(store)
    async with living(House(store)) as it:
        it.stream.usual = lambda: [HOLD]
        it.begin()
        await it.streaming(1)
        await it.settle()
        sql(change)
        await it.pass_(25)
        await it.settle()
        assert "run_lost" in it.words
        assert "lease_lapsed" not in it.words
        assert (it.stream.closed, it.worker.carried) == (1, 0)
    assert sql("SELECT id FROM runs WHERE status = 'streaming'") == []


@aio
async def test_an_outage_of_the_endpoint_uses_up_nothing(store):
    """However long it lasts: prompts wait, with every attempt they had."""
    queue(store, 8, max_attempts=1)
    async with living(House(store, endpoints=[endpoint(concurrency=8)])) as it:
        it.stream.usual = lambda: [say("half"), Broken("reset")]
        it.stream.alive = Unreachable("refused")
        it.begin()
        await it.ended(8)
    assert states(store) == ["queued"] * 8
    assert {store.prompt(n).attempts for n in range(1, 9)} == {0}
    assert text(store, store.attempts(1)[0].run_id) == "half"


@aio
async def test_a_clean_end_without_a_done_frame_is_tried_again_and_then_given_up(
    store, monkeypatch
):
    """`max_runs` runs without evidence and progress, each with its text; then it has failed."""
    monkeypatch.setattr(attribution, "LATER_SECONDS_MAX", 0)
    queue(store, max_attempts=2)
    async with living(House(store, drain=True, max_runs=3)) as it:
        it.stream.usual = lambda: [say("half"), END]
        task = it.begin()
        while not task.done():
            await it.pass_(1)
    assert [(a.status, a.error_code, a.chars) for a in store.attempts(1)] == [
        (RunState.INTERRUPTED, "no_done_frame", 4)
    ] * 3
    assert store.prompt(1).status is PromptState.FAILED
    assert "gave up after 3 runs without progress" in (store.prompt(1).error or "")


@pytest.mark.parametrize(
    "end", [lambda: Broken("reset"), lambda: Pause(10_000)], ids=["it dies", "it hangs"]
)
@aio
async def test_a_prompt_that_takes_the_endpoint_down_each_time_is_given_up(
    store, sql, monkeypatch, end
):
    """Alone in its queue nothing shows whose fault it is: `max_runs` is the bound."""
    monkeypatch.setattr(attribution, "LATER_SECONDS_MAX", 0)
    queue(store, max_attempts=5)
    async with living(House(store, drain=True, max_runs=7)) as it:
        it.stream.usual = lambda: [say("half"), end()]
        task = it.begin()
        while not task.done():
            await it.pass_(1)
    assert [a.chars for a in store.attempts(1)] == [4] * 7
    assert sql("SELECT status, attempts, runs, runs_without_progress FROM prompts") == [
        ("failed", 0, 7, 7)
    ]
    cuts = sql("SELECT cut_id FROM runs")
    assert len({cut_id for (cut_id,) in cuts}) == 7


@pytest.mark.parametrize(
    "harmless",
    [
        lambda _: Busy("full", charged=False, retry_after_seconds=0),
        lambda _: Unreachable("refused", charged=False),
        lambda times: [say("a" * 600 * times), Broken("reset")],
    ],
)
@aio
async def test_only_runs_without_evidence_and_progress_are_held_against_a_prompt(
    store, sql, monkeypatch, harmless
):
    """Rate limits, no connection, and an answer that comes further than any before."""
    monkeypatch.setattr(attribution, "LATER_SECONDS_MAX", 0)
    queue(store, max_attempts=1)
    async with living(House(store, drain=True, max_runs=2)) as it:
        it.stream.responses.append([say("a"), Broken("reset")])
        it.stream.responses.extend(harmless(times) for times in (1, 2, 3))
        it.stream.usual = lambda: [say("all of it"), DONE]
        task = it.begin()
        while not task.done():
            await it.pass_(1)
    state, attempts, in_vain = sql("SELECT status, attempts, runs_without_progress FROM prompts")[0]
    assert (state, attempts) == ("completed", 1)
    assert in_vain in (0, 1)


@aio
async def test_a_refusal_is_final_the_second_time_though_the_endpoint_answers(store, monkeypatch):
    """One of three replicas may say no; the canary is answered in between."""
    monkeypatch.setattr(attribution, "LATER_SECONDS_MAX", 0)
    queue(store, max_attempts=5)
    async with living(House(store, drain=True)) as it:
        it.stream.usual = lambda: Refused("HTTP 400: no such option", http_status=400)
        task = it.begin()
        while not task.done():
            await it.pass_(1)
        assert it.stream.probes >= 1
    assert [a.status for a in store.attempts(1)] == [RunState.INTERRUPTED, RunState.FAILED]
    assert store.prompt(1).error_code == "bad_request"


class Careless:
    """A dialect that lets through what no database stores."""

    name = "openai-chat"
    request, simpler = CHAT.request, CHAT.simpler
    frames, progress, held_bytes = 1, 1, 0
    usage, finish_reason = Usage(), None

    def decoder(self, endpoint, **_):
        return self

    def feed(self, data: bytes):
        if data == b"done":
            return [Done("stop", Usage())]
        return [Delta(Kind.TEXT, data.decode("utf-8", "surrogatepass"))]

    def close(self):
        return []


@aio
async def test_one_text_that_cannot_be_stored_fails_its_prompt_and_no_other(store):
    """The group goes on without it; the prompt says why, and the worker lives."""
    queue(store, 3)
    bad, good = "\ud800".encode("utf-8", "surrogatepass"), b"good"
    stream = ScriptedStream(FakeClock(), [bad, b"done"], [good, b"done"], [good, b"done"])
    async with living(House(store, stream=stream, dialect=Careless(), drain=True)) as it:
        await it.begin()
    assert sorted(states(store)) == ["completed", "completed", "failed"]
    (failed,) = [n for n in (1, 2, 3) if store.prompt(n).status is PromptState.FAILED]
    assert store.prompt(failed).error_code == "unstorable"
    (attempt,) = store.attempts(failed)
    assert (attempt.status, text(store, attempt.run_id)) == (RunState.FAILED, "")


@aio
async def test_a_locked_database_is_waited_for(sqlite_url, open_at):
    """Somebody else writes for long: the text waits, the run completes, nothing is charged."""
    from worker.store import Store

    store = Store.open(sqlite_url, busy_timeout_seconds=0.01)
    queue(store)
    somebody = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    async with living(House(store)) as it:
        it.begin()
        (reader,) = await it.streaming(1)
        await it.settle()
        somebody.execute("BEGIN IMMEDIATE")
        reader.push(say(" world"), DONE)
        await it.told("database_unavailable")
        somebody.execute("ROLLBACK")
        await it.ended(1)
        assert it.worker.summary.completed == 1
    somebody.close()
    assert text(store, store.prompt(1).run_id) == "hello world"
    store.close()


@aio
async def test_many_runs_share_few_transactions(store):
    """Fifty streams that end together are not fifty commits."""
    queue(store, 50)
    commits = count()
    original = store.commit

    def counted(*given):
        next(commits)
        return original(*given)

    store.commit = counted
    async with living(House(store, endpoints=[endpoint(concurrency=50)], drain=True)) as it:
        it.stream.usual = lambda: [say("a"), HOLD]
        task = it.begin()
        for reader in await it.streaming(50):
            reader.push(say("b"), DONE)
        await task
    assert states(store) == ["completed"] * 50
    assert next(commits) < 25
