"""The life of a worker: it claims, sweeps, looks, drains, and leaves nothing behind.

The store is in memory here and the clock stands still unless a test moves it: this
is about what happens when.  `test_loop_on_store.py` does it on real databases.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

from tests.fakes.aio import aio, turns
from tests.fakes.house import House, living
from tests.fakes.scripted_store import ScriptedStore
from tests.fakes.scripted_stream import (
    DONE,
    HOLD,
    endpoint,
    say,
)
from worker import retry
from worker.endpoints.breaker import FAILURES_TO_OPEN, BreakerState
from worker.errors import (
    Busy,
    ErrorCode,
    Refused,
    SettingsError,
    StoreBroken,
    StoreBusy,
    StoreError,
    Unreachable,
)
from worker.run.buffer import Limits
from worker.states import PromptState, RunState


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch):
    monkeypatch.setattr(retry, "DATABASE_WAIT_MAX_SECONDS", 0)


@asynccontextmanager
async def house(**options: object):
    """A worker on a store in memory; it is hurried to its end when the test has ended."""
    store = ScriptedStore()
    async with living(House(store, bell=store.bell, **options)) as it:
        try:
            yield it
        finally:
            store.away = False
            for gate in store.gates.values():
                gate.set()


# --- claims


@aio
async def test_it_registers_claims_what_has_room_and_carries_it():
    """As many prompts as the endpoint has free slots, not one more."""
    async with house(endpoints=[endpoint(concurrency=3)]) as it:
        it.store.queue(5)
        it.begin()
        await it.streaming(3)
        await it.settle()
        assert it.store.claims == [("default", 3)]
        assert it.store.states() == {"running": 3, "queued": 2}
        assert it.worker.carried == 3


@aio
async def test_a_slot_that_becomes_free_is_filled_at_once():
    """The end of a run wakes the claims; nobody waits for the poll."""
    async with house(endpoints=[endpoint(concurrency=2)]) as it:
        it.store.queue(4)
        it.begin()
        readers = await it.streaming(2)
        readers[0].push(DONE)
        await it.streaming(3)
        await it.settle()
        assert it.store.states() == {"completed": 1, "running": 2, "queued": 1}
        assert it.clock.monotonic() == 1000


@aio
async def test_each_endpoint_has_slots_of_its_own():
    """A crowded endpoint takes nothing from the others."""
    places = [endpoint(name="a", concurrency=1), endpoint(name="b", concurrency=2)]
    async with house(endpoints=places) as it:
        it.store.queue(3, endpoint="a")
        it.store.queue(3, endpoint="b")
        it.begin()
        await it.streaming(3)
        await it.settle()
        running = [p.endpoint for p in it.store.prompts.values() if p.status == "running"]
        assert running == ["a", "b", "b"]


@aio
async def test_new_prompts_are_found_by_the_poll_and_by_a_wake():
    """The notification is a hint; the poll stands behind it."""
    async with house(poll_seconds=5) as it:
        it.begin()
        await it.settle()
        it.store.queue()
        await it.pass_(4)
        assert it.store.states() == {"queued": 1}
        await it.pass_(1)
        assert it.store.states() == {"running": 1}
        it.store.queue()
        it.worker.wake()
        await it.settle()
        assert it.store.states() == {"running": 2}


@aio
async def test_a_wake_in_the_middle_of_a_claim_is_not_lost():
    """The claim may just have missed what the wake was about."""
    async with house(poll_seconds=3600, lease_seconds=3600) as it:
        it.store.gates["claim"] = threading.Event()
        it.begin()
        await it.store.bell.until(lambda: it.store.calls["claim"])
        it.worker.wake()
        it.store.gates.pop("claim").set()
        await it.store.bell.until(lambda: it.store.calls["claim"] == 2)


@aio
async def test_a_full_worker_does_not_ask_for_more():
    """No transaction for nothing, however often it is woken."""
    async with house(endpoints=[endpoint(concurrency=1)]) as it:
        it.store.queue(2)
        it.begin()
        await it.streaming(1)
        await it.settle()
        it.worker.wake()
        await it.pass_(3)
        assert it.store.calls["claim"] == 1


# --- outages of an endpoint


@aio
async def test_an_endpoint_that_is_out_gets_no_prompts_and_charges_none():
    """The breaker opens, probes go out, nobody's attempt is used up."""
    async with house(endpoints=[endpoint(concurrency=1)]) as it:
        it.stream.usual = lambda: Unreachable("refused", charged=False)
        it.stream.alive = Unreachable("refused")
        it.store.queue(FAILURES_TO_OPEN + 3)
        it.begin()
        watch = it.worker.watches["default"]
        while watch.breaker.state is BreakerState.CLOSED:
            await it.pass_(0.5)
        claims = it.store.calls["claim"]
        await it.pass_(20)
        assert it.store.calls["claim"] == claims
        assert 3 <= it.stream.probes <= 6
        assert {prompt.attempts for prompt in it.store.prompts.values()} == {0}
        assert it.store.reports[-1]["default"]["state"] == "open"


@aio
async def test_an_endpoint_that_comes_back_gets_one_more_prompt_with_each_answer():
    """A canary opens the doors; not everybody runs through them at once."""
    async with house() as it:
        it.stream.usual = lambda: Unreachable("refused", charged=False)
        it.stream.alive = Unreachable("refused")
        it.store.queue(20)
        it.begin()
        watch = it.worker.watches["default"]
        while watch.breaker.state is BreakerState.CLOSED:
            await it.pass_(0.5)
        while it.worker.carried:
            await it.pass_(0.5)
        it.stream.alive = None
        it.stream.usual = lambda: [HOLD]
        while not it.stream.readers:
            await it.pass_(1)
        (trial,) = await it.streaming(1)
        assert watch.breaker.state is BreakerState.CLOSED
        await it.pass_(5)
        assert it.worker.carried == 1
        it.stream.usual = lambda: [say("hello"), HOLD]
        trial.push(say("hello"), HOLD)
        await it.pass_(5)
        await it.streaming(4)


@aio
async def test_five_starts_at_a_shut_door_spend_prompts_once():
    """What the server said is known at the next start: only the canary is sent, and refused."""
    store = ScriptedStore()
    for start in range(5):
        it = House(store, bell=store.bell, worker_id=f"w{start}", drain=True)
        async with living(it):
            it.stream.usual = unauthorized
            it.stream.alive = unauthorized()
            store.queue(0 if start else 30)
            with pytest.raises(Refused, match="has never answered"):
                await it.begin()
            assert len(it.stream.requests) == (0 if start else 4)
            assert it.stream.probes >= 1
    assert store.states() == {"queued": 30}
    assert {prompt.attempts for prompt in store.prompts.values()} == {0}


@aio
async def test_a_worker_with_other_settings_learns_nothing_from_a_wrong_one():
    """One wrong key beside a right one: the wrong worker takes nothing more, the right one all."""
    store = ScriptedStore()
    wrong = House(store, bell=store.bell, worker_id="w1", endpoints=[endpoint(api_key="typo")])
    right = House(store, bell=store.bell, worker_id="w2", endpoints=[endpoint(api_key="good")])
    store.queue(40)
    async with living(wrong), living(right):
        wrong.stream.usual = unauthorized
        wrong.stream.alive = unauthorized()
        wrong.begin()
        await wrong.told("breaker_opened")
        while store.states() != {"queued": 40}:
            await wrong.settle()
        for prompt in store.prompts.values():
            prompt.delayed = False
        right.stream.usual = lambda: [say("hello"), DONE]
        right.begin()
        while store.states() != {"completed": 40}:
            await right.pass_(1)
        digests = {it.store.reports[-1]["default"]["digest"] for it in (wrong, right)}
        assert len({report["default"]["digest"] for report in store.reports}) == 2, digests


@aio
async def test_retry_after_stops_claims_for_that_long_and_no_longer():
    """Not until the next poll after it."""
    async with house(endpoints=[endpoint(concurrency=1)], poll_seconds=60) as it:
        it.stream.responses.append(
            Busy("wait", charged=False, retry_after_seconds=2.5, http_status=429)
        )
        it.store.queue(2)
        it.begin()
        await it.told("run_interrupted")
        await it.settle()
        await it.pass_(2)
        assert it.store.calls["claim"] == 1
        await it.pass_(0.5)
        assert it.store.calls["claim"] == 2
        assert it.store.states() == {"running": 1, "queued": 1}


# --- what is looked for


@aio
async def test_a_cancelled_prompt_is_closed_within_a_flush_interval():
    """Also where new prompts are looked for only once in an hour."""
    async with house(poll_seconds=3600) as it:
        prompt, other = it.store.queue(2)
        it.begin()
        await it.streaming(2)
        await it.settle()
        prompt.cancel_requested = True
        await it.pass_(1)
        await it.ended(1)
        assert it.store.text(prompt.run_id) == "hello"
        assert other.status is PromptState.RUNNING


@aio
async def test_a_worker_without_runs_asks_for_no_cancellations():
    """An idle worker is quiet."""
    async with house(poll_seconds=3600, lease_seconds=3600) as it:
        it.begin()
        await it.settle()
        await it.pass_(10)
        assert it.store.calls["cancel_requests"] == 0
        assert it.store.calls["claim"] == 1


@aio
async def test_it_sweeps_three_times_a_lease_however_seldom_it_polls():
    """Orphans wait for a worker, not for its taste in polling."""
    async with house(poll_seconds=3600) as it:
        it.begin()
        await it.settle()
        await it.pass_(60)
        assert it.store.calls["cancel_queued"] == 7
        assert it.store.calls["rescue"] == 4  # the first is fair when it has seen a whole lease


@aio
async def test_a_claim_whose_answer_was_lost_is_handed_back():
    """The rows are ours and nobody carries them: the next sweep says so."""
    async with house(endpoints=[endpoint(concurrency=1)]) as it:
        it.store.lost_answers["claim"].append(StoreBusy("connection reset"))
        it.store.queue(2)
        it.begin()
        await it.streaming(1)
        await it.settle()
        assert it.store.states() == {"running": 2}
        await it.pass_(10)
        assert it.store.states() == {"running": 1, "queued": 1}
        (orphan,) = it.store.endings
        assert (orphan.error_code, orphan.charged) == (ErrorCode.HANDED_BACK, False)
        assert "prompts_handed_back" in it.words


# --- the database


@aio
async def test_the_database_goes_away_and_comes_back():
    """The process stays, streams go on as far as their buffers, and nothing is charged."""
    async with house(limits=Limits(flush_bytes=1)) as it:
        it.store.queue()
        it.begin()
        (reader,) = await it.streaming(1)
        await it.settle()
        it.store.away = True
        reader.push(say(" world"), DONE)
        await it.told("database_unavailable")
        it.clock.move(3)
        it.clock._wake()
        calls = it.store.calls.total()
        await it.store.bell.until(lambda: it.store.calls.total() > calls + 20)
        assert it.worker.health().database_away
        it.store.away = False
        await it.store.bell.until(lambda: it.store.states()["completed"])
        await it.told("run_completed")
        assert it.store.text(1) == "hello world"
        await it.told("database_back")


@aio
async def test_a_full_disk_is_told_once_though_what_only_reads_goes_through(monkeypatch):
    """It takes no text all night, but answers every question: one line, not one a second."""
    # Without any wait the tries of the committer leave the loop no time on a busy machine.
    monkeypatch.setattr(retry, "DATABASE_WAIT_MAX_SECONDS", 0.02)
    async with house(limits=Limits(flush_bytes=1)) as it:
        it.store.queue()
        it.store.failures["commit"].extend([StoreBusy("disk full")] * 10**6)
        it.begin()
        await it.streaming(1)
        await it.told("database_unavailable")
        for _ in range(5):
            commits, looks = it.store.calls["commit"], it.store.calls["cancel_requests"]
            await it.pass_(1)
            await it.store.bell.until(lambda seen=looks: it.store.calls["cancel_requests"] > seen)
            await it.store.bell.until(lambda seen=commits: it.store.calls["commit"] > seen)
            assert it.worker.health().database_away
        it.store.failures["commit"].clear()
        await it.told("database_back")
        assert [word for word in it.words if word.startswith("database")] == [
            "database_unavailable",
            "database_back",
        ]


@aio
async def test_a_worker_that_never_reached_its_database_ends_when_told():
    """In good order: there is nothing to hand back."""
    async with house() as it:
        it.store.away = True
        task = it.begin()
        await it.store.bell.until(lambda: it.store.calls["register"] > 3)
        it.worker.stop()
        await task
        assert it.words == ["database_unavailable", "worker_stopped_without_database"]
        assert not it.worker.health().lease_valid
        assert it.worker.health().renewed_seconds_ago is None


@aio
async def test_a_worker_that_waited_long_for_its_database_begins_with_a_whole_lease():
    """The lease counts from the registration that succeeded."""
    async with house() as it:
        it.store.away = True
        it.begin()
        await it.told("database_unavailable")
        it.clock.move(3600)
        it.store.away = False
        await it.told("worker_started")
        await it.settle()
        assert it.worker.health().ready
        assert "lease_lapsed" not in it.words
        assert it.store.calls["rescue"] == 0


@aio
async def test_a_broken_database_ends_the_worker_with_its_reason():
    """A schema that is too old is for a person to cure; what is held is handed back first."""
    async with house() as it:
        it.store.queue()
        task = it.begin()
        await it.streaming(1)
        await it.settle()
        it.store.failures["claim"].append(StoreBroken("no such table: prompts"))
        it.worker.wake()
        with pytest.raises(StoreBroken, match="no such table"):
            await task
        assert it.store.states() == {"queued": 1}
        assert it.store.prompts[1].attempts == 0
        assert it.store.signed_off == ["w1"]


@aio
async def test_a_database_that_takes_no_chunks_ends_the_worker_too():
    """Claims work, flushes do not: to go on would buy tokens for nobody."""
    async with house(limits=Limits(flush_bytes=1)) as it:
        it.store.failures["commit"].append(StoreBroken("permission denied for table chunks"))
        it.store.queue()
        with pytest.raises(StoreBroken, match="permission denied"):
            await it.begin()
        assert it.store.states() == {"queued": 1}
        assert it.store.prompts[1].attempts == 0


@aio
async def test_settings_that_no_request_can_work_with_end_the_worker_and_charge_nobody():
    """A key with a line break is not cured by the next prompt."""
    async with house() as it:
        it.stream.usual = lambda: SettingsError("correct the key")
        it.store.queue(9)
        with pytest.raises(SettingsError, match="correct the key"):
            await it.begin()
        assert it.store.states() == {"queued": 9}
        assert {prompt.attempts for prompt in it.store.prompts.values()} == {0}


# --- the lease


@aio
async def test_a_lapse_pauses_the_claims_and_destroys_no_stream():
    """The database is away for everybody; when it is back, the runs go on, in their first attempt."""
    async with house(lease_seconds=3) as it:
        it.store.queue()
        it.begin()
        (reader,) = await it.streaming(1)
        await it.settle()
        it.store.away = True
        it.clock.move(4)
        await it.told("lease_lapsed")
        await turns(20)
        assert not it.worker.health().ready
        reader.push(say(" again"), HOLD)
        await turns(20)
        it.store.away = False
        await it.told("lease_renewed_again")
        it.worker._lease_returned()  # the keeper's thread says so at any moment from here on
        await it.settle()
        reader.push(DONE)
        await it.ended(1)
        assert it.store.states() == {"completed": 1}
        assert (it.store.prompts[1].runs, it.store.text(1)) == (1, "hello again")


@aio
async def test_after_a_lapse_it_asks_what_is_still_its_own_and_gives_up_the_others():
    """A silent stream would not learn otherwise that another worker has its prompt."""
    async with house(lease_seconds=3000) as it:
        it.store.queue(2)
        it.begin()
        await it.streaming(2)
        await it.settle()
        it.worker._lease.lapsed(at=1e9)
        it.store.runs[1].status = RunState.INTERRUPTED
        sweeps = it.store.calls["owned"]
        await it.pass_(5)
        assert it.store.calls["owned"] == sweeps
        it.worker._lease_returned()
        it.worker._lease.renewed(sent_at=it.clock.monotonic())
        await it.ended(1)
        assert it.words.count("run_lost") == 1
        assert it.store.calls["take_back_crashes"] == 1
        assert it.worker.carried == 1


@aio
async def test_a_lease_that_nobody_may_renew_any_more_ends_the_worker():
    """A right that was taken away by a person, and only for this table: it would live for ever."""
    async with house(lease_seconds=3) as it:
        task = it.begin()
        await it.settle()
        it.store.failures["renew"].append(StoreBroken("permission denied for table workers"))
        it.clock.move(1.5)
        with pytest.raises(StoreBroken, match="permission denied"):
            await task


@aio
@pytest.mark.parametrize("part", [0, 1, 2], ids=["committer", "lease", "watchdog"])
async def test_a_worker_whose_threads_have_died_ends_instead_of_looking_well(part, monkeypatch):
    """Nothing would be stored, or no lease renewed, while it claims to live."""
    async with house() as it:
        task = it.begin()
        await it.settle()
        monkeypatch.setattr(it.worker._threads[part], "is_alive", lambda: False)
        it.clock.move(2)
        with pytest.raises(
            StoreError, match="a thread of this worker that stores or renews has died"
        ):
            await task


@aio
async def test_without_a_valid_lease_nobody_is_rescued():
    """A worker whose own lease ran out would find itself among the dead."""
    async with house(poll_seconds=3600, lease_seconds=36_000) as it:
        it.begin()
        await it.settle()
        assert it.store.calls["cancel_queued"] == 1
        it.worker._lease.lapsed(at=1e9)
        it.clock.move(12_000)
        await it.settle()
        assert it.store.calls["cancel_queued"] == 1
        it.worker._lease.renewed(sent_at=it.clock.monotonic())
        it.clock.move(12_000)
        await it.settle()
        assert it.store.calls["cancel_queued"] == 2


@aio
async def test_without_a_valid_lease_nothing_is_claimed():
    """Not even if the database would let us."""
    async with house(poll_seconds=3600, lease_seconds=36_000) as it:
        it.begin()
        await it.settle()
        it.worker._lease.lapsed(at=1e9)
        it.store.queue()
        it.worker.wake()
        await it.settle()
        assert it.store.calls["claim"] == 1
        it.worker._lease.renewed(sent_at=it.clock.monotonic())
        it.worker.wake()
        await it.settle()
        assert it.store.states() == {"running": 1}


# --- the end


@aio
async def test_told_to_stop_it_claims_no_more_and_lets_streams_end():
    """The grace is for them; then it signs off."""
    async with house() as it:
        it.store.queue(5)
        task = it.begin()
        readers = await it.streaming(4)
        await it.settle()
        it.worker.stop()
        await it.told("worker_draining")
        for reader in readers:
            reader.push(DONE)
        summary = await task
        assert it.store.states() == {"completed": 4, "queued": 1}
        assert summary.completed == 4
        assert it.store.signed_off == ["w1"]
        assert it.words[-1] == "worker_stopped"


@aio
async def test_a_worker_that_was_told_to_stop_says_so_first():
    """Who kills it from then on ends a shutdown: that is no crash of its prompts."""
    async with house() as it:
        it.store.queue()
        task = it.begin()
        (reader,) = await it.streaming(1)
        await it.settle()
        it.worker.stop()
        await it.store.bell.until(lambda: it.store.calls["leave"] == 1)
        assert it.store.signed_off == []
        reader.push(DONE)
        await task


@aio
async def test_after_the_grace_streams_are_handed_back_with_their_text():
    """At once, and charged to nobody."""
    async with house(shutdown_grace_seconds=30) as it:
        it.store.queue(2)
        task = it.begin()
        await it.streaming(2)
        await it.settle()
        it.worker.stop()
        await it.told("worker_draining")
        await it.clock.until_sleeping()
        await it.clock.advance(29)
        assert it.worker.carried == 2
        await it.clock.advance(1)
        summary = await task
        assert it.store.states() == {"queued": 2}
        assert [it.store.text(run_id) for run_id in (1, 2)] == ["hello", "hello"]
        assert {end.error_code for end in it.store.endings} == {ErrorCode.SHUTDOWN}
        assert {prompt.attempts for prompt in it.store.prompts.values()} == {0}
        assert summary.requeued == 2


@aio
async def test_told_twice_it_does_not_wait_for_the_grace():
    """Flush, hand back, go."""
    async with house(shutdown_grace_seconds=3600) as it:
        it.store.queue()
        task = it.begin()
        await it.streaming(1)
        await it.settle()
        it.worker.stop()
        it.worker.stop()
        await task
        assert it.clock.monotonic() < 1010
        assert it.store.states() == {"queued": 1}
        assert it.store.text(1) == "hello"


@aio
async def test_told_to_stop_before_it_began_it_claims_nothing():
    """It registers and signs off."""
    async with house() as it:
        it.store.queue()
        it.worker.stop()
        await it.begin()
        assert it.store.states() == {"queued": 1}
        assert it.store.signed_off == ["w1"]


@aio
async def test_what_a_claim_brings_after_the_stop_is_handed_back_and_never_asked():
    """The database answered late; no request is begun that would only be broken off."""
    async with house(shutdown_grace_seconds=3600) as it:
        it.store.gates["claim"] = threading.Event()
        it.store.queue(3)
        task = it.begin()
        await it.store.bell.until(lambda: it.store.calls["claim"])
        it.worker.stop()
        it.store.gates.pop("claim").set()
        await task
        assert it.stream.requests == []
        assert it.store.states() == {"queued": 3}
        assert {prompt.attempts for prompt in it.store.prompts.values()} == {0}


@aio
async def test_a_claim_whose_answer_is_lost_at_the_end_is_handed_back_before_signing_off():
    """A rescue by others would count it as a crash of ours."""
    async with house() as it:
        it.begin()
        await it.settle()
        it.store.gates["claim"] = threading.Event()
        it.store.lost_answers["claim"].append(StoreBusy("connection reset"))
        it.store.queue(2)
        calls = it.store.calls["claim"]
        it.worker.wake()
        await it.store.bell.until(lambda: it.store.calls["claim"] > calls)
        it.worker.stop()
        it.store.gates.pop("claim").set()
        await it.task
        assert it.store.states() == {"queued": 2}
        assert {end.error_code for end in it.store.endings} == {ErrorCode.HANDED_BACK}
        assert it.store.signed_off == ["w1"]


@pytest.mark.parametrize("step", ["owned", "commit", "sign_off"])
@aio
async def test_a_stumble_of_the_database_at_the_end_leaves_no_row_behind(step):
    """A restart, a deadlock: what could have been handed back a moment later is."""
    async with house() as it:
        it.begin()
        await it.settle()
        it.store.stream(it.store.queue()[0].id)
        it.store.failures[step].append(StoreBusy("the server shut the connection down"))
        it.worker.stop()
        await it.task
        assert it.store.under_way("w1") == set()
        assert it.store.signed_off == ["w1"]
        assert "sign_off_failed" not in it.words


@aio
async def test_an_end_without_a_database_ends_in_time_and_says_what_it_could_not_store():
    """Patience is bounded; the lease runs out by itself."""
    async with house(shutdown_grace_seconds=5) as it:
        it.store.queue()
        task = it.begin()
        await it.streaming(1)
        await it.settle()
        it.store.away = True
        it.worker.stop()
        it.clock._autojump = 0.0
        summary = await task
        assert summary.unstored == 1
        assert "run_unstored" in it.words
        assert it.words[-2:] == ["sign_off_failed", "worker_stopped"]
        assert it.store.signed_off == []
        assert it.clock.monotonic() <= 1000 + 5 + 30


@aio
async def test_a_stop_while_the_database_is_away_does_not_wait_for_it_to_claim():
    """The claim is given up; streams still have their grace."""
    async with house(shutdown_grace_seconds=3600) as it:
        it.store.queue()
        task = it.begin()
        (reader,) = await it.streaming(1)
        await it.settle()
        it.store.failures["claim"].extend([StoreBusy("away")] * 10_000)
        it.worker.wake()
        await it.told("database_unavailable")
        it.worker.stop()
        await it.told("worker_draining")
        it.store.failures["claim"].clear()
        reader.push(DONE)
        await task
        assert it.store.states() == {"completed": 1}


@aio
async def test_a_probe_that_is_under_way_does_not_outlive_the_worker():
    """No task is left behind."""
    before = asyncio.all_tasks()
    async with house(endpoints=[endpoint(concurrency=8)]) as it:
        it.stream.usual = lambda: Unreachable("refused", charged=False)
        it.stream.alive = Unreachable("refused")
        it.store.queue(8)
        it.begin()
        watch = it.worker.watches["default"]
        while watch.breaker.state is BreakerState.CLOSED:
            await it.pass_(0.5)
        it.stream.probing = asyncio.Event()
        probes = it.stream.probes
        while it.stream.probes == probes:
            await it.pass_(1)
        it.worker.stop()
        await it.task
    assert asyncio.all_tasks() == before


@aio
async def test_a_worker_that_is_cancelled_hands_back_without_the_grace():
    """Whoever cancels it cannot wait."""
    async with house(shutdown_grace_seconds=3600) as it:
        it.store.queue()
        task = it.begin()
        await it.streaming(1)
        await it.settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert it.store.states() == {"queued": 1}
        assert it.store.signed_off == ["w1"]


# --- drain


@aio
async def test_drain_ends_when_nothing_is_left_to_do():
    """Completed and failed are both ends."""
    async with house(drain=True, endpoints=[endpoint(concurrency=2)]) as it:
        it.stream.usual = lambda: [say("hello"), DONE]
        it.store.queue(7)
        summary = await it.begin()
        assert it.store.states() == {"completed": 7}
        assert summary.completed == 7


@aio
async def test_drain_of_an_empty_queue_ends_at_once():
    """Without a single second."""
    async with house(drain=True) as it:
        await it.begin()
        assert it.clock.monotonic() == 1000


@pytest.mark.parametrize("why", ["delayed", "elsewhere"])
@aio
async def test_drain_does_not_end_while_something_may_still_come(why):
    """A prompt that waits for its moment, or that another worker carries, may come back."""
    async with house(drain=True) as it:
        it.stream.usual = lambda: [say("hello"), DONE]
        (prompt,) = it.store.queue()
        if why == "delayed":
            prompt.delayed = True
        else:
            prompt.status = PromptState.RUNNING
        task = it.begin()
        await it.settle()
        await it.pass_(5)
        assert not task.done()
        prompt.delayed, prompt.status = False, PromptState.QUEUED
        await it.pass_(1)
        await task
        assert it.store.states() == {"completed": 1}


@aio
async def test_drain_does_not_wait_for_endpoints_that_this_worker_does_not_have():
    """Their prompts are for other workers."""
    async with house(drain=True) as it:
        it.store.queue(endpoint="elsewhere")
        await it.begin()
        assert it.store.states() == {"queued": 1}


@aio
async def test_drain_waits_for_a_run_that_could_not_be_stored_and_carries_it_again():
    """It was handed back as an orphan; nothing is forgotten."""
    async with house(drain=True) as it:
        it.store.lost_answers["claim"].append(StoreBusy("connection reset"))
        it.stream.usual = lambda: [say("hello"), DONE]
        it.store.queue()
        task = it.begin()
        await it.settle()
        assert it.store.states() == {"running": 1}
        await it.pass_(11)
        await task
        assert it.store.states() == {"completed": 1}


def unauthorized() -> Refused:
    return Refused("HTTP 401: no such key", code=ErrorCode.UNAUTHORIZED, http_status=401)


@aio
async def test_drain_ends_with_a_sentence_where_an_endpoint_never_let_anybody_in():
    """A key with a typing error: no prompt has failed, all stay queued for the right one."""
    ends = [endpoint(concurrency=4), endpoint(name="other")]
    async with house(drain=True, endpoints=ends) as it:
        it.stream.usual = unauthorized
        it.stream.alive = unauthorized()
        it.store.queue(60)
        with pytest.raises(Refused, match="endpoint 'default' has never answered"):
            await it.begin()
        assert it.store.states() == {"queued": 60}
        assert len(it.stream.requests) == 4
        assert it.store.signed_off == ["w1"]


@aio
async def test_drain_first_does_what_can_be_done():
    """Another endpoint works: its prompts are carried to their end before the sentence comes."""
    ends = [endpoint(concurrency=30), endpoint(name="slow", concurrency=1)]
    async with house(drain=True, endpoints=ends) as it:
        it.store.queue(1, endpoint="slow")
        it.store.queue(30)
        it.stream.usual = unauthorized
        it.stream.alive = unauthorized()
        it.stream.responses.extend([*(unauthorized() for _ in range(30)), [HOLD, say("a"), DONE]])
        task = it.begin()
        (reader,) = await it.streaming(1)
        await it.pass_(3)
        assert not task.done()
        reader.push()
        with pytest.raises(Refused):
            await task
        assert it.store.states()["completed"] == 1


@aio
async def test_drain_waits_where_an_endpoint_has_worked_before():
    """The account ran dry at three; somebody tops it up at seven, and the rest is done."""
    # The keeper of the lease lives in real time, in which these hours take a second.
    async with house(drain=True, lease_seconds=1e6, endpoints=[endpoint(concurrency=1)]) as it:
        empty = Refused("empty", code=ErrorCode.QUOTA_EXHAUSTED, http_status=402)
        it.stream.responses.append([say("hello"), DONE])
        it.stream.usual = lambda: empty
        it.stream.alive = empty
        it.store.queue(41)
        task = it.begin()
        await it.told("breaker_opened")
        await it.pass_(600)
        assert not task.done()
        assert it.store.states() == {"completed": 1, "queued": 40}
        for prompt in it.store.prompts.values():
            prompt.delayed = False
        it.stream.usual = lambda: [say("hello"), DONE]
        it.stream.alive = None
        while not task.done():
            await it.pass_(10)
        assert it.store.states() == {"completed": 41}


# --- hearing


@aio
async def test_with_listening_on_a_change_of_the_database_wakes_the_claims():
    """The waker is a thread; what it hears reaches the loop."""
    async with house(listen=True, poll_seconds=3600, lease_seconds=3600) as it:
        versions = iter(range(10**9))
        heard = threading.Event()

        def data_version() -> int:
            return next(versions) if heard.is_set() else -1

        it.store.data_version = data_version
        it.begin()
        await it.settle()
        it.store.queue()
        heard.set()
        await it.streaming(1)
        assert it.store.states() == {"running": 1}
