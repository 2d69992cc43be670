"""The only file that knows tenacity: what is retried, where, and how long it waits.

Two kinds of retry.  *In place*: connecting, and anything that the database may
take a moment later; nothing was written yet, so nothing can be doubled.
*Later*: the run ends, its text stays, and the prompt goes back to the queue
with a delay: exponential with full jitter, capped per delay and in count
(`max_attempts`).  A server that says how long to wait is obeyed instead.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_never,
    stop_when_event_set,
    wait_exponential,
    wait_random_exponential,
)
from tenacity.stop import stop_base

from worker.breaker import PAUSE_SECONDS_MAX
from worker.clock import Clock
from worker.errors import Cancelled, ErrorCode, ShutDown, SpoolError, StoreError, Verdict
from worker.records import Ending, Run
from worker.states import PromptEvent, RunEvent

T = TypeVar("T")

CONNECT_TRIES = 3
CONNECT_TOTAL_SECONDS = 20.0
CONNECT_WAIT_MAX_SECONDS = 4.0
DATABASE_WAIT_MAX_SECONDS = 5.0
LATER_WAIT_MAX_SECONDS = 300.0
DEADLY_PAUSES = 3  # times as long, while a server that this prompt may kill answers the others
# Uncharged runs are not without end either: a prompt that a server turns away this often is failed.
# After `spool retry` it may run as often again at most: the number of a run is not reset.
RUNS_MAX = 1000
RUNS_OBEDIENT = 10  # so often a server's own wait is taken at its word; then it grows

_CONNECT = wait_exponential(multiplier=0.25, max=CONNECT_WAIT_MAX_SECONDS)


def _here(error: BaseException) -> bool:
    return isinstance(error, SpoolError) and error.verdict is Verdict.RETRY_HERE


class _Passed(stop_base):
    """Stop at a moment of our own clock; tenacity's `stop_after_delay` has one of its own."""

    def __init__(self, clock: Clock, at: float) -> None:
        self._clock = clock
        self._at = at

    def __call__(self, retry_state: RetryCallState) -> bool:
        del retry_state
        return self._clock.monotonic() >= self._at


async def connecting(attempt: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """Try to open a stream a few times; the last error is raised as it is."""
    too_late = _Passed(clock, clock.monotonic() + CONNECT_TOTAL_SECONDS)
    policy = AsyncRetrying(
        retry=retry_if_exception(_here),
        stop=stop_after_attempt(CONNECT_TRIES) | too_late,
        wait=lambda state: _CONNECT(state) * clock.random(),
        sleep=clock.sleep,
        reraise=True,
    )
    try:
        return await policy(attempt)
    finally:
        policy.iter_state.reset()  # or what was returned lives in a cycle until the next collection


def database(
    work: Callable[[], T],
    *,
    give_up: threading.Event | None = None,
    on_wait: Callable[[SpoolError], None] | None = None,
) -> T:
    """Do `work` until the database takes it, in a thread; wait between tries.

    Args:
        work: one transaction; it must be safe to send again.
        give_up: once set, the next failure is raised instead of being waited out.
        on_wait: told of the error before each wait.
    """
    waker = give_up or threading.Event()

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if on_wait and isinstance(error, SpoolError):
            on_wait(error)

    def sleep(seconds: float) -> None:
        waker.wait(seconds)

    policy = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, StoreError) and _here(error)),
        stop=stop_when_event_set(give_up) if give_up else stop_never,
        wait=wait_random_exponential(multiplier=0.1, max=DATABASE_WAIT_MAX_SECONDS),
        sleep=sleep,
        before_sleep=before_sleep,
        reraise=True,
    )
    try:
        return policy(work)
    finally:
        policy.iter_state.reset()  # as above


def later_delay(run: Run, error: SpoolError, clock: Clock) -> float:
    """Seconds until the prompt may be claimed again."""
    if _is_ours(error):
        return 0.0
    if error.retry_after_seconds is None:
        if error.charged and error.code is ErrorCode.ENDPOINT_DIED:
            return _back_off(run.attempt, clock) * DEADLY_PAUSES
        # Runs that a crash or a shutdown of ours ended are no reason to trust the server less.
        return _back_off(run.attempts if error.charged else run.attempt, clock)
    asked_seconds = min(error.retry_after_seconds, PAUSE_SECONDS_MAX)
    if run.attempt <= RUNS_OBEDIENT:
        return asked_seconds
    # "Wait a second" for an hour must not end a prompt by the number of its runs.
    return max(asked_seconds, _back_off(run.attempt - RUNS_OBEDIENT, clock))


def _is_ours(error: SpoolError) -> bool:
    """Whether this worker ended the run for its own reasons."""
    ours = (ErrorCode.ORPHANED, ErrorCode.LEASE_LOST)
    return isinstance(error, ShutDown) or error.code in ours


def _back_off(attempt: int, clock: Clock) -> float:
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    return wait_exponential(multiplier=1, max=LATER_WAIT_MAX_SECONDS)(state) * clock.random()


def ending(run: Run, error: SpoolError, clock: Clock) -> Ending:
    """Apply an error's verdict to a run: another attempt, or the end.

    The answer holds what follows from the error alone; the pipeline adds what the run produced.
    """
    run_event, prompt_event = RunEvent.INTERRUPT, PromptEvent.REQUEUE
    message, delay_seconds = error.message, 0.0
    if isinstance(error, Cancelled):
        run_event, prompt_event = RunEvent.CANCEL, PromptEvent.CANCEL
    elif error.verdict is Verdict.FAIL:
        run_event, prompt_event = RunEvent.FAIL, PromptEvent.FAIL
    elif error.charged and run.attempts >= run.max_attempts:
        prompt_event = PromptEvent.FAIL
        message = f"gave up after {run.attempts} attempts; the last one: {message}"
    elif run.attempt % RUNS_MAX == 0 and not _is_ours(error):
        prompt_event = PromptEvent.FAIL
        message = f"gave up after {run.attempt} runs; the last one: {message}"
    else:
        delay_seconds = later_delay(run, error, clock)
    return Ending(
        run_id=run.id,
        prompt_id=run.prompt_id,
        run_event=run_event,
        prompt_event=prompt_event,
        error_code=error.code or ErrorCode.INTERNAL_ERROR,
        error=message,
        http_status=error.http_status,
        request_id=error.request_id,
        charged=error.charged,
        delay_seconds=delay_seconds,
    )
