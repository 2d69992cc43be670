"""What a worker tells of its endpoints, and what it hears of them from others.

How each stands goes into the worker's own row, for `spool status`.  What the server itself said
goes into `endpoint_states`, for other workers and for the next start.  Both are written on change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

from worker.clock import Clock
from worker.endpoints.breaker import BreakerState
from worker.endpoints.monitor import EndpointMonitor
from worker.errors import Refused
from worker.records import Json

HEAR_SECONDS = 5.0  # between two looks for what endpoints said to others
_MOMENTS_KEPT = 3  # open since, asked again at, paused until

InStore = Callable[[Callable[[], Any]], Awaitable[Any]]


class TellingStore(Protocol):
    """What is needed of the store."""

    def report(self, worker_id: str, endpoints: Mapping[str, object]) -> None:
        """Keep what the worker says of its endpoints."""
        ...

    def endpoint_states(self) -> Mapping[tuple[str, str], Mapping[str, Json]]:
        """What endpoints said, by name and digest of the settings."""
        ...

    def keep_endpoint_state(
        self, worker_id: str, endpoint: str, digest: str, state: Mapping[str, Json]
    ) -> None:
        """Tell the others what an endpoint said."""
        ...


class Telling:
    """Writes what is known of the endpoints of one worker, and reads what others know."""

    def __init__(
        self,
        store: TellingStore,
        worker_id: str,
        monitors: Mapping[str, EndpointMonitor],
        *,
        clock: Clock,
    ) -> None:
        self._store = store
        self._worker_id = worker_id
        self._monitors = monitors
        self._clock = clock
        self._standing = {name: Standing(each, clock) for name, each in monitors.items()}
        self._reported: Mapping[str, object] = {}
        self._heard: dict[str, Mapping[str, Json]] = {}
        self._hear_at = 0.0

    async def look(self, in_store: InStore) -> None:
        """Write what has changed; now and then, read what others wrote."""
        standing = {name: each.tell() for name, each in self._standing.items()}
        if standing != self._reported:
            await in_store(partial(self._store.report, self._worker_id, standing))
            self._reported = standing
        if any(monitor.said.changed for monitor in self._monitors.values()):
            await in_store(self.share)
        if self._clock.monotonic() >= self._hear_at:
            await self.hear(in_store)

    def share(self) -> None:
        """Write what endpoints said and nobody else knows yet; also the last thing of a worker."""
        for name, monitor in self._monitors.items():
            if monitor.said.changed:
                digest, state = monitor.said.digest, monitor.said.state()
                self._store.keep_endpoint_state(self._worker_id, name, digest, state)
                monitor.said.changed = False

    async def hear(self, in_store: InStore, *, at_start: bool = False) -> None:
        """Read what endpoints said to others, or before this start."""
        self._hear_at = self._clock.monotonic() + HEAR_SECONDS
        states = await in_store(self._store.endpoint_states)
        for name, monitor in self._monitors.items():
            state = states.get((name, monitor.said.digest))
            is_news = state is not None and (at_start or state != self._heard.get(name))
            if state is not None and is_news and not monitor.said.changed:
                self._heard[name] = state
                believe(monitor, state, at_start=at_start, at=self._clock.monotonic())


def believe(
    monitor: EndpointMonitor, state: Mapping[str, Json], *, at_start: bool, at: float
) -> None:
    """Another worker, or an earlier start, was told this by the same server."""
    models, refusal = monitor.said.read(state)
    monitor.canaries.answered.update(models)
    breaker = monitor.breaker
    breaker.has_answered = breaker.has_answered or monitor.said.has_answered
    if refusal is not None and (at_start or breaker.state is BreakerState.CLOSED):
        monitor.open(refusal, refuses=True)
        breaker.is_hearsay = True
    if refusal is None or at_start:
        breaker.ask_now(at=at)


def never_worked(monitor: EndpointMonitor) -> Refused:
    """What to tell a person about an endpoint that has never answered."""
    return Refused(
        f"endpoint {monitor.endpoint.name!r} has never answered: it turns every prompt away"
        f" ({monitor.breaker.last_error}); the others stay queued: correct its key, base_url or"
        " model (`spool doctor`), then run again"
    )


class Standing:
    """Tells how one endpoint stands; a moment is spelled the same whenever it is asked for."""

    def __init__(self, monitor: EndpointMonitor, clock: Clock) -> None:
        self._monitor = monitor
        self._clock = clock
        self._walls: dict[float, str] = {}

    def tell(self) -> dict[str, Json]:
        """`state`, why and since when, and what else a person should know."""
        monitor, breaker = self._monitor, self._monitor.breaker
        error, opened_at, asks_at = breaker.last_error, breaker.opened_at, breaker.asks_at
        paused = breaker.waits_until > self._clock.monotonic()
        age_seconds = monitor.cuts.shared_age()
        useless = monitor.canaries.is_useless(monitor.endpoint.model)
        said: dict[str, Json] = {
            "state": str(breaker.state),
            "digest": monitor.said.digest,
            "since": None if opened_at is None else self._wall(opened_at),
            "asks_at": None if asks_at is None else self._wall(asks_at),
            "error": None if error is None else error.message,
            "refuses": str(error.code) if error is not None and breaker.refuses else None,
            "never_worked": breaker.never_worked or None,
            "paused_until": self._wall(breaker.waits_until) if paused else None,
            "canaries": monitor.canaries.total or None,
            "canary_useless": useless or None,
            "streams_at_a_time": breaker.ramp.most if breaker.ramp.narrowed else None,
            "cut_after_seconds": None if age_seconds is None else round(age_seconds),
            "held_batches": [
                {"batch": batch_id, "code": row.code, "error": row.message}
                for batch_id, row in sorted(monitor.brake.held().items())
            ]
            or None,
        }
        return {name: value for name, value in said.items() if value is not None}

    def _wall(self, at: float) -> str:
        """A moment of the monotonic clock as UTC."""
        moment = self._walls.pop(at, None)
        if moment is None:
            distance = timedelta(seconds=at - self._clock.monotonic())
            moment = (self._clock.now() + distance).isoformat(timespec="seconds")
        self._walls[at] = moment  # the last one asked for, and so the last to be forgotten
        self._walls = dict(list(self._walls.items())[-_MOMENTS_KEPT:])
        return moment
