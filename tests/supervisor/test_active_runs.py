"""The runs under way: started, told apart, stopped, waited for, and counted when they end."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.fakes.aio import aio, turns
from tests.fakes.clock import FakeClock
from tests.fakes.scripted_commits import ScriptedCommits
from tests.fakes.scripted_stream import (
    CHAT,
    DONE,
    END,
    HOLD,
    STOP,
    ScriptedStream,
    endpoint,
    event,
    run,
    say,
)
from worker.endpoints.breaker import FAILURES_TO_OPEN, BreakerState
from worker.endpoints.monitor import EndpointMonitor
from worker.errors import (
    Broken,
    Cancelled,
    ErrorCode,
    LeaseLost,
    Refused,
    SettingsError,
    ShutDown,
    StoreBroken,
    StoreBusy,
    StoreError,
)
from worker.run.buffer import Budget, Limits
from worker.run.context import RunContext
from worker.states import PromptEvent
from worker.supervisor.active_runs import ActiveRuns, Summary, first_of


class Crew:
    """Carriers with an endpoint to go to."""

    def __init__(self, *responses: object, held: bool = False) -> None:
        self.clock = FakeClock()
        self.stream = ScriptedStream(self.clock, *responses)
        self.commits = ScriptedCommits(held=held)
        self.said: list[tuple[str, dict[str, object]]] = []
        self.rooms_told = 0
        self.carriers = ActiveRuns(clock=self.clock, log=self.log, on_room=self.room)
        self.watch = EndpointMonitor(endpoint(), CHAT, self.stream, clock=self.clock, log=self.log)
        self.rooms = RunContext(
            stream=self.stream,
            submit=self.commits,
            clock=self.clock,
            limits=Limits(),
            budget=Budget(10**6),
            max_frame_bytes=10**5,
        )

    def log(self, event: str, **values: object) -> None:
        self.said.append((event, values))

    def room(self) -> None:
        self.rooms_told += 1

    def start(self, id_: int = 1, **changes: object) -> None:
        self.carriers.start(run(id_, **changes), self.watch, self.rooms)

    async def all_ended(self) -> None:
        while self.carriers:
            await turns(1)
        await turns()

    @property
    def words(self) -> list[str]:
        return [event for event, _ in self.said]


@aio
async def test_a_run_whose_id_is_carried_is_not_started():
    """The database went back and gave the id out again: two answers would share one place."""
    it = Crew([say("hello"), DONE])
    it.start()
    again = run(1, nonce=7)
    assert not it.carriers.start(again, it.watch, it.rooms)
    assert (len(it.carriers), it.carriers.nonces) == (1, {1: None})
    await it.all_ended()
    assert it.words == ["run_claimed", "run_completed"]


@aio
async def test_a_run_is_carried_from_its_claim_to_its_end():
    """Two events tell its story, and its slot is free again."""
    it = Crew([say("hello"), DONE])
    it.start()
    assert (len(it.carriers), it.carriers.nonces.keys()) == (1, {1})
    await it.all_ended()
    assert it.words == ["run_claimed", "run_completed"]
    assert it.said[1][1] == {
        "run_id": 1,
        "prompt_id": 101,
        "chars": 5,
        "completion_tokens": None,
        "finish_reason": None,
    }
    assert it.carriers.summary == Summary(completed=1)
    assert it.rooms_told == 1


@aio
async def test_an_answer_that_its_length_limit_cut_is_counted():
    """It is complete for the server, and not for a person."""
    limit = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
    it = Crew([say("half of"), limit, DONE], [say("whole"), STOP, DONE])
    for id_ in (1, 2):
        it.start(id_)
    await it.all_ended()
    assert it.carriers.summary == Summary(completed=2, truncated=1)


@pytest.mark.parametrize(
    ("steps", "changes", "word", "summary"),
    [
        ([say("x"), END], {}, "run_interrupted", Summary(requeued=1)),
        ([say("x"), END], {"runs_without_progress": 19}, "run_failed", Summary(failed=1)),
        (Refused("never"), {}, "run_failed", Summary(failed=1)),
    ],
)
@aio
async def test_each_other_end_is_told_and_counted(steps, changes, word, summary):
    """With its code, its words, and when it goes on."""
    it = Crew(steps)
    it.start(**changes)
    await it.all_ended()
    assert it.words[-1] == word
    assert it.said[-1][1]["error_code"] in set(ErrorCode)
    assert it.carriers.summary == summary


@aio
async def test_runs_can_be_stopped_one_by_one_or_all_together():
    """Ids of runs that ended meanwhile are nobody's."""
    it = Crew([HOLD], [HOLD], [HOLD])
    for id_ in (1, 2, 3):
        it.start(id_)
    await turns()
    it.carriers.stop(Cancelled("cancelled by its owner"), [2, 99])
    await turns()
    assert it.carriers.nonces.keys() == {1, 3}
    it.carriers.stop(ShutDown("stop", charged=False))
    await it.all_ended()
    assert it.carriers.summary == Summary(cancelled=1, requeued=2)
    assert it.words.count("run_cancelled") == 1


@aio
async def test_a_run_that_is_stopped_before_its_first_step_leaves_nothing_behind():
    """Neither its slot nor its row: both would be stuck for ever."""
    it = Crew()
    it.start()
    it.carriers.stop(ShutDown("stop", charged=False))
    await it.all_ended()
    assert it.stream.requests == []
    assert [end.prompt_event for end in it.commits.endings] == [PromptEvent.REQUEUE]
    assert it.carriers.summary == Summary(requeued=1)


@pytest.mark.parametrize(
    ("error", "word", "summary"),
    [
        (LeaseLost("gone"), "run_lost", Summary(lost=1)),
        (StoreBusy("away"), "run_unstored", Summary(unstored=1)),
    ],
)
@aio
async def test_a_run_that_could_not_be_written_is_told_apart(error, word, summary):
    """Lost to another worker, or kept from the database."""
    it = Crew([say("x"), DONE])
    it.commits.failures.append(error)
    it.start()
    await it.all_ended()
    assert (it.words[-1], it.carriers.summary) == (word, summary)
    assert it.carriers.broken is None


@pytest.mark.parametrize(
    ("response", "refusals"),
    [
        ([say("x"), DONE], [StoreBroken("no such table")]),
        ([say("x"), DONE], [StoreError("odd", code=ErrorCode.INTERNAL_ERROR)] * 2),
        (SettingsError("the key holds a line break"), []),
    ],
)
@aio
async def test_what_no_other_run_would_escape_is_kept_for_the_loop(response, refusals):
    """Schema, permissions, settings: to go on would only burn prompts."""
    it = Crew(response)
    it.commits.failures.extend(refusals)
    it.start()
    await it.all_ended()
    assert isinstance(it.carriers.broken, StoreError | SettingsError)


@aio
async def test_wrong_settings_charge_no_prompt():
    """The prompt goes back as it was."""
    it = Crew(SettingsError("the key holds a line break"))
    it.start()
    await it.all_ended()
    (ending,) = it.commits.endings
    assert (ending.prompt_event, ending.charged) == (PromptEvent.REQUEUE, False)


class Clumsy(ScriptedCommits):
    """Stumbles over the first ending."""

    def __call__(self, run_id, chunks, ending=None):
        if ending is not None and not self.endings and self.stumbles:
            self.stumbles -= 1
            raise RuntimeError("a bug")
        return super().__call__(run_id, chunks, ending)

    stumbles = 1


def clumsy(it: Crew) -> None:
    it.commits = Clumsy()
    it.rooms = replace(it.rooms, submit=it.commits)


@aio
async def test_a_fault_of_ours_in_the_ending_does_not_leave_the_run_behind():
    """An ending with nothing but the reason, charged, so that it cannot repeat without end."""
    it = Crew([say("x"), DONE])
    clumsy(it)
    it.start()
    await it.all_ended()
    (ending,) = it.commits.endings
    assert (ending.error_code, ending.charged) == (ErrorCode.INTERNAL_ERROR, True)
    assert ending.chars is None, "how far it came only the store can tell"
    assert ending.error.startswith("internal error: RuntimeError: a bug (test_active_runs.py:")
    assert it.carriers.summary == Summary(requeued=1)
    assert it.rooms.budget.used_bytes == 0


@aio
async def test_a_fault_of_ours_while_the_database_is_away_is_still_an_end():
    """The slot is free; the row is handed back later."""
    it = Crew([say("x"), DONE])
    clumsy(it)
    it.commits.failures.append(StoreBusy("away"))
    it.start()
    await it.all_ended()
    assert it.carriers.summary == Summary(unstored=1)


@aio
async def test_the_endpoint_learns_how_its_runs_end():
    """Failures in a row open its breaker; the first frame of the next answer closes it."""
    it = Crew(*[Broken("reset")] * FAILURES_TO_OPEN, [say("x"), HOLD])
    for id_ in range(FAILURES_TO_OPEN):
        it.start(id_)
        await it.all_ended()
    assert it.watch.breaker.state is BreakerState.OPEN
    told = it.rooms_told
    it.start(99)
    await turns()
    assert it.watch.breaker.state is BreakerState.CLOSED
    assert it.rooms_told == told + 1
    it.carriers.stop(ShutDown("stop", charged=False))
    await it.all_ended()


@aio
async def test_a_first_frame_that_closes_nothing_wakes_nobody():
    """Every run has one; the loop need not look each time."""
    it = Crew([say("x"), HOLD])
    it.start()
    await turns()
    assert it.rooms_told == 0
    it.carriers.stop(ShutDown("stop", charged=False))
    await it.all_ended()


@aio
async def test_a_run_that_was_cancelled_from_elsewhere_frees_its_slot():
    """Nobody counts on it any more."""
    it = Crew([HOLD])
    it.start()
    await turns()
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "run-1"]
    task.cancel()
    await it.all_ended()
    assert it.rooms_told == 1


# --- waiting for the end


@aio
async def test_waiting_ends_when_every_run_has_ended():
    """Not later: the grace is a limit, not a delay."""
    it = Crew([HOLD], [HOLD])
    it.start(1)
    it.start(2)
    await turns()
    waiting = asyncio.create_task(it.carriers.ended(30))
    await turns()
    for reader in it.stream.readers:
        reader.push(DONE)
    await waiting
    assert len(it.carriers) == 0


@aio
async def test_waiting_ends_with_its_time():
    """Streams may go on for hours; the grace does not."""
    it = Crew([HOLD])
    it.start()
    await turns()
    waiting = asyncio.create_task(it.carriers.ended(30))
    await it.clock.until_sleeping()
    await it.clock.advance(29)
    assert not waiting.done()
    await it.clock.advance(1)
    await waiting
    assert len(it.carriers) == 1
    it.carriers.stop(ShutDown("stop", charged=False))
    await it.all_ended()


@aio
async def test_waiting_ends_when_somebody_is_in_a_hurry():
    """The second signal."""
    it = Crew([HOLD])
    it.start()
    hurry = asyncio.Event()
    waiting = asyncio.create_task(it.carriers.ended(30, hurry.wait()))
    await turns()
    assert not waiting.done()
    hurry.set()
    await waiting
    it.carriers.stop(ShutDown("stop", charged=False))
    await it.all_ended()


@aio
async def test_without_runs_there_is_nothing_to_wait_for():
    """And what would have hurried us is not left over."""
    it = Crew()
    await it.carriers.ended(30, asyncio.Event().wait())
    assert it.clock.slept == []


@aio
async def test_of_several_waits_the_others_are_given_up():
    """No task is left behind, whichever came first, and also if nobody waits any more."""
    before = asyncio.all_tasks()
    await first_of(asyncio.sleep(0), asyncio.Event().wait())
    waiting = asyncio.create_task(first_of(asyncio.Event().wait(), asyncio.Event().wait()))
    await turns()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert asyncio.all_tasks() == before


@aio
async def test_what_is_known_of_the_endpoint_decides_about_the_attempt():
    """The monitor is asked with the failure; what it finds is stored with the run."""
    it = Crew([say("x"), Broken("reset")])
    it.start()
    await it.all_ended()
    (ending,) = it.commits.endings
    assert (ending.charged, ending.runs_without_progress) == (False, 1)
    assert ending.cut_id is not None
