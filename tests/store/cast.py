"""Who and what appears in the store's tests: workers, runs, and how runs end."""

from __future__ import annotations

from typing import Any

from worker.records import Chunk, Ending, Kind, NewPrompt, Run, WorkerInfo
from worker.states import PromptEvent, RunEvent
from worker.store import Store

LEASE_SECONDS = 300.0


def sign_on(store: Store, worker_id: str = "w1") -> str:
    """A worker with a lease that outlives the test."""
    store.register(WorkerInfo(worker_id, "host", 1, "0"), LEASE_SECONDS)
    return worker_id


def take(
    store: Store, worker_id: str = "w1", limit: int = 1, endpoint: str = "default"
) -> list[Run]:
    """Claim, with what the settings say by default."""
    return store.claim(
        worker_id, endpoint, limit, dialect="ollama-chat", model="llama", max_attempts=5
    )


def start(store: Store, worker_id: str = "w1", **prompt: Any) -> Run:
    """Queue one prompt and claim it; the worker signs on if need be."""
    store.add([NewPrompt(**{"prompt": "Why?", **prompt})])
    if not store.renew(worker_id, LEASE_SECONDS):
        sign_on(store, worker_id)
    (run,) = take(store, worker_id, endpoint=prompt.get("endpoint", "default"))
    return run


def words(run: Run, seq: int, text: str, kind: Kind = Kind.TEXT) -> Chunk:
    """One chunk."""
    return Chunk(run.id, seq, kind, text, run.nonce)


def _ending(run: Run, run_event: RunEvent, prompt_event: PromptEvent, **given: Any) -> Ending:
    return Ending(run.id, run.prompt_id, run_event, prompt_event, nonce=run.nonce, **given)


def completed(run: Run, **more: Any) -> Ending:
    """The done frame arrived."""
    given: dict[str, Any] = {"done_frame": True, "finish_reason": "stop", **more}
    return _ending(run, RunEvent.COMPLETE, PromptEvent.COMPLETE, **given)


def interrupted(run: Run, **more: Any) -> Ending:
    """It broke off; the prompt is queued again."""
    given: dict[str, Any] = {"error_code": "connection_lost", "error": "reset by peer", **more}
    return _ending(run, RunEvent.INTERRUPT, PromptEvent.REQUEUE, **given)


def failed(run: Run, **more: Any) -> Ending:
    """Another attempt cannot help."""
    given: dict[str, Any] = {"error_code": "bad_request", "error": "no such model", **more}
    return _ending(run, RunEvent.FAIL, PromptEvent.FAIL, **given)


def cancelled(run: Run, **more: Any) -> Ending:
    """Its owner did not want it any more."""
    given: dict[str, Any] = {"error_code": "cancelled", **more}
    return _ending(run, RunEvent.CANCEL, PromptEvent.CANCEL, **given)


def expire(sql: Any, worker_id: str = "w1") -> None:
    """The worker stops renewing, long ago."""
    sql(f"UPDATE workers SET lease_until = '2020-01-01 00:00:00' WHERE id = '{worker_id}'")
