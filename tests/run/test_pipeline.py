"""`stream_run`: one run from its first byte to its last durable word, whatever happens on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
    PING,
    SECRET,
    STOP,
    USAGE,
    Do,
    Pause,
    ScriptedReader,
    ScriptedStream,
    endpoint,
    event,
    run,
    say,
    think,
)
from worker.errors import (
    Broken,
    Busy,
    Cancelled,
    ErrorCode,
    LeaseLost,
    Malformed,
    Refused,
    ServerFailed,
    SettingsError,
    ShutDown,
    SpoolError,
    StoreBroken,
    StoreBusy,
    StoreError,
    Unreachable,
    Verdict,
)
from worker.records import Kind, Usage
from worker.run.attribution import Evidence, Failure, Finding
from worker.run.buffer import Budget, Limits
from worker.run.context import LAST_LOOK_SECONDS, Outcome, RunContext, RunHandle
from worker.run.finish import as_error
from worker.run.pipeline import stream_run
from worker.states import PromptEvent, RunEvent


class Carried:
    """One run, its surroundings, and the task that carries it."""

    def __init__(
        self, *responses: object, limits: Limits | None = None, held: bool = False
    ) -> None:
        self.clock = FakeClock(autojump_seconds=0)
        self.stream = ScriptedStream(self.clock, *responses)
        self.commits = ScriptedCommits(held=held)
        self.budget = Budget(1_000_000)
        self.rooms = RunContext(
            stream=self.stream,
            submit=self.commits,
            clock=self.clock,
            limits=limits or Limits(flush_seconds=1.0, flush_bytes=1000, stream_bytes=4000),
            budget=self.budget,
            max_frame_bytes=100_000,
        )
        self.is_alive = True
        self.asked = 0
        self.answers = 0
        self.control = RunHandle(run(), judge=self.finding, on_answer=self.answered)

    async def finding(self, control: RunHandle, failure: Failure) -> Finding:
        self.asked += 1
        return Finding(Evidence.WELL if self.is_alive else Evidence.DOWN)

    def answered(self, _: RunHandle) -> None:
        self.answers += 1

    def asks_slowly(self) -> tuple[asyncio.Event, asyncio.Event]:
        """Set when it is asked whether the endpoint is alive; set it to have that answered."""
        asked, answer = asyncio.Event(), asyncio.Event()

        async def slow(*_: object) -> Finding:
            asked.set()
            await answer.wait()
            return Finding(Evidence.WELL)

        self.control = RunHandle(run(), judge=slow)
        return asked, answer

    def start(self, **changes: object) -> asyncio.Task[Outcome]:
        place = changes.pop("endpoint", endpoint())
        return asyncio.create_task(
            stream_run(run(**changes), place, CHAT, self.rooms, self.control)
        )

    async def outcome(self, **changes: object) -> Outcome:
        outcome = await self.start(**changes)
        assert self.budget.used_bytes == 0
        return outcome

    async def holding(self) -> ScriptedReader:
        """The reader, once it waits for the test."""
        while not self.stream.readers:
            await turns(1)
        reader = self.stream.readers[-1]
        await reader.holding.wait()
        return reader


# --- the done frame


@aio
async def test_an_answer_that_never_ends_is_ended_and_what_came_is_kept():
    """A model that repeats itself fills a disk in a night."""
    carried = Carried([say("x" * 100)] * 10_000)
    outcome = await carried.outcome(endpoint=endpoint(max_output_bytes=5_000))
    assert outcome.ending.error_code == ErrorCode.OUTPUT_TOO_LARGE
    assert "max_output_bytes = 5000" in outcome.ending.error
    assert outcome.ending.prompt_event is PromptEvent.FAIL
    assert 5_000 < outcome.ending.chars <= 5_100
    assert len(carried.commits.text) == outcome.ending.chars


EMPTY = [
    event({"choices": []}),
    event({"choices": [{"index": 0, "delta": {}}]}),
    event({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": None}]}),
    event({"choices": [], "usage": None}),
    PING,
    b"\n",
]


@aio
@pytest.mark.parametrize("empty", EMPTY)
async def test_frames_that_hold_nothing_are_no_progress(empty):
    """A server that sends them for ever says nothing for ever."""
    carried = Carried([say("x"), *[Pause(0.5), empty] * 1000])
    outcome = await carried.outcome(endpoint=endpoint(idle_timeout_seconds=8))
    assert outcome.ending.error_code == ErrorCode.IDLE_TIMEOUT
    assert carried.clock.monotonic() < 1000 + 8 + 2


@aio
@pytest.mark.parametrize(
    "frames",
    [
        [say("x")] * 20,
        [think("x")] * 20,
        [event({"choices": [], "usage": {"completion_tokens": n}}) for n in range(20)],
        [event({"choices": [], "prompt_progress": {"processed": n}}) for n in range(20)],
    ],
)
async def test_output_counts_and_changes_of_state_are_progress(frames):
    """However slowly they come."""
    steps = [step for frame in frames for step in (Pause(5), frame)]
    carried = Carried([say("a"), *steps, STOP, DONE])
    outcome = await carried.outcome(endpoint=endpoint(idle_timeout_seconds=8))
    assert outcome.ending.prompt_event is PromptEvent.COMPLETE


@aio
async def test_an_unfinished_frame_is_charged_to_the_budget_of_the_worker():
    """It is held as text is; when the streams hold too much together, the longest is tried again."""
    begun = b'data: {"choices":[{"index":0,"delta":{"content":"'
    carried = Carried([begun, *[b"x" * 1000] * 90, HOLD])
    carried.budget = carried.rooms.budget
    running = carried.start()
    await carried.holding()
    assert 90_000 < carried.budget.used_bytes < 100_000
    carried.control.stop(ShutDown("bye"))
    await running
    assert carried.budget.used_bytes == 0
    crowded = Carried([begun, *[b"x" * 1000] * 90, HOLD])
    crowded.budget.used_bytes = crowded.budget.held_bytes = 450_000
    crowded.budget.holders = 10
    outcome = await crowded.start()
    assert outcome.ending.error_code == ErrorCode.FRAME_TOO_LARGE
    assert outcome.ending.prompt_event is PromptEvent.REQUEUE
    assert crowded.budget.used_bytes == crowded.budget.held_bytes == 450_000


@aio
async def test_thoughts_and_tool_calls_count_against_the_bytes_of_an_answer():
    """All of it is stored; and an answer that is done is not too long."""
    carried = Carried([think("\u00e9" * 50)] * 10_000)
    outcome = await carried.outcome(endpoint=endpoint(max_output_bytes=5_000))
    assert outcome.ending.error_code == ErrorCode.OUTPUT_TOO_LARGE
    carried = Carried([say("x" * 6_000) + STOP + DONE])
    outcome = await carried.outcome(endpoint=endpoint(max_output_bytes=5_000))
    assert outcome.ending.prompt_event is PromptEvent.COMPLETE


@aio
async def test_a_run_is_completed_in_one_transaction_when_the_done_frame_arrives():
    """The last chunk, usage, finish reason and both states go in together."""
    it = Carried([say("Hello "), say("world"), STOP, USAGE, DONE])
    outcome = await it.outcome()
    (last,) = it.commits.submitted
    assert last.text == "Hello world"
    assert last.ending == outcome.ending
    ending = outcome.ending
    assert ending is not None
    assert (ending.run_event, ending.prompt_event) == (RunEvent.COMPLETE, PromptEvent.COMPLETE)
    assert (ending.done_frame, ending.finish_reason, ending.usage) == (True, "stop", Usage(3, 5))
    assert (ending.chars, ending.chunks, ending.error_code) == (11, 1, None)
    assert (ending.http_status, ending.request_id) == (200, "req-1")
    assert (outcome.error, outcome.answered) == (None, True)


@aio
async def test_after_the_done_frame_the_connection_is_drained_and_closed():
    """It can be kept for the next request, and is let go of in any case."""
    it = Carried([say("x"), DONE])
    await it.outcome()
    assert it.stream.readers[0].drained
    assert it.stream.closed == 1


@aio
async def test_the_ending_is_on_its_way_while_the_connection_is_drained():
    """Draining may take a second; the answer is durable before that."""
    it = Carried([say("x"), DONE])
    durable_before = []

    class Slow(ScriptedReader):
        async def drain(self) -> None:
            await turns()
            durable_before.append(list(it.commits.endings))

    it.stream.responses[0] = Slow([say("x"), DONE], it.clock)
    await it.outcome()
    assert len(durable_before[0]) == 1


@pytest.mark.parametrize("error", [Broken("reset"), Malformed("odd")])
@aio
async def test_what_goes_wrong_after_the_done_frame_undoes_nothing(error):
    """A transport error on leaving the response does not take a completion back."""
    it = Carried([say("x"), DONE])
    it.stream.on_close = error
    outcome = await it.outcome()
    assert outcome.error is None
    assert [ending.run_event for ending in it.commits.endings] == [RunEvent.COMPLETE]


@aio
async def test_a_stop_after_the_done_frame_is_ignored():
    """A run that is ending anyway ends as what it is: completed."""
    it = Carried([say("x"), DONE], held=True)
    task = it.start()
    await it.commits.arrived.wait()
    it.control.stop(Cancelled("no longer wanted"))
    it.commits.land_all()
    assert (await task).ending.run_event is RunEvent.COMPLETE


@aio
async def test_an_empty_completion_is_completed_and_flagged():
    """Zero text before the done frame is an answer, but a person wants to know."""
    it = Carried([STOP, DONE])
    ending = (await it.outcome()).ending
    assert ending.run_event is RunEvent.COMPLETE
    assert ending.error_code == ErrorCode.NOTHING_GENERATED
    assert ending.chunks == 0


@aio
async def test_an_answer_of_which_everything_is_flushed_already_is_not_empty():
    """ "Nothing generated" is said only where nothing was."""
    it = Carried([say("x"), Pause(2), PING, DONE])
    ending = (await it.outcome()).ending
    assert (ending.error_code, ending.chunks, ending.chars) == (None, 1, 1)


@aio
async def test_a_finish_reason_in_place_of_a_done_frame_is_recorded_as_such():
    """Where an endpoint accepts that, `done_frame` tells the two apart."""

    class Lenient:
        frames, usage, finish_reason, progress, held_bytes = 1, Usage(), "stop", 1, 0

        def feed(self, data):
            from worker.wire.events import Done

            return [Done("stop", Usage(), done_frame=False)]

    class LenientDialect:
        request, simpler = CHAT.request, CHAT.simpler

        def decoder(self, endpoint, **_):
            return Lenient()

    it = Carried([b"x"])
    outcome = await stream_run(run(), endpoint(), LenientDialect(), it.rooms, it.control)
    assert outcome.ending.run_event is RunEvent.COMPLETE
    assert outcome.ending.done_frame is False


# --- text and its order


@aio
async def test_text_is_flushed_when_it_is_old_enough():
    """kill -9 loses at most one flush interval of text."""
    it = Carried([say("a"), Pause(0.4), say("b"), Pause(30), say("c"), DONE])
    await it.outcome()
    assert [flush.text for flush in it.commits.submitted] == ["ab", "c"]
    assert it.stream.readers[0].waits[1] == 1.0
    assert it.stream.readers[0].waits[2] == pytest.approx(0.6)


@aio
async def test_text_is_flushed_when_it_is_long_enough():
    """... whichever comes first."""
    it = Carried([say("a" * 600), say("b" * 600), say("c"), DONE])
    await it.outcome()
    assert [len(flush.text) for flush in it.commits.submitted] == [1200, 1]


@aio
async def test_half_an_hour_of_slow_words_is_one_run():
    """A word every minute and a half: each is stored within a flush interval, and none is too late."""
    it = Carried([step for n in range(20) for step in (say(f"{n} "), Pause(90))] + [DONE])
    outcome = await it.outcome(endpoint=endpoint(idle_timeout_seconds=120))
    assert outcome.error is None
    assert it.clock.monotonic() == pytest.approx(1000 + 1800)
    assert [flush.text for flush in it.commits.submitted] == [*(f"{n} " for n in range(20)), ""]


@aio
async def test_while_a_flush_is_under_way_reading_goes_on_and_the_next_one_waits():
    """A run has at most one flush under way, and its text keeps its order."""
    it = Carried([say("a" * 1000), say("b" * 1000), say("c" * 500), HOLD], held=True)
    task = it.start()
    reader = await it.holding()
    assert [flush.text for flush in it.commits.submitted] == ["a" * 1000]
    it.commits.land_all()
    reader.push(say("d"), DONE)
    outcome = await task
    assert it.commits.text == "a" * 1000 + "b" * 1000 + "c" * 500 + "d"
    assert outcome.ending.chunks == len(it.commits.stored)
    assert it.budget.used_bytes == 0


@aio
async def test_text_that_came_during_a_flush_is_flushed_in_time_though_the_server_falls_silent():
    """The reader looks again within a flush interval; it does not sleep until the next byte."""
    it = Carried(held=True)
    landing = Do(it.commits.land_all)
    it.stream.responses.append(
        [say("a" * 1000), say("b"), Pause(0.5), landing, Pause(100), say("c"), DONE]
    )
    await it.outcome()
    assert [flush.text for flush in it.commits.submitted] == ["a" * 1000, "b", "c"]
    assert it.stream.readers[0].waits[:4] == [600, 120, 1.0, 119]


@aio
async def test_during_a_long_flush_the_reader_does_not_spin():
    """It looks at the clock once per flush interval, not without pause."""
    it = Carried(held=True)
    landing = Do(it.commits.land_all)
    it.stream.responses.append([say("a" * 1000), say("b"), Pause(50), landing, say("c"), DONE])
    await it.outcome()
    assert len(it.stream.readers[0].waits) < 60
    assert it.commits.text == "a" * 1000 + "bc"


@aio
async def test_kinds_are_kept_apart_and_in_order():
    """Thinking and text are different chunks, numbered as they came."""
    it = Carried([think("hm"), say("yes"), think("but"), say("no"), DONE])
    ending = (await it.outcome()).ending
    assert [(chunk.seq, chunk.kind, chunk.text) for chunk in it.commits.stored] == [
        (0, Kind.THINKING, "hm"),
        (1, Kind.TEXT, "yes"),
        (2, Kind.THINKING, "but"),
        (3, Kind.TEXT, "no"),
    ]
    assert (ending.chars, ending.chunks) == (5, 4)


@aio
async def test_the_age_of_the_first_text_is_reported():
    """`first_text_at` is computed by the database from an age, so clocks need not agree."""
    it = Carried([Pause(3), say("a"), Pause(7), DONE])
    assert (await it.outcome()).ending.first_text_seconds_ago == pytest.approx(7)


# --- a slow or absent database


@aio
async def test_a_slow_database_stops_the_reading_and_memory_stays_bounded():
    """With a full buffer the socket is read no further; nothing is dropped, nothing grows."""
    pieces = [say(f"{n:03}" + "x" * 497) for n in range(100)]
    it = Carried([*pieces, DONE], held=True)
    task = it.start()
    await it.commits.arrived.wait()
    await turns(200)
    assert len(it.stream.readers[0].waits) < 12
    assert it.budget.used_bytes <= 4000 + 500
    it.commits.land_all()
    outcome = await task
    assert it.commits.text == "".join(f"{n:03}" + "x" * 497 for n in range(100))
    assert outcome.ending.chars == 50_000


@aio
async def test_while_the_database_holds_us_up_no_deadline_of_the_server_passes():
    """Nobody reads, so nobody can say that the server was idle, or slow."""
    steps = [say("x" * 2000), say("y" * 2000), Pause(1), say("z"), Pause(4), DONE]
    it = Carried(steps, held=True)
    place = endpoint(idle_timeout_seconds=5, total_timeout_seconds=20)
    task = it.start(endpoint=place)
    await it.commits.arrived.wait()
    await turns()
    assert it.commits.submitted[0].text == "x" * 2000
    it.clock.move(3600)
    it.commits.land_all()
    assert (await task).ending.run_event is RunEvent.COMPLETE


@aio
async def test_before_the_first_frame_an_hour_without_a_database_is_not_held_against_the_server():
    """Other runs filled the worker's memory, so this one was not read: not its server's fault."""
    it = Carried([PING, PING, say("x"), DONE], held=True)
    it.budget.used_bytes = 1_000_000
    task = it.start(endpoint=endpoint(first_frame_timeout_seconds=60))
    await it.commits.arrived.wait()
    await turns()
    it.clock.move(3600)
    it.budget.used_bytes = 0
    it.commits.land_all()
    assert (await task).ending.run_event is RunEvent.COMPLETE


@aio
async def test_an_exhausted_worker_budget_stops_every_run():
    """The bound of a worker holds, however many runs it carries."""
    it = Carried([say("a"), say("b"), say("c"), DONE], held=True)
    it.budget.used_bytes = 1_000_000
    task = it.start()
    await it.commits.arrived.wait()
    await turns(100)
    assert len(it.stream.readers[0].waits) == 1
    it.budget.used_bytes -= 1_000_000
    it.commits.land_all()
    assert (await task).error is None
    assert it.commits.text == "abc"


@aio
async def test_a_flush_that_the_worker_gave_up_is_sent_again_with_the_ending():
    """The database came back at the last moment: what is stored then has no hole."""
    it = Carried([say("a" * 1000), say("b"), HOLD], held=True)
    task = it.start()
    reader = await it.holding()
    (flight,) = it.commits.submitted
    reader.push(DONE)
    while not reader.drained:
        await turns(1)
    it.commits.land(flight, StoreBusy("the worker had to end"))
    it.commits.land_all()
    await turns()
    it.commits.land_all()
    outcome = await task
    assert outcome.ending.run_event is RunEvent.COMPLETE
    assert it.commits.text == "a" * 1000 + "b"
    assert outcome.ending.chunks == 2


@aio
async def test_a_run_whose_last_words_are_not_stored_says_so():
    """The database stayed away until the end: no ending is claimed."""
    it = Carried([say("a"), DONE])
    it.commits.failures.append(StoreBusy("away"))
    outcome = await it.outcome()
    assert outcome.ending is None
    assert isinstance(outcome.error, StoreBusy)
    assert outcome.answered


@aio
async def test_a_broken_database_ends_the_run_at_once_and_closes_the_stream():
    """A flush that can never land: no more tokens are bought for it."""
    it = Carried([say("a" * 1000), HOLD])
    it.commits.failures.append(StoreBroken("no such table"))
    outcome = await it.outcome()
    assert it.stream.closed == 1
    assert outcome.ending is None
    assert isinstance(outcome.error, StoreBroken)
    assert len(it.commits.submitted) == 1


@aio
async def test_a_flush_that_can_never_be_stored_fails_the_run_without_its_text():
    """The prompt is not stuck: it fails with a reason, and the worker goes on."""
    it = Carried([say("a" * 1000), HOLD])
    refusal = StoreError("no NUL", code=ErrorCode.UNSTORABLE, verdict=Verdict.FAIL)
    it.commits.failures.append(refusal)
    outcome = await it.outcome()
    last = it.commits.submitted[-1]
    assert last.chunks == []
    assert (last.ending.run_event, last.ending.prompt_event) == (RunEvent.FAIL, PromptEvent.FAIL)
    assert (last.ending.error_code, last.ending.chunks) == (ErrorCode.UNSTORABLE, 0)
    assert outcome.ending == last.ending


@aio
async def test_last_words_that_can_never_be_stored_fail_the_run_and_keep_what_was_flushed():
    """The earlier chunks stay; a hole is not papered over with a completion."""
    it = Carried([say("good" * 250), Pause(5), say("bad"), DONE])
    refusal = StoreError("no NUL", code=ErrorCode.UNSTORABLE, verdict=Verdict.FAIL)
    it.commits.failures.extend([None, refusal])
    outcome = await it.outcome()
    assert it.commits.text == "good" * 250
    assert outcome.ending.run_event is RunEvent.FAIL
    assert it.commits.endings[-1].chunks == 1


@aio
async def test_a_fault_while_storing_one_run_is_charged_and_tried_again():
    """An unknown complaint about one item is not taken for a broken database."""
    it = Carried([say("a"), DONE])
    it.commits.failures.append(StoreError("odd", code=ErrorCode.INTERNAL_ERROR))
    ending = (await it.outcome()).ending
    assert (ending.run_event, ending.prompt_event) == (RunEvent.INTERRUPT, PromptEvent.REQUEUE)
    assert (ending.error_code, ending.charged) == (ErrorCode.INTERNAL_ERROR, True)


@aio
async def test_if_not_even_the_bare_ending_can_be_stored_the_run_is_unstored():
    """There is nothing left to try; the worker is told."""
    it = Carried([say("a"), DONE])
    odd = StoreError("odd", code=ErrorCode.INTERNAL_ERROR)
    it.commits.failures.extend([odd, odd])
    outcome = await it.outcome()
    assert (outcome.ending, outcome.error) == (None, odd)


# --- the lease


@aio
async def test_a_lease_lost_in_mid_flush_closes_the_stream_at_once_and_writes_nothing_more():
    """Zero rows: stop streaming, close the response, not even a chunk."""
    it = Carried([say("a" * 1000), say("b"), HOLD], held=True)
    task = it.start()
    await it.holding()
    it.commits.land(it.commits.submitted[0], LeaseLost("gone"))
    outcome = await task
    assert it.stream.closed == 1
    assert len(it.commits.submitted) == 1
    assert (outcome.ending, outcome.error.code) == (None, ErrorCode.LEASE_LOST)
    assert it.budget.used_bytes == 0


@aio
async def test_a_lease_lost_while_reading_waits_for_the_flush_ends_the_run_the_same_way():
    """The buffer was full, so the run was waiting for exactly this flush."""
    it = Carried([say("a" * 5000), HOLD], held=True)
    task = it.start()
    await it.commits.arrived.wait()
    await turns()
    it.commits.land(it.commits.submitted[0], LeaseLost("gone"))
    outcome = await task
    assert (outcome.ending, it.stream.closed) == (None, 1)


@aio
async def test_a_lease_lost_with_the_done_frame_completes_nothing():
    """Another worker has the prompt: its run is the one that counts."""
    it = Carried([say("a"), DONE])
    it.commits.failures.append(LeaseLost("gone"))
    outcome = await it.outcome()
    assert (outcome.ending, outcome.error.code) == (None, ErrorCode.LEASE_LOST)


# --- the end without a done frame


@aio
async def test_a_clean_end_without_a_done_frame_is_no_completion():
    """The end of a stream is not the end of an answer; the text stays."""
    it = Carried([say("half"), STOP, END])
    outcome = await it.outcome()
    ending = outcome.ending
    assert it.commits.text == "half"
    assert (ending.run_event, ending.prompt_event) == (RunEvent.INTERRUPT, PromptEvent.REQUEUE)
    assert (ending.error_code, ending.done_frame) == (ErrorCode.NO_DONE_FRAME, False)
    assert (ending.finish_reason, ending.charged) == ("stop", True)
    assert outcome.answered


@aio
async def test_a_done_frame_that_only_lacks_its_newline_counts_at_the_end():
    """`[DONE]` is self-delimiting."""
    it = Carried([say("whole"), b"data: [DONE]", END])
    assert (await it.outcome()).ending.run_event is RunEvent.COMPLETE


@aio
async def test_a_done_frame_in_the_tail_counts_though_the_transport_broke():
    """The reset came after the answer was complete."""
    it = Carried([say("whole"), USAGE, b"data: [DONE]", Broken("reset by peer")])
    outcome = await it.outcome()
    assert outcome.error is None
    assert outcome.ending.run_event is RunEvent.COMPLETE
    assert outcome.ending.usage == Usage(3, 5)
    assert it.asked == 0


@aio
async def test_text_in_the_tail_of_a_broken_stream_is_kept():
    """A last frame that is whole but for its newline is text like any other."""
    it = Carried([say("one "), say("two").rstrip(), Broken("reset")])
    outcome = await it.outcome()
    assert it.commits.text == "one two"
    assert outcome.ending.error_code == ErrorCode.CONNECTION_LOST


@aio
async def test_a_frame_that_is_cut_in_two_is_dropped_without_a_word():
    """Half a frame is not text."""
    it = Carried([say("one "), say("two")[:-9], Broken("reset")])
    await it.outcome()
    assert it.commits.text == "one "


@aio
async def test_an_error_in_the_stream_keeps_the_text_before_it_and_wins_over_a_later_done():
    """First terminal frame wins."""
    it = Carried([say("before") + b'data: {"error": {"message": "boom"}}\n\n' + DONE])
    ending = (await it.outcome()).ending
    assert it.commits.text == "before"
    assert (ending.run_event, ending.error_code) == (RunEvent.INTERRUPT, ErrorCode.SERVER_ERROR)


@pytest.mark.parametrize(
    ("error", "run_event", "prompt_event", "charged"),
    [
        (Unreachable("refused", charged=False), RunEvent.INTERRUPT, PromptEvent.REQUEUE, False),
        (Broken("reset"), RunEvent.INTERRUPT, PromptEvent.REQUEUE, True),
        (Busy("later", charged=False), RunEvent.INTERRUPT, PromptEvent.REQUEUE, False),
        (ServerFailed("oops"), RunEvent.INTERRUPT, PromptEvent.REQUEUE, True),
        (Refused("never"), RunEvent.FAIL, PromptEvent.FAIL, True),
        (SettingsError("bad URL"), RunEvent.INTERRUPT, PromptEvent.REQUEUE, False),
    ],
)
@aio
async def test_each_verdict_before_the_first_byte(error, run_event, prompt_event, charged):
    """The error decides what becomes of run and prompt, and who pays."""
    it = Carried(*[error] * 3)
    outcome = await it.outcome()
    ending = outcome.ending
    assert (ending.run_event, ending.prompt_event, ending.charged) == (
        run_event,
        prompt_event,
        charged,
    )
    assert ending.error_code is not None
    assert (outcome.error, outcome.answered) == (error, False)


@aio
async def test_retry_after_is_obeyed():
    """The server's own wish is the delay."""
    it = Carried(Busy("slow down", charged=False, retry_after_seconds=17, http_status=429))
    ending = (await it.outcome()).ending
    assert (ending.delay_seconds, ending.http_status) == (17, 429)


@aio
async def test_the_last_attempt_fails_the_prompt_and_keeps_the_text():
    """`max_attempts` is the end; the words stay."""
    it = Carried([say("some"), END])
    ending = (await it.outcome(attempts=5)).ending
    assert (ending.run_event, ending.prompt_event) == (RunEvent.INTERRUPT, PromptEvent.FAIL)
    assert it.commits.text == "some"


@aio
async def test_a_prompt_that_cannot_be_asked_fails_without_a_request():
    """The dialect refuses; nothing is sent."""
    it = Carried()
    ending = (await it.outcome(prompt=None, messages=None, options={"stream": False})).ending
    assert it.stream.requests == []
    assert ending.run_event is RunEvent.FAIL


# --- deadlines


@aio
async def test_no_first_frame_in_time():
    """Headers and pings are no frames."""
    it = Carried([PING, Pause(400), PING, Pause(400)])
    ending = (await it.outcome(endpoint=endpoint(first_frame_timeout_seconds=600))).ending
    assert ending.error_code == ErrorCode.FIRST_FRAME_TIMEOUT
    assert it.clock.monotonic() == pytest.approx(1600 + LAST_LOOK_SECONDS)


@aio
async def test_a_server_that_sends_only_pings_is_idle():
    """Frames that carry progress count, pings do not."""
    pings = [step for _ in range(40) for step in (Pause(10), PING)]
    it = Carried([say("a"), *pings])
    ending = (await it.outcome(endpoint=endpoint(idle_timeout_seconds=120))).ending
    assert ending.error_code == ErrorCode.IDLE_TIMEOUT
    assert it.commits.text == "a"
    assert it.clock.monotonic() == pytest.approx(1120)


@aio
async def test_the_total_deadline_ends_a_stream_that_never_stops():
    """Off by default; where it is set, it holds."""
    it = Carried([step for _ in range(100) for step in (say("a"), Pause(1))])
    ending = (await it.outcome(endpoint=endpoint(total_timeout_seconds=30))).ending
    assert ending.error_code == ErrorCode.TOTAL_TIMEOUT
    assert it.clock.monotonic() == pytest.approx(1030)


class Mute(ScriptedStream):
    """Takes the request, and does not even send headers."""

    @asynccontextmanager
    async def open(self, *_: object) -> AsyncIterator[ScriptedReader]:
        await asyncio.Event().wait()
        yield ScriptedReader([], self.clock)


async def out_of_time(stream):
    """A run whose total deadline passes before the endpoint has said anything, and its ending."""
    it = Carried()
    it.rooms = replace(it.rooms, stream=stream(it.clock))
    place = endpoint(total_timeout_seconds=0.01, first_frame_timeout_seconds=600)
    ending = (await it.outcome(endpoint=place)).ending
    assert ending.error_code == ErrorCode.TOTAL_TIMEOUT
    return it, ending


@aio
async def test_the_total_deadline_holds_while_there_is_no_answer_at_all():
    """It is of the whole run: who has a minute does not wait ten for the first frame."""
    it, _ = await out_of_time(Mute)
    assert it.asked == 1, "it may be an outage"


class Stopped(Mute):
    """The same, while this process is stopped for five minutes."""

    @asynccontextmanager
    async def open(self, *asked: object) -> AsyncIterator[ScriptedReader]:
        self.clock.move(300)
        async with super().open(*asked) as reader:
            yield reader


@aio
async def test_whoever_slept_through_the_total_deadline_charges_nobody():
    """The answer may have come meanwhile, and gone."""
    _, ending = await out_of_time(Stopped)
    assert not ending.charged


@aio
async def test_without_any_deadline_the_reader_waits_for_ever():
    """0 means no limit."""
    place = endpoint(first_frame_timeout_seconds=0, idle_timeout_seconds=0)
    it = Carried([Pause(1e6), say("a"), Pause(1e6), DONE])
    assert (await it.outcome(endpoint=place)).error is None
    assert it.stream.readers[0].waits[0] is None


# --- outages and blame


@pytest.mark.parametrize("error", [Broken("reset"), ServerFailed("500")])
@aio
async def test_an_outage_of_the_endpoint_is_not_charged(error):
    """The endpoint answers nobody: no prompt is to blame."""
    it = Carried([say("a"), error])
    it.is_alive = False
    ending = (await it.outcome()).ending
    assert ending.charged is False
    assert it.commits.text == "a"


@aio
async def test_what_is_said_of_the_run_is_not_how_the_endpoint_stands():
    """An error is a fact: the sentence of the row is another one, made of it."""
    it = Carried([Broken("reset")])
    it.is_alive = False
    outcome = await it.outcome()
    assert outcome.ending.error_code == ErrorCode.ENDPOINT_DIED
    assert outcome.ending.error == "the endpoint went down: reset"
    error = outcome.error
    assert (error.message, error.code, error.charged) == ("reset", ErrorCode.CONNECTION_LOST, True)


@aio
async def test_what_the_monitor_finds_is_stored_with_the_run():
    """Those that broke off together share an id; the prompt counts runs without progress."""
    it = Carried([say("a"), Broken("reset")])

    async def together(*_: object) -> Finding:
        return Finding(Evidence.DOWN, cut_id=77)

    it.control = RunHandle(run(), judge=together)
    ending = (await it.outcome(runs_without_progress=2)).ending
    assert (ending.cut_id, ending.runs_without_progress, ending.charged) == (77, 3, False)


@aio
async def test_a_prompt_is_not_tried_for_ever_without_progress():
    """`max_runs` bounds what nobody can explain; the text is kept."""
    it = Carried([say("a"), Broken("reset")])
    it.is_alive = False
    it.control = RunHandle(run(), judge=it.finding, max_runs=4)
    ending = (await it.outcome(runs_without_progress=3)).ending
    assert ending.prompt_event is PromptEvent.FAIL
    assert ending.error.startswith("gave up after 4 runs without progress (max_runs)")
    assert it.commits.text == "a"


@pytest.mark.parametrize("kept", [499, 500])
@aio
async def test_progress_is_never_in_vain(kept):
    """A run that came 500 characters further than any before begins the count anew."""
    it = Carried([say("a" * (100 + kept)), Broken("reset")])
    it.is_alive = False
    ending = (await it.outcome(runs_without_progress=3, best_chars=100)).ending
    assert ending.runs_without_progress == (0 if kept == 500 else 4)


@aio
async def test_a_missing_done_frame_uses_up_an_attempt_unless_the_endpoint_is_out():
    """A server that answers others ended this one: the prompt may be the reason."""
    it = Carried([say("a"), END])
    assert (await it.outcome()).ending.charged is True
    assert it.asked == 1


@aio
async def test_a_clean_end_after_a_finish_reason_names_the_setting_that_accepts_it():
    """Some servers never send the done frame: that is no outage, and has a cure."""
    it = Carried([say("a"), STOP, END])
    it.is_alive = False
    ending = (await it.outcome()).ending
    assert ending.error_code == ErrorCode.NO_DONE_FRAME
    assert "accept_finish_without_done = true" in ending.error


@aio
async def test_the_finding_is_asked_for_once():
    """For every failure that is not this worker's own; the monitor knows which need evidence."""
    for error in (Refused("no", http_status=400), Malformed("odd"), Busy("wait", charged=False)):
        it = Carried(error)
        await it.outcome()
        assert it.asked == 1
    it = Carried(SettingsError("bad URL"))
    await it.outcome()
    assert it.asked == 0


@aio
async def test_text_does_not_wait_until_it_is_known_whose_fault_it_was():
    """A worker that is killed meanwhile loses no more than any other."""
    it = Carried([say("all of it"), Broken("reset")])
    asked, answer = it.asks_slowly()
    task = it.start()
    await asked.wait()
    assert it.commits.text == "all of it"
    assert it.commits.endings == []
    answer.set()
    assert (await task).ending.chars == len("all of it")
    assert it.commits.text == "all of it"


@aio
async def test_nor_does_text_that_came_during_a_flush():
    """It is stored as soon as that flush has landed, and once."""
    it = Carried([say("a" * 1000), HOLD], held=True)
    asked, answer = it.asks_slowly()
    task = it.start()
    reader = await it.holding()
    reader.push(say("b"), Broken("reset"))
    await asked.wait()
    assert [len(each.chunks) for each in it.commits.submitted] == [1]
    it.commits.land_all()
    await turns()
    assert it.commits.text == "a" * 1000 + "b"
    answer.set()
    ending = (await task).ending
    assert (ending.chars, ending.chunks) == (1001, 2)
    assert it.commits.text == "a" * 1000 + "b"


@pytest.mark.parametrize("failure", [None, LeaseLost("gone"), StoreBusy("away")])
@aio
async def test_the_ending_waits_for_a_flush_behind_a_flush(failure):
    """Nothing is sent beside it; and if it fails its text goes in with the ending."""
    it = Carried([say("a" * 1000), HOLD], held=True)
    asked, answer = it.asks_slowly()
    task = it.start()
    reader = await it.holding()
    reader.push(say("b"), Broken("reset"))
    await asked.wait()
    it.commits.land(it.commits.submitted[0])
    await turns()
    answer.set()
    await turns()
    assert [bool(each.ending) for each in it.commits.submitted] == [False, False]
    it.commits.land(it.commits.submitted[1], failure)
    await turns()
    it.commits.land_all()
    ending = (await task).ending
    assert (ending.chars, ending.chunks) == (1001, 2)
    assert it.commits.text == "a" * 1000 + "b"
    assert len(it.commits.endings) == 1


@aio
async def test_told_to_stop_a_run_does_not_wait_to_learn_whose_fault_it_was():
    """A probe may take long; a shutdown does not wait for it, and charges nobody."""
    it = Carried([say("a"), Broken("reset")])
    asking = asyncio.Event()

    async def never(*_: object) -> Finding:
        asking.set()
        await asyncio.Event().wait()
        raise AssertionError

    it.control = RunHandle(run(), judge=never)
    task = it.start(attempt=50, attempts=1, runs_without_progress=19)
    await asking.wait()
    it.control.stop(ShutDown("stop", charged=False))
    ending = (await task).ending
    assert (ending.error_code, ending.charged) == (ErrorCode.CONNECTION_LOST, False)
    assert it.commits.text == "a"


@aio
async def test_a_reason_that_many_runs_share_stays_as_it_is():
    """One `ShutDown` ends all runs: no secret of one endpoint is taken out of all of them."""
    it = Carried([say("a"), HOLD])
    task = it.start()
    await it.holding()
    reason = ShutDown(f"stop {SECRET}", charged=False)
    it.control.stop(reason)
    await task
    assert reason.message == f"stop {SECRET}"


@aio
async def test_the_first_frame_is_told_once_and_when_it_comes():
    """The breaker need not wait for the end of a six-hour answer."""
    it = Carried([PING, say("a"), HOLD])
    task = it.start()
    reader = await it.holding()
    assert it.answers == 1
    reader.push(say("b"), DONE)
    await task
    assert it.answers == 1


# --- cancel, shutdown, and being stopped early


@aio
async def test_cancel_closes_the_response_and_keeps_the_text():
    """Run and prompt are cancelled, the words stay."""
    it = Carried([say("some"), HOLD])
    task = it.start()
    await it.holding()
    it.control.stop(Cancelled("cancelled by its owner"))
    ending = (await task).ending
    assert it.stream.closed == 1
    assert it.commits.text == "some"
    assert (ending.run_event, ending.prompt_event) == (RunEvent.CANCEL, PromptEvent.CANCEL)


@aio
async def test_a_shutdown_hands_the_prompt_back_at_once_and_charges_nothing():
    """No delay, no attempt; the text stays."""
    it = Carried([say("some"), HOLD])
    task = it.start()
    await it.holding()
    it.control.stop(ShutDown("stop", charged=False))
    ending = (await task).ending
    assert it.commits.text == "some"
    assert (ending.prompt_event, ending.charged, ending.delay_seconds) == (
        PromptEvent.REQUEUE,
        False,
        0.0,
    )
    assert ending.error_code == ErrorCode.SHUTDOWN


@aio
async def test_the_first_reason_to_stop_counts():
    """A second one changes nothing."""
    it = Carried([HOLD])
    task = it.start()
    await it.holding()
    it.control.stop(Cancelled("first"))
    it.control.stop(ShutDown("second", charged=False))
    assert (await task).ending.run_event is RunEvent.CANCEL


@aio
async def test_a_stop_while_a_flush_is_under_way_keeps_the_order():
    """The rest and the ending wait for the flush before them."""
    it = Carried([say("a" * 1000), say("b"), HOLD], held=True)
    task = it.start()
    await it.holding()
    it.control.stop(ShutDown("stop", charged=False))
    await turns()
    assert len(it.commits.submitted) == 1
    it.commits.land_all()
    await turns()
    assert (await task).ending.chunks == 2
    assert it.commits.text == "a" * 1000 + "b"


@aio
async def test_a_run_that_is_stopped_before_it_began_sends_nothing_and_is_handed_back():
    """Stopped between its claim and its first step: no request, no row left behind."""
    it = Carried()
    task = it.start()
    it.control.stop(ShutDown("stop", charged=False))
    ending = (await task).ending
    assert it.stream.requests == []
    assert (ending.prompt_event, ending.charged) == (PromptEvent.REQUEUE, False)


@aio
async def test_a_run_that_is_stopped_while_it_connects_is_handed_back():
    """The connection attempt is given up, in whatever state it is."""
    it = Carried()
    connecting = asyncio.Event()

    class Slow:
        async def __aenter__(self):
            connecting.set()
            await asyncio.Event().wait()

        async def __aexit__(self, *_):
            raise AssertionError("never entered")

    it.stream.open = lambda *_: Slow()
    task = it.start()
    await connecting.wait()
    it.control.stop(ShutDown("stop", charged=False))
    assert (await task).ending.error_code == ErrorCode.SHUTDOWN


@aio
async def test_a_cancellation_from_elsewhere_is_not_swallowed_and_leaks_nothing():
    """Only `stop` is an order to end in good order; the budget is given back in any case."""
    it = Carried([say("some"), HOLD])
    task = it.start()
    await it.holding()
    assert it.budget.used_bytes == 4
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert it.budget.used_bytes == 0
    assert it.commits.submitted == []


@pytest.mark.parametrize("draining", [True, False])
@aio
async def test_a_cancellation_from_elsewhere_does_not_tear_a_completion_apart(draining):
    """It is stored with all of its text, or not at all."""
    it = Carried(held=True)

    class Slow(ScriptedReader):
        async def drain(self) -> None:
            self.drained = True
            if draining:
                await asyncio.Event().wait()

    it.stream.responses.append(Slow([say("a" * 1000), say("b"), HOLD], it.clock))
    task = it.start()
    reader = await it.holding()
    reader.push(DONE)
    while not reader.drained:
        await turns(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    it.commits.land_all()
    await turns()
    whole = [ending.chunks for ending in it.commits.endings]
    assert whole == ([2] if draining else [])
    assert it.commits.text == "a" * 1000 + "b" * len(whole)
    assert it.budget.used_bytes == 0


@aio
async def test_a_fault_of_ours_ends_the_run_charged_and_keeps_its_text():
    """It cannot repeat without end, costs no words, and says where it happened."""
    it = Carried([say("some"), RuntimeError("a bug")])
    ending = (await it.outcome()).ending
    assert it.commits.text == "some"
    assert (ending.prompt_event, ending.charged) == (PromptEvent.REQUEUE, True)
    assert ending.error_code == ErrorCode.INTERNAL_ERROR
    assert ending.error.startswith("internal error: RuntimeError: a bug (scripted_stream.py:")
    assert (ending.chars, ending.chunks) == (4, 1)


def test_a_fault_without_a_place_is_named_all_the_same():
    """An exception that was never raised has no traceback."""
    assert as_error(KeyError("x")).message == "internal error: KeyError: 'x'"


# --- connecting


@aio
async def test_connecting_is_tried_again_in_place():
    """Nothing was sent yet, so nothing can be doubled."""
    it = Carried(Unreachable("refused"), Unreachable("refused"), [say("a"), DONE])
    assert (await it.outcome()).error is None
    assert len(it.stream.requests) == 3


@aio
async def test_rejected_stream_options_are_left_out_once_and_for_all():
    """One strict server, one rejected request, not one for each prompt."""
    rejection = Refused("HTTP 400: unknown field stream_options", http_status=400)
    it = Carried(rejection, [say("a"), DONE], [say("b"), DONE])
    assert (await it.outcome()).error is None
    it.control = RunHandle(run(), judge=it.finding)
    assert (await it.outcome(id_=2)).error is None
    assert [b"stream_options" in request.body for request in it.stream.requests] == [
        True,
        False,
        False,
    ]


@aio
async def test_what_a_simpler_request_does_not_cure_is_not_remembered():
    """The second rejection is the one that counts, and the next prompt is asked in full again."""
    first = Refused("HTTP 400: unknown field stream_options", http_status=400)
    second = Refused("HTTP 400: no such model", http_status=400)
    it = Carried(first, second)
    outcome = await it.outcome()
    assert outcome.error is second
    assert it.rooms.rejected == {}


@aio
async def test_a_rejection_that_nothing_simpler_can_cure_is_final_the_second_time():
    """One replica of several may say no; the first time uses up no attempt, the second is final."""
    said = "HTTP 400: no such option (request 7f3a)"
    it = Carried(Refused(said, http_status=400))
    ending = (await it.outcome()).ending
    assert (ending.prompt_event, ending.charged) == (PromptEvent.REQUEUE, False)
    assert len(it.stream.requests) == 1
    it = Carried(Refused("HTTP 400: no such option (request 99b1)", http_status=400))
    ending = (await it.outcome(last_code="bad_request", last_error=said)).ending
    assert (ending.run_event, ending.charged) == (RunEvent.FAIL, True)


@aio
async def test_an_error_that_is_shared_by_many_runs_is_not_marked():
    """One ShutDown serves all runs; each ends by itself."""
    reason: SpoolError = ShutDown("stop", charged=False)
    for _ in range(2):
        it = Carried([HOLD])
        task = it.start()
        await it.holding()
        it.control.stop(reason)
        await task
    assert (reason.charged, reason.__traceback__) == (False, None)


@aio
async def test_a_key_that_the_server_echoes_in_its_stream_is_not_stored():
    """An error frame that repeats the key is stored without it, and so is it logged."""
    it = Carried([say("x"), event({"error": {"message": f"bad key {SECRET}", "code": 500}})])
    outcome = await it.outcome()
    (stored,) = it.commits.endings
    assert "bad key [redacted]" in stored.error
    assert SECRET not in outcome.ending.error


@aio
@pytest.mark.parametrize("complete", [True, False])
async def test_a_key_that_the_server_echoes_beside_its_text_is_not_stored(complete):
    """In the finish reason, say: only the text of an answer is stored as it came."""
    frames = [say("x"), event({"choices": [{"index": 0, "delta": {}, "finish_reason": SECRET}]})]
    it = Carried([*frames, b"data: [DONE]\n\n"] if complete else frames)
    await it.outcome()
    (stored,) = it.commits.endings
    assert stored.done_frame is complete
    assert stored.finish_reason == "[redacted]"
