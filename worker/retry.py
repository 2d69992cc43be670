"""The only file that knows tenacity: what is tried again in place, and how long it waits.

Connecting, and anything that the database may take a moment later; nothing was written
yet, so nothing can be doubled.  What is tried again *later*, as a run of its own, is decided by
`attribution.attribute`.
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

from worker.clock import Clock
from worker.errors import SpoolError, StoreError, Verdict

T = TypeVar("T")

CONNECT_TRIES = 3
CONNECT_TOTAL_SECONDS = 20.0
CONNECT_WAIT_MAX_SECONDS = 4.0
DATABASE_WAIT_MAX_SECONDS = 5.0

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
