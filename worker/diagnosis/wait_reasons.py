"""What is waited for, and until when, in one sentence: nothing waits without saying so."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from worker.clock import Clock
from worker.diagnosis.concerns import hour, lives
from worker.diagnosis.phrases import counted, span
from worker.endpoints.breaker import BreakerState
from worker.endpoints.telling import Standing
from worker.errors import StoreError
from worker.events import Event
from worker.states import PromptState

if TYPE_CHECKING:
    from worker.events import Log
    from worker.records import Json
    from worker.store.rows import Backlog, PromptDetail, WorkerStatus
    from worker.supervisor.worker import Worker

LOOK_SECONDS = 2.0
AGAIN_SECONDS = 300.0  # a wait that goes on is told again after so long

Endpoints = Mapping[str, Mapping[str, "Json"]]  # as `workers.endpoints` has them


class Wait(NamedTuple):
    """What is waited for; `kind` stays the same while only the numbers in the words change."""

    kind: str
    words: str


def of_worker(backlog: Backlog, endpoints: Endpoints, workers: Sequence[WorkerStatus]) -> Wait:
    """What a worker waits for that streams nothing; `backlog` is that of its endpoints."""
    waiting = backlog.ready + backlog.later
    if waiting:
        for wait in _endpoints(endpoints):
            return Wait(wait.kind, f"{counted(waiting, 'prompt')} to do, but {wait.words}")
    if backlog.ready:
        return Wait("ready", f"{counted(backlog.ready, 'prompt')} to do: claimed at the next look")
    if backlog.later:
        soon = _soon(backlog.next_in_seconds)
        words = f"{counted(backlog.later, 'prompt')} to be tried again, the first {soon}"
        return Wait("later", words)
    if backlog.running:
        held = f"{counted(backlog.running, 'prompt')} streaming at other workers"
        return Wait("elsewhere", held + _heir(workers))
    return Wait("idle", f"nothing is queued for {', '.join(sorted(endpoints))}: `spool add` queues")


def of_prompt(
    detail: PromptDetail, workers: Sequence[WorkerStatus], holder: str | None, now: datetime
) -> Wait:
    """What a prompt waits for that has no new text; `holder` is the worker of its latest run."""
    living = [each for each in workers if lives(each)]
    if detail.status is PromptState.RUNNING:
        if holder in {each.id for each in living}:
            return Wait("streaming", "it is streaming, and no new text is stored yet")
        heir = "another worker" if living else "the next `spool run`"
        return Wait("silent", f"its worker is gone: {heir} takes it over at once")
    if not living:
        return Wait("no worker", "no worker is running: start `spool run`")
    if (wait := _at_endpoint(detail.endpoint, living)) is not None:
        return wait
    return _in_the_queue(detail, now)


def _in_the_queue(detail: PromptDetail, now: datetime) -> Wait:
    if detail.available_at is None:
        return Wait("never", "its available_at is no moment: correct it with SQL")
    seconds = (detail.available_at - now).total_seconds()
    if seconds > 0:
        return Wait("later", f"it is tried again {_soon(seconds)}")
    return Wait("turn", f"it waits for its turn at the endpoint {detail.endpoint!r}")


def of_prompts(endpoints: Collection[str], workers: Sequence[WorkerStatus]) -> Wait:
    """What unfinished prompts for these endpoints wait for, together."""
    living = [each for each in workers if lives(each)]
    if not living:
        return Wait("no worker", "no worker is running: start `spool run`")
    held = [wait for name in sorted(endpoints) if (wait := _at_endpoint(name, living)) is not None]
    if held:
        return Wait(" ".join(wait.kind for wait in held), "; ".join(wait.words for wait in held))
    streams = sum(each.runs for each in living)
    words = f"{counted(len(living), 'worker')} with {counted(streams, 'stream')}"
    return Wait("turn", f"{words} {'answers' if len(living) == 1 else 'answer'} what is queued")


def _at_endpoint(name: str, living: Sequence[WorkerStatus]) -> Wait | None:
    """Why no living worker sends anything there; None if one does, or may."""
    serving = [each.endpoints for each in living if each.endpoints and name in each.endpoints]
    if not serving and all(each.endpoints is not None for each in living):
        start = f"start `spool run --endpoint {name}`"
        return Wait("unserved", f"no running worker serves the endpoint {name!r}: {start}")
    found = [next(_endpoints({name: each[name]}), None) for each in serving]
    return found[0] if found and None not in found else None


def _endpoints(endpoints: Endpoints) -> Iterator[Wait]:
    """A sentence for each endpoint that nothing is sent to at the moment."""
    for name, said in sorted(endpoints.items()):
        if said.get("state") == BreakerState.OPEN:
            why = f"the endpoint {name!r} does not work ({said.get('error', 'no answer')})"
            yield Wait(f"open {name}", f"{why}; it is asked again at {hour(said, 'asks_at')}")
        elif "paused_until" in said:
            until = hour(said, "paused_until")
            yield Wait(f"paused {name}", f"the endpoint {name!r} asked to wait until {until}")


def _heir(workers: Sequence[WorkerStatus]) -> str:
    """When others are taken over that died with their prompts."""
    holders = [each for each in workers if each.runs]
    if not holders:
        return ""
    first = min(holders, key=lambda each: each.lease_seconds_left)
    left = _soon(first.lease_seconds_left)
    return f"; if worker {first.host}:{first.pid} has died, its prompts are taken over {left}"


def _soon(seconds: float | None) -> str:
    return "soon" if seconds is None or seconds < 1 else f"in {span(seconds)}"


class Queue(Protocol):
    """What is asked of the store."""

    def backlog(self, endpoints: Collection[str]) -> Backlog:
        """What is left to do."""
        ...

    def workers(self) -> Sequence[WorkerStatus]:
        """Who is alive, or holds something."""
        ...


def endpoints_of(worker: Worker, clock: Clock) -> Endpoints:
    """How the endpoints of a worker stand; asked on its event loop."""
    return {name: Standing(each, clock).tell() for name, each in worker.watches.items()}


class Announcer:
    """Reports what a worker waits for, where no line on a terminal shows it."""

    def __init__(self, store: Queue, log: Log, clock: Clock) -> None:
        self._store = store
        self._log = log
        self._clock = clock
        self._seen = self._told = ""
        self._told_at = 0.0

    async def follow(self, worker: Worker) -> None:
        """Report until cancelled."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            if worker.carried or worker.health().stopping:
                self._seen = self._told = ""
                continue
            endpoints = endpoints_of(worker, self._clock)
            if (wait := await asyncio.to_thread(self._look, endpoints)) is not None:
                self._tell(wait)

    def _look(self, endpoints: Endpoints) -> Wait | None:
        try:
            return of_worker(
                self._store.backlog(sorted(endpoints)), endpoints, self._store.workers()
            )
        except StoreError:
            return None  # the worker meets it too, and reports it

    def _tell(self, wait: Wait) -> None:
        """Once it was seen twice, so that no pause between two prompts is a wait."""
        now = self._clock.monotonic()
        again = wait.kind != "idle" and now - self._told_at >= AGAIN_SECONDS
        if wait.kind == self._seen and (wait.kind != self._told or again):
            self._log(Event.WORKER_WAITING, waiting_for=wait.words)
            self._told, self._told_at = wait.kind, now
        self._seen = wait.kind
