"""A store in memory, for scheduling and threads; what SQL has to do is tested on SQL.

It keeps the promises that the loop and the committer build on: the fence, idempotent
chunks, a claim that needs a lease.  A test can take it away (`away`), let calls fail
once (`failures`), lose an answer after the work was done (`lost_answers`), and hold
calls back (`gates`).
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.fakes.aio import Bell
from tests.fakes.patience import HANG_SECONDS
from worker.errors import StoreBusy
from worker.records import (
    Chunk,
    Ending,
    Neighbour,
    Owned,
    Refusals,
    Rescued,
    Run,
    WorkerInfo,
)
from worker.states import SUSPECT_RUNS, PromptEvent, PromptState, RunState, after


@dataclass
class Prompt:
    """A row of the queue."""

    id: int
    endpoint: str = "default"
    status: PromptState = PromptState.QUEUED
    run_id: int | None = None
    runs: int = 0
    attempts: int = 0
    delayed: bool = False
    batch_id: int = 0
    in_vain: int = 0
    error_code: str | None = None
    error: str | None = None
    cancel_requested: bool = False


@dataclass
class RunRow:
    """A run as the store knows it."""

    id: int
    prompt_id: int
    worker_id: str
    status: RunState = RunState.STREAMING
    error_code: str | None = None


@dataclass(frozen=True)
class Left:
    """What is left to do."""

    ready: int
    later: int
    running: int
    next_in_seconds: float | None = None


class ScriptedStore:
    """Implements worker.supervisor.worker.Store.

    Attributes:
        away: while set, every call fails with StoreBusy.
        failures: by method, errors for its next calls; nothing is done then.
        lost_answers: by method, errors raised after the work was done.
        gates: by method, an event that its calls wait for.
        calls: how often each method was called; `commits` the arguments of each commit.
        leased: workers whose lease is valid.
        bell: rung after every call.
    """

    def __init__(self) -> None:
        self.away = False
        self.failures: dict[str, deque[Exception]] = defaultdict(deque)
        self.lost_answers: dict[str, deque[Exception]] = defaultdict(deque)
        self.gates: dict[str, threading.Event] = {}
        self.calls: Counter[str] = Counter()
        self.commits: list[tuple[list[Chunk], list[Ending]]] = []
        self.prompts: dict[int, Prompt] = {}
        self.runs: dict[int, RunRow] = {}
        self.chunks: dict[tuple[int, int], Chunk] = {}
        self.endings: list[Ending] = []
        self.claims: list[tuple[str, int]] = []
        self.leased: set[str] = set()
        self.signed_off: list[str] = []
        self.reports: list[dict[str, object]] = []
        self.said: dict[tuple[str, str], dict[str, object]] = {}
        self.bell = Bell()
        self._lock = threading.RLock()

    # --- for tests

    def queue(self, count: int = 1, **changes: object) -> list[Prompt]:
        """Add prompts."""
        added = []
        for _ in range(count):
            prompt = Prompt(len(self.prompts) + 1, **changes)
            self.prompts[prompt.id] = prompt
            added.append(prompt)
        return added

    def stream(self, run_id: int, worker_id: str = "w1") -> None:
        """A run that is under way, without a prompt."""
        self.runs[run_id] = RunRow(run_id, 0, worker_id)

    def states(self) -> Counter[str]:
        """How many prompts are in each state."""
        return Counter(prompt.status.value for prompt in self.prompts.values())

    def text(self, run_id: int) -> str:
        """What is stored of a run; its numbers have no gap."""
        chunks = sorted((c for c in self.chunks.values() if c.run_id == run_id), key=_seq)
        assert [chunk.seq for chunk in chunks] == list(range(len(chunks)))
        return "".join(chunk.text for chunk in chunks)

    def _call(self, name: str) -> None:
        self.calls[name] += 1
        self.bell.ring()
        if gate := self.gates.get(name):
            assert gate.wait(HANG_SECONDS), f"nobody opened the gate of {name}"
        if self.failures[name]:
            raise self.failures[name].popleft()
        if self.away:
            raise StoreBusy("the database is away")

    def _answer(self, name: str) -> None:
        self.bell.ring()
        if self.lost_answers[name]:
            raise self.lost_answers[name].popleft()

    # --- the worker

    def register(self, worker: WorkerInfo, lease_seconds: float) -> None:
        self._call("register")
        self.leased.add(worker.id)
        self.signed_off = [gone for gone in self.signed_off if gone != worker.id]
        self._answer("register")

    def renew(self, worker_id: str, lease_seconds: float) -> bool:
        self._call("renew")
        self.leased.add(worker_id)
        self._answer("renew")
        return worker_id not in self.signed_off

    def report(self, worker_id: str, endpoints: Mapping[str, object]) -> None:
        self._call("report")
        self.reports.append(dict(endpoints))

    def endpoint_states(self) -> dict[tuple[str, str], dict[str, object]]:
        self._call("endpoint_states")
        return dict(self.said)

    def keep_endpoint_state(
        self, worker_id: str, endpoint: str, digest: str, state: Mapping[str, object]
    ) -> None:
        self._call("keep_endpoint_state")
        self.said[endpoint, digest] = dict(state)

    def sign_off(self, worker_id: str) -> None:
        self._call("sign_off")
        self.signed_off.append(worker_id)
        self._answer("sign_off")

    # --- work

    def claim(
        self,
        worker_id: str,
        endpoint: str,
        limit: int,
        *,
        dialect: str,
        model: str,
        max_attempts: int,
        max_crashes: int = 0,
        suspects: int = 1000,
        without: Collection[int] = (),
    ) -> list[Run]:
        self._call("claim")
        with self._lock:
            self.claims.append((endpoint, limit))
            ready = [
                prompt
                for prompt in self.prompts.values()
                if prompt.status is PromptState.QUEUED
                and prompt.endpoint == endpoint
                and not prompt.delayed
                and not prompt.cancel_requested
                and prompt.batch_id not in without
                and (prompt.in_vain < SUSPECT_RUNS or suspects > 0)
            ]
            runs = []
            for prompt in ready[:limit] if worker_id in self.leased else []:
                prompt.status = after(prompt.status, PromptEvent.CLAIM)
                prompt.runs += 1
                prompt.attempts += 1
                row = RunRow(len(self.runs) + 1, prompt.id, worker_id)
                self.runs[row.id] = row
                prompt.run_id = row.id
                runs.append(
                    Run(
                        row.id,
                        prompt.id,
                        prompt.runs,
                        prompt.attempts,
                        max_attempts,
                        endpoint,
                        model,
                        prompt="p",
                        batch_id=prompt.batch_id,
                        runs_without_progress=prompt.in_vain,
                        last_code=prompt.error_code,
                        last_error=prompt.error,
                    )
                )
        self._answer("claim")
        return runs

    def commit(
        self, worker_id: str, chunks: Sequence[Chunk], endings: Sequence[Ending]
    ) -> Refusals:
        self.commits.append((list(chunks), list(endings)))
        self._call("commit")
        lost: set[int] = set()
        with self._lock:
            live = self.under_way(worker_id)
            for chunk in chunks:
                if chunk.run_id in live:
                    known = self.chunks.setdefault((chunk.run_id, chunk.seq), chunk)
                    assert known == chunk, "one key, two texts"
                elif not any(end.run_id == chunk.run_id for end in endings):
                    lost.add(chunk.run_id)
            for end in endings:
                row = self.runs[end.run_id]
                if row.id in live:
                    self._end(row, end)
                elif (row.status, row.error_code) != (
                    after(RunState.STREAMING, end.run_event),
                    end.error_code,
                ) or row.worker_id != worker_id:
                    lost.add(row.id)
        self._answer("commit")
        return Refusals(lost)

    def _end(self, row: RunRow, end: Ending) -> None:
        row.status = after(row.status, end.run_event)
        row.error_code = end.error_code
        self.endings.append(end)
        prompt = self.prompts.get(row.prompt_id)
        if prompt is not None and prompt.run_id == row.id:
            prompt.status = after(prompt.status, end.prompt_event)
            prompt.attempts -= not end.charged
            prompt.delayed = end.delay_seconds > 0
            prompt.error_code, prompt.error = end.error_code, end.error
            if end.runs_without_progress is not None:
                prompt.in_vain = end.runs_without_progress

    def leave(self, worker_id: str) -> None:
        self._call("leave")

    def neighbours(self, worker_id: str, host: str) -> list[Neighbour]:
        self._call("neighbours")
        return []

    def take_back_crashes(self, worker_id: str, run_ids: Collection[int]) -> None:
        self._call("take_back_crashes")

    def rescue(self, worker_id, *, max_crashes: int, limit: int, fair, dead) -> list[Rescued]:
        if not fair(datetime(2026, 1, 1, tzinfo=UTC)):
            return []
        self._call("rescue")
        self._answer("rescue")
        return []

    def owned(self, worker_id: str) -> dict[int, Owned]:
        self._call("owned")
        with self._lock:
            return {id_: Owned(self.runs[id_].prompt_id, None) for id_ in self.under_way(worker_id)}

    def strays(self, worker_id: str) -> frozenset[int]:
        self._call("strays")
        return frozenset(
            id_
            for id_ in self.under_way(worker_id)
            if (prompt := self.prompts.get(self.runs[id_].prompt_id)) is not None
            and (prompt.run_id, prompt.status) != (id_, PromptState.RUNNING)
        )

    def cancel_requests(self, worker_id: str) -> frozenset[int]:
        self._call("cancel_requests")
        with self._lock:
            wanted = {p.run_id for p in self.prompts.values() if p.cancel_requested}
            return frozenset(wanted & self.under_way(worker_id))

    def under_way(self, worker_id: str) -> set[int]:
        """Runs of a worker that are under way."""
        return {
            row.id
            for row in self.runs.values()
            if row.worker_id == worker_id and row.status is RunState.STREAMING
        }

    def cancel_queued(self) -> int:
        self._call("cancel_queued")
        count = 0
        for prompt in self.prompts.values():
            if prompt.cancel_requested and prompt.status is PromptState.QUEUED:
                prompt.status = after(prompt.status, PromptEvent.CANCEL)
                count += 1
        return count

    def backlog(self, endpoints: Collection[str]) -> Left:
        self._call("backlog")
        own = [prompt for prompt in self.prompts.values() if prompt.endpoint in endpoints]
        queued = [prompt for prompt in own if prompt.status is PromptState.QUEUED]
        left = Left(
            ready=sum(not prompt.delayed for prompt in queued),
            later=sum(prompt.delayed for prompt in queued),
            running=sum(prompt.status is PromptState.RUNNING for prompt in own),
        )
        self._answer("backlog")
        return left

    def listener(self) -> None:
        return None

    def data_version(self) -> int:
        return 0


def _seq(chunk: Chunk) -> int:
    return chunk.seq
