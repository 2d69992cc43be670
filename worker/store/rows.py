"""Frozen values that only the store's readers need; what every room needs is in records.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from worker.records import SPLICED_BY, Json
from worker.states import PromptState, RunState
from worker.store.database.column_types import read_json
from worker.wire.finish_reason import FinishGroup, finish_group


def _truncated(status: PromptState, finish_reason: str | None) -> bool:
    cut = finish_group(finish_reason) is FinishGroup.TRUNCATED
    return cut and status is PromptState.COMPLETED


@dataclass(frozen=True, slots=True)
class Selection:
    """Which prompts are meant; every field narrows, and an empty selection means all of them.

    Attributes:
        ids: ids of prompts.
        batch: name of a batch; one that does not exist selects nothing.
        finished_before: only prompts that finished before this moment.
    """

    ids: tuple[int, ...] = ()
    batch: str | None = None
    states: tuple[PromptState, ...] = ()
    error_code: str | None = None
    endpoint: str | None = None
    finished_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What some endpoints still have to do.

    Attributes:
        ready: prompts that may be claimed now.
        later: prompts that wait for their `available_at`.
        running: runs under way, on any worker.
        next_in_seconds: until the first of `later` may be claimed; None if there is none.
    """

    ready: int = 0
    later: int = 0
    running: int = 0
    next_in_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PromptDetail:
    """One prompt as `show` tells it, without the text of its runs.

    Moments are None, too, where the database has what is no moment.

    Attributes:
        messages_json, options_json, metadata_json: JSON texts, as they are stored.
        run_id: the latest run; None before the first one, and after a change of what is asked.
        text_run_id: the run whose output stands for the prompt (`results.text_run_id`).
        finish_reason: the server's word for the end of the latest run.
    """

    id: int
    batch: str | None
    custom_id: str | None
    endpoint: str
    model: str | None
    prompt: str | None
    system: str | None
    messages_json: str | None
    options_json: str | None
    priority: int
    status: PromptState
    available_at: datetime | None
    attempts: int
    max_attempts: int | None
    crashes: int
    runs: int
    cancel_requested_at: datetime | None
    run_id: int | None
    error_code: str | None
    error: str | None
    metadata_json: str | None
    created_at: datetime | None
    finished_at: datetime | None
    text_run_id: int | None = None
    finish_reason: str | None = None

    @property
    def messages(self) -> Json:
        """What is asked as a list; its JSON text, if Python cannot read that."""
        return None if self.messages_json is None else read_json(self.messages_json)

    @property
    def options(self) -> Json:
        """Its own options; their JSON text, if Python cannot read that."""
        return None if self.options_json is None else read_json(self.options_json)

    @property
    def metadata(self) -> Json:
        """What its owner gave beside it; its JSON text, if Python cannot read that."""
        return None if self.metadata_json is None else read_json(self.metadata_json)

    @property
    def truncated(self) -> bool:
        """Whether the answer is complete for the server, but was cut at its length limit."""
        return _truncated(self.status, self.finish_reason)


class ResultRow(NamedTuple):
    """One prompt as the view `results` tells it, without its texts.

    Moments are None, too, where the database has what is no moment.

    Attributes:
        messages_json, metadata_json: JSON texts, as they are stored.
        run_id: the latest run; None before the first one, and after a change of what is asked.
        request_id: what the server called the latest run.
        http_status: the status of the latest response.
        seconds: how long the latest run took, or has taken so far.
        text_run_id: the run whose chunks are the output or the partial output.
        completion_tokens: of the whole answer, also of what the latest run carried over.
        continued_by: how the latest run went on with the text of an earlier one.
        carried_chars: characters that it carried over.
        total_prompt_tokens, total_completion_tokens: of all runs together.
        first_text_seconds: until the first output of the latest run.
    """

    id: int
    batch: str | None
    custom_id: str | None
    endpoint: str
    model: str | None
    prompt: str | None
    system: str | None
    messages_json: str | None
    status: PromptState
    run_id: int | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    http_status: int | None
    request_id: str | None
    attempts: int
    seconds: float | None
    error_code: str | None
    error: str | None
    metadata_json: str | None
    created_at: datetime | None
    finished_at: datetime | None
    text_run_id: int | None
    continued_by: str | None = None
    carried_chars: int | None = None
    total_prompt_tokens: int | None = None
    total_completion_tokens: int | None = None
    first_text_seconds: float | None = None

    @property
    def spliced(self) -> bool:
        """Whether the answer was generated in more than one piece."""
        return bool(self.carried_chars) and self.continued_by in SPLICED_BY

    @property
    def messages(self) -> Json:
        """What is asked as a list; its JSON text, if Python cannot read that."""
        return None if self.messages_json is None else read_json(self.messages_json)

    @property
    def metadata(self) -> Json:
        """What its owner gave beside it; its JSON text, if Python cannot read that."""
        return None if self.metadata_json is None else read_json(self.metadata_json)

    @property
    def truncated(self) -> bool:
        """Whether the answer is complete for the server, but was cut at its length limit."""
        return _truncated(self.status, self.finish_reason)

    @property
    def characters(self) -> int:
        """How long what its owner gave is: so many rows are held together as have room."""
        given = (self.prompt, self.system, self.messages_json, self.metadata_json)
        return sum(len(each) for each in given if each is not None)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many prompts of one batch and endpoint stand in each state."""

    batch: str | None
    endpoint: str
    counts: Mapping[PromptState, int]


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker that was alive in the last hour and has not signed off, or that still holds runs.

    Attributes:
        lease_seconds_left: negative once the lease has run out.
        runs: runs that it has under way.
        endpoints: what it said last of each endpoint that it serves (`EndpointWatch.standing`):
            `state`, and unless all is well `since`, `asks_at`, `error`, `refuses`, `paused_until`.
    """

    id: str
    host: str
    pid: int
    version: str
    started_at: datetime | None
    stopped_at: datetime | None
    lease_seconds_left: float
    runs: int
    endpoints: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run under way.

    Attributes:
        silent_seconds: since the last chunk was stored, or since the start if there is none.
    """

    run_id: int
    prompt_id: int
    batch: str | None
    custom_id: str | None
    endpoint: str
    model: str | None
    worker_id: str
    attempt: int
    started_at: datetime | None
    seconds: float
    silent_seconds: float
    chunks: int


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """Everything that `status` shows, read in one transaction.

    Attributes:
        next_in_seconds: until the first waiting prompt may be claimed; None if none waits.
        failures: failed prompts by error code.
        crash_capped: the newest prompts that were given up because workers died with them.
        truncated: completed prompts whose answer was cut at its length limit.
    """

    tallies: tuple[Tally, ...] = ()
    workers: tuple[WorkerStatus, ...] = ()
    live: tuple[LiveRun, ...] = ()
    ready: int = 0
    later: int = 0
    next_in_seconds: float | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    crash_capped: tuple[int, ...] = ()
    completed_last_hour: int = 0
    completed_last_minute: int = 0
    truncated: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run as `show` and the view `attempts` tell it.

    Attributes:
        continues_run_id: the earlier run whose text it was asked to go on with.
        carried_chars: characters of that text that it has, in `carried_chunks` chunks.
        dropped_chars: characters at the end of that text that it does not have.
        continued_by: how it went on.
        not_continued: why it began again although there was text.
    """

    run_id: int
    attempt: int
    status: RunState
    worker_id: str | None
    started_at: datetime | None
    finished_at: datetime | None
    finish_reason: str | None
    chars: int
    error_code: str | None
    error: str | None
    continues_run_id: int | None = None
    carried_chars: int | None = None
    carried_chunks: int | None = None
    dropped_chars: int | None = None
    continued_by: str | None = None
    not_continued: str | None = None
