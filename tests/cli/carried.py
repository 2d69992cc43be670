"""Prompts in every state, as workers would have left them."""

from __future__ import annotations

from worker.records import Chunk, Ending, Kind, Usage, WorkerInfo
from worker.states import PromptEvent, RunEvent

WORKER = WorkerInfo("w1", "host", 12, "0.1.0")
ANSWER = ("Hello ", "wörld.\n\n")


def claim(store, limit=1, *, worker=WORKER, lease_seconds=30.0, endpoint="default"):
    """Claim prompts, as a worker."""
    if not store.renew(worker.id, lease_seconds):
        store.register(worker, lease_seconds)
    return store.claim(
        worker.id, endpoint, limit, dialect="ollama-chat", model="llama3.2", max_attempts=5
    )


def flush(store, run, *texts, kind=Kind.TEXT, seq=0):
    """Store pieces of text."""
    chunks = [Chunk(run.id, seq + n, kind, text, run.nonce) for n, text in enumerate(texts)]
    assert store.commit(WORKER.id, chunks, []) == frozenset()


def end(store, run, run_event, prompt_event, **given):
    """End a run."""
    ending = Ending(run.id, run.prompt_id, run_event, prompt_event, nonce=run.nonce, **given)
    assert store.commit(WORKER.id, [], [ending]) == frozenset()


def complete(store, run, **given):
    """Its done frame arrived."""
    values = {"finish_reason": "stop", "usage": Usage(3, 4), "http_status": 200}
    end(store, run, RunEvent.COMPLETE, PromptEvent.COMPLETE, done_frame=True, **values | given)


def fail(store, run, code="bad_request", error="HTTP 400: no", **given):
    """Another attempt cannot help."""
    end(store, run, RunEvent.FAIL, PromptEvent.FAIL, error_code=code, error=error, **given)


def requeue(store, run, delay_seconds=50.0):
    """It was cut, and another attempt may cure that."""
    given = {"error_code": "connection_lost", "error": "cut", "delay_seconds": delay_seconds}
    end(store, run, RunEvent.INTERRUPT, PromptEvent.REQUEUE, **given)


def every_state(store):
    """Five prompts, 1 to 5: completed, failed, queued again, running, queued; each with its text."""
    from worker.records import NewPrompt

    prompts = [NewPrompt(prompt=f"prompt {n}", custom_id=f"c{n}") for n in range(1, 6)]
    store.add(prompts, batch="b")
    runs = claim(store, 4)
    for run in runs:
        flush(store, run, *ANSWER)
        flush(store, run, "hm", kind=Kind.THINKING, seq=2)
    complete(store, runs[0])
    fail(store, runs[1], http_status=400)
    requeue(store, runs[2])
    return runs
