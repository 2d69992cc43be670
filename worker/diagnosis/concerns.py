"""What is waiting, what is stuck, and why: the sentences of `spool status`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from worker.clock import SystemClock
from worker.diagnosis.phrases import counted, span
from worker.endpoints.breaker import BreakerState
from worker.errors import ErrorCode
from worker.records import Endpoint
from worker.states import PromptState

if TYPE_CHECKING:
    from worker.records import Json
    from worker.store.rows import QueueStatus, WorkerStatus

_NAMED = 5  # ids in one sentence
_LATE = 0.5  # of the idle timeout: from here on a silent run is worth a word

_CURES: Mapping[str, str] = {
    ErrorCode.UNAUTHORIZED: "check the endpoint's api_key_env, then `spool retry`",
    ErrorCode.NOT_FOUND: "check the endpoint's base_url and model (`spool doctor`), then retry",
    ErrorCode.BAD_REQUEST: "the server refused the request: `spool show ID` says why",
    ErrorCode.CONTEXT_EXCEEDED: "the prompt is longer than the model's context",
    ErrorCode.QUOTA_EXHAUSTED: "the account has no credit left: top it up, then `spool retry`",
    ErrorCode.FRAME_TOO_LARGE: "raise max_frame_bytes, then `spool retry`",
    ErrorCode.OUTPUT_TOO_LARGE: "limit answers with max_tokens, or raise max_output_bytes",
    ErrorCode.ENDPOINT_DIED: "the server went down under them again and again: look at its log",
    ErrorCode.TOO_MANY_CRASHES: "workers died while carrying them: look at their logs first",
}


# Of an endpoint that refuses everybody.
_OPEN_CURES: Mapping[str, str] = {
    ErrorCode.UNAUTHORIZED: "; correct the key behind its api_key_env, then restart the worker",
    ErrorCode.NOT_FOUND: "; correct its base_url or model (`spool doctor`), or bring it back",
    ErrorCode.QUOTA_EXHAUSTED: "; top up the account, and it goes on by itself",
}


def concerns(
    status: QueueStatus, endpoints: Mapping[str, Endpoint], *, lease_seconds: float
) -> Iterator[str]:
    """A sentence for each thing that a person may want to know or do, the gravest first."""
    living = [each for each in status.workers if lives(each)]
    queued = status.ready + status.later
    if queued and not living:
        yield f"no worker is running, and {counted(queued, 'prompt')} queued: start `spool run`"
    yield from _leases(status, living, lease_seconds)
    yield from _outages(living)
    yield from _unserved(status, living, endpoints)
    if status.later:
        soon = status.next_in_seconds
        when = "" if soon is None else f", the first in {span(soon)}"
        yield f"waiting for a later try: {counted(status.later, 'prompt')}{when}"
    yield from _silent(status, endpoints)
    if status.crash_capped:
        named = ", ".join(map(str, status.crash_capped[:_NAMED]))
        more = ", ..." if len(status.crash_capped) > _NAMED else ""
        yield (
            f"given up because workers died while carrying them: prompts {named}{more}"
            f" (`spool show {status.crash_capped[0]} --attempts`)"
        )
    if status.truncated:
        yield (
            f"cut at their length limit: {counted(status.truncated, 'completed answer')}"
            " (`truncated` in exports and in the view results)"
        )
    for code, number in sorted(status.failures.items(), key=lambda item: -item[1]):
        cure = _CURES.get(code, f"`spool retry --error-code {code}` tries them again")
        yield f"failed with {code}: {counted(number, 'prompt')}; {cure}"


def lives(worker: WorkerStatus) -> bool:
    """Whether it holds its lease."""
    return worker.stopped_at is None and worker.lease_seconds_left > 0


def _leases(status: QueueStatus, living: list[WorkerStatus], lease_seconds: float) -> Iterator[str]:
    for each in status.workers:
        name = f"worker {each.host}:{each.pid}"
        if each in living:
            # Renewed after a third; with less than half left, a renewal has failed.
            if each.lease_seconds_left < lease_seconds / 2:
                yield (
                    f"the lease of {name} runs out in {span(each.lease_seconds_left)}: it is"
                    " blocked, or cannot reach the database"
                )
        elif each.runs and each.stopped_at is None:
            silent = span(-each.lease_seconds_left)
            heir = "a living worker takes" if living else "the next worker to start takes"
            yield (
                f"{name} has been silent for {silent} past its lease; {heir} its"
                f" {counted(each.runs, 'run')} over"
            )


def _outages(living: list[WorkerStatus]) -> Iterator[str]:
    for each in living:
        for name, said in (each.endpoints or {}).items():
            where = f"worker {each.host}:{each.pid}, endpoint {name!r}"
            yield from _shut(where, said)
            yield from _oddities(where, said)
    yield from _at_odds(living)


def _shut(where: str, said: Mapping[str, Json]) -> Iterator[str]:
    if said.get("state") == BreakerState.OPEN:
        cure = _OPEN_CURES.get(str(said.get("refuses")), "")
        never = "; it has never answered, so check its settings" if said.get("never_worked") else ""
        yield (
            f"{where}: breaker open since {hour(said, 'since')}, asked again at"
            f" {hour(said, 'asks_at')}; nothing is claimed for it and no attempt is used up:"
            f" {said.get('error', 'no answer')}{cure or never}"
        )
    elif said.get("state") == BreakerState.HALF_OPEN and "paused_until" not in said:
        yield f"{where}: one prompt at a time finds out if it answers again"
    if "paused_until" in said:
        yield f"{where}: the server asked for patience until {hour(said, 'paused_until')}"


def _oddities(where: str, said: Mapping[str, Json]) -> Iterator[str]:
    if (age := said.get("cut_after_seconds")) is not None:
        yield (
            f"{where}: something cuts answers after {age} s; look for a timeout in the server or"
            " in a proxy before it"
        )
    if (most := said.get("streams_at_a_time")) is not None:
        yield (
            f"{where}: it had no room for more, and is asked for {counted(most, 'stream')} at a"
            " time; set its concurrency to what the server can take"
        )
    if said.get("canary_useless"):
        yield (
            f"{where}: its canary is refused in other words than prompts are, so it proves nothing;"
            " set canary to a prompt that the model takes, or see `spool doctor`"
        )
    for held in said.get("held_batches") or ():
        yield (
            f"{where}: every prompt of batch {held.get('batch')} fails with {held.get('code')}, so"
            f" it goes on one prompt at a time: {held.get('error')}"
        )


def _at_odds(living: list[WorkerStatus]) -> Iterator[str]:
    """Workers that mean different servers, or different keys, by one name."""
    digests: dict[str, dict[str, str]] = defaultdict(dict)
    for each in living:
        for name, said in (each.endpoints or {}).items():
            if isinstance(said.get("digest"), str):
                digests[name].setdefault(said["digest"], f"{each.host}:{each.pid}")
    for name, workers in digests.items():
        if len(workers) > 1:
            one, other = list(workers.values())[:2]
            yield (
                f"workers {one} and {other} have different settings for the endpoint {name!r}"
                " (base_url, dialect, headers or key): correct one of them, and restart it"
            )


def hour(said: Mapping[str, Json], name: str) -> str:
    """A moment that a worker told, on the clock of whoever looks; with its day, if not today."""
    told = str(said.get(name, "its leisure"))  # workers of an older version tell less
    try:
        moment = datetime.fromisoformat(told).astimezone()
    except ValueError:
        return told
    is_today = moment.date() == SystemClock().now().astimezone().date()
    return moment.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S")


def _unserved(
    status: QueueStatus, living: list[WorkerStatus], endpoints: Mapping[str, Endpoint]
) -> Iterator[str]:
    waiting: Counter[str] = Counter()
    for tally in status.tallies:
        waiting[tally.endpoint] += tally.counts.get(PromptState.QUEUED, 0)
    # A worker that has not told yet what it serves may serve anything.
    served = set().union(*(each.endpoints or () for each in living))
    all_told = bool(living) and all(each.endpoints is not None for each in living)
    for name, number in waiting.items():
        if not number:
            continue
        if name not in endpoints:
            yield (
                f"queued for the endpoint {name!r}, which is not configured here:"
                f" {counted(number, 'prompt')}; add [endpoints.{name}], or `spool cancel` them and"
                " `spool retry --endpoint` another"
            )
        elif all_told and name not in served:
            yield (
                f"queued for the endpoint {name!r}, which no running worker serves:"
                f" {counted(number, 'prompt')}; start `spool run --endpoint {name}`"
            )


def _silent(status: QueueStatus, endpoints: Mapping[str, Endpoint]) -> Iterator[str]:
    for run in status.live:
        endpoint = endpoints.get(run.endpoint)
        if endpoint is None:
            continue
        limit = (
            endpoint.idle_timeout_seconds if run.chunks else endpoint.first_frame_timeout_seconds
        )
        if run.silent_seconds > limit * _LATE:
            yield (
                f"prompt {run.prompt_id} has stored no text for {span(run.silent_seconds)}; after"
                f" {span(limit)} of silence its run is ended and tried again"
            )
