"""The runs under way: started, told apart, stopped, and waited for at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from worker.clock import Clock
from worker.endpoints.monitor import EndpointMonitor
from worker.errors import SpoolError, StoreBusy, StoreError, Verdict
from worker.events import Event, Log
from worker.records import Run
from worker.run.context import Outcome, RunContext, RunHandle
from worker.run.finish import as_error, ending_without_evidence
from worker.run.pipeline import stream_run
from worker.states import PromptEvent
from worker.wire.finish_reason import FinishGroup, finish_group


@dataclass(slots=True)
class Summary:
    """What a worker did while it lived; `run --fail-on-error` and the last line read it.

    Attributes:
        truncated: how many of the completed ones were cut at their length limit.
    """

    completed: int = 0
    truncated: int = 0
    failed: int = 0
    cancelled: int = 0
    requeued: int = 0
    lost: int = 0
    unstored: int = 0  # runs whose last words the database did not take before the end


@dataclass(slots=True)
class _ActiveRun:
    run: Run
    control: RunHandle
    task: asyncio.Task[Outcome]


class ActiveRuns:
    """One task a run; the loop starts them and learns from `summary` how they ended."""

    def __init__(
        self, *, clock: Clock, log: Log, on_room: Callable[[], None], max_runs: int = 20
    ) -> None:
        """on_room: called when there may be room for another run.
        max_runs: of a prompt in a row that may end without evidence and without progress.
        """
        self._max_runs = max_runs
        self._clock = clock
        self._log = log
        self._on_room = on_room
        self._carried: dict[int, _ActiveRun] = {}
        self.summary = Summary()
        self.broken: SpoolError | None = None  # what a run met that no other run will escape

    def __len__(self) -> int:
        return len(self._carried)

    @property
    def nonces(self) -> dict[int, int | None]:
        """The runs under way, each with the nonce of its claim."""
        return {run_id: each.run.nonce for run_id, each in self._carried.items()}

    def start(self, run: Run, monitor: EndpointMonitor, rooms: RunContext) -> bool:
        """Begin to carry a claimed run; False, and nothing begins, if its id is carried already."""
        if run.id in self._carried:
            return False
        control = RunHandle(
            run,
            sent_at=self._clock.monotonic(),
            judge=monitor.finding,
            on_answer=partial(self._answered, monitor),
            max_runs=self._max_runs,
        )
        monitor.began(control)
        carrying = self._carry(run, monitor, rooms, control)
        task = asyncio.create_task(carrying, name=f"run-{run.id}")
        self._carried[run.id] = _ActiveRun(run, control, task)
        self._log(Event.RUN_CLAIMED, run_id=run.id, prompt_id=run.prompt_id, attempt=run.attempt)
        return True

    async def _carry(
        self, run: Run, monitor: EndpointMonitor, rooms: RunContext, control: RunHandle
    ) -> Outcome:
        outcome: Outcome | None = None
        try:
            outcome = await stream_run(run, monitor.endpoint, monitor.dialect, rooms, control)
        except Exception as fault:  # noqa: BLE001 - a fault of ours must not leave a run behind
            outcome = await _end_faulty(run, fault, rooms)
        finally:
            del self._carried[run.id]
            monitor.ended(control, outcome)
            self._on_room()
        if _ends_the_worker(outcome):
            self.broken = outcome.error
        self._tell(run, outcome)
        return outcome

    def _answered(self, monitor: EndpointMonitor, control: RunHandle) -> None:
        if monitor.answered(control):
            self._on_room()

    def _tell(self, run: Run, outcome: Outcome) -> None:
        """One event for the end of a run; together with `run_claimed` it tells its story."""
        ending = outcome.ending
        ids = {"run_id": run.id, "prompt_id": run.prompt_id}
        if ending is None:
            unstored = isinstance(outcome.error, StoreError)
            self.summary.unstored += unstored
            self.summary.lost += not unstored
            self._log(
                Event.RUN_UNSTORED if unstored else Event.RUN_LOST, error=str(outcome.error), **ids
            )
            return
        match ending.prompt_event:
            case PromptEvent.COMPLETE:
                self.summary.completed += 1
                cut = finish_group(ending.finish_reason) is FinishGroup.TRUNCATED
                self.summary.truncated += cut
                self._log(
                    Event.RUN_COMPLETED,
                    finish_reason=ending.finish_reason,
                    chars=ending.chars,
                    completion_tokens=ending.usage.completion_tokens,
                    **ids,
                )
                return
            case PromptEvent.CANCEL:
                self.summary.cancelled += 1
                self._log(Event.RUN_CANCELLED, chars=ending.chars, **ids)
                return
        facts = {"error_code": ending.error_code, "error": ending.error, "chars": ending.chars}
        if ending.prompt_event is PromptEvent.FAIL:
            self.summary.failed += 1
            self._log(Event.RUN_FAILED, **facts, **ids)
            return
        self.summary.requeued += 1
        retry_in_seconds = round(ending.delay_seconds, 3)
        self._log(Event.RUN_INTERRUPTED, **facts, retry_in_seconds=retry_in_seconds, **ids)

    def stop(self, reason: SpoolError, run_ids: Iterable[int] | None = None) -> None:
        """Close the streams of these runs, or of all, and end them for this reason."""
        for run_id in list(self._carried) if run_ids is None else run_ids:
            if run_id in self._carried:
                self._carried[run_id].control.stop(reason)

    async def ended(self, seconds: float, *hurry: Coroutine[Any, Any, object]) -> None:
        """Wait until every run has ended, for so long at most, or until `hurry` is done."""
        tasks = [each.task for each in self._carried.values()]
        if tasks:
            await first_of(asyncio.wait(tasks), self._clock.sleep(seconds), *hurry)
        for unused in () if tasks else hurry:
            unused.close()


async def first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when the first is done; the others are given up."""
    tasks = {asyncio.ensure_future(wait) for wait in waits}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _ends_the_worker(outcome: Outcome) -> bool:
    """Whether the run met what only a person can cure: settings, schema, permissions."""
    error = outcome.error
    if isinstance(error, StoreError):
        return outcome.ending is None and not isinstance(error, StoreBusy)
    return error is not None and error.verdict is Verdict.STOP


async def _end_faulty(run: Run, fault: Exception, rooms: RunContext) -> Outcome:
    """Not even the ending went as it should: write one that holds nothing but the reason."""
    error = as_error(fault)
    ending = replace(ending_without_evidence(run, error, rooms.clock), chars=None)
    try:
        await rooms.submit(run.id, [], ending)
    except SpoolError as failure:
        return Outcome(None, failure, answered=False)
    return Outcome(ending, error, answered=False)
