"""One claimed run, from its first byte to its last durable word.

`stream_run` is the sentence of the program: claim (the loop has done that), stream,
decode, buffer, flush, finish.
"""

from __future__ import annotations

import asyncio

from worker.records import Endpoint, Run
from worker.run.context import (
    Answer,
    Outcome,
    RunContext,
    RunHandle,
    begin_decoding,
    check_size,
    opened,
    read_in_time,
    seconds_to_wait,
)
from worker.run.deadlines import Deadlines
from worker.run.finish import as_error, end_early, finish, finish_as_it_is
from worker.run.writer import RunWriter
from worker.wire.events import Dialect


async def stream_run(
    run: Run, endpoint: Endpoint, dialect: Dialect, rooms: RunContext, control: RunHandle
) -> Outcome:
    """Carry one claimed run from its first byte to its last durable word."""
    clock, answer = rooms.clock, Answer(run)
    stored: asyncio.Task[Outcome] | None = None
    with RunWriter(
        run, rooms.submit, rooms.limits, rooms.budget, on_failure=control.stop, hurry=rooms.hurry
    ) as writer:
        try:
            control.begin()
            plan = await rooms.planner.plan(run, endpoint, dialect)
            if plan.ended_by is not None:
                control.finishing = True
                return await finish_as_it_is(plan, answer, writer, clock)
            deadlines = Deadlines(endpoint, started_at=clock.monotonic() - plan.seconds)
            async with opened(plan, endpoint, dialect, rooms, deadlines) as reader:
                writer.begin(plan.beginning, plan.seam)
                answer.asked, answer.endpoint = plan.asked, endpoint
                decoder = begin_decoding(answer, reader, endpoint, dialect, rooms)
                done = None
                while done is None:
                    asked_at = clock.monotonic()
                    wait_seconds = seconds_to_wait(writer, deadlines, at=asked_at)
                    data = await read_in_time(reader, wait_seconds, deadlines, clock)  # stream
                    events = decoder.close() if data is None else decoder.feed(data)  # decode
                    now = clock.monotonic()
                    control.heard(decoder.frames, at=now)
                    done = writer.keep(events, at=now)  # buffer
                    deadlines.woke(asked_at=asked_at, wait_seconds=wait_seconds, at=now)
                    deadlines.progressed(decoder.progress, at=now)
                    if done is None:
                        check_size(writer.buffer, decoder, endpoint)
                        deadlines.check(at=now)
                        if await writer.flush_if_due(at=now):  # flush
                            deadlines.resumed(since=now, at=clock.monotonic())
                control.finishing = True
                stored = asyncio.create_task(finish(done, answer, writer, clock))  # finish
                await reader.drain()
        except asyncio.CancelledError:
            if control.reason is None:
                raise
            error = control.reason
        except Exception as caught:  # noqa: BLE001 - a fault of ours must not cost the text
            error = as_error(caught)
        if stored is not None:
            return await stored  # whatever came after the done frame undoes nothing
        control.finishing = True
        return await end_early(error, answer, writer, clock, control)
