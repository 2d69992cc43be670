"""Builds one worker out of settings, and lives its life.

Every object that a worker is made of is made here: the store and the log are
handed in, everything else follows from the settings.  `run` and `demo` differ
only in what they show meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from worker.app.process_tuning import collect_rarely, raise_descriptor_limit
from worker.clock import SystemClock
from worker.embedded import EmbeddedServers
from worker.errors import SettingsError
from worker.events import Event, Log
from worker.http.stream import Stream
from worker.records import Endpoint, WorkerInfo
from worker.run.buffer import Limits
from worker.settings import Settings
from worker.store import Store
from worker.supervisor.active_runs import Summary
from worker.supervisor.options import Options
from worker.supervisor.process_identity import identity
from worker.supervisor.worker import Worker
from worker.version import __version__
from worker.wire import DIALECTS

if TYPE_CHECKING:
    from worker.metrics import Metrics

T = TypeVar("T")

TURN_SECONDS = 2.0  # an event loop that does not turn for so long is not alive
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Bindable(Protocol):
    """A log to which values can be added that every line then has."""

    def bind(self, **values: object) -> Log:
        """The log with these values."""
        ...


def run_async(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on uvloop where it exists, on asyncio elsewhere.

    With the usual thresholds the garbage collector took a fifth of the processor time of 2,000
    streams, and stopped them all for a third of a second.
    """
    collect_rarely()
    gc.freeze()  # the modules, which stay
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.run(main())
    return uvloop.run(main())


def serving(settings: Settings, names: Collection[str]) -> Settings:
    """The settings with only these endpoints; all of them if none is named.

    Raises:
        SettingsError: a name that is not configured.
    """
    if unknown := sorted(set(names) - settings.endpoints.keys()):
        known = ", ".join(sorted(settings.endpoints))
        raise SettingsError(f"there is no endpoint {unknown[0]!r}; configured are: {known}")
    if not names:
        return settings
    kept = {name: settings.endpoints[name] for name in names}
    return settings.model_copy(update={"endpoints": kept})


def options(settings: Settings, *, listen: bool) -> Options:
    """The part of the settings that the loop obeys."""
    return Options(
        lease_seconds=settings.lease_seconds,
        shutdown_grace_seconds=settings.shutdown_grace_seconds,
        poll_seconds=settings.poll_seconds,
        listen=listen,
        gather_seconds=settings.commit_interval_seconds,
        max_attempts=settings.max_attempts,
        max_runs=settings.max_runs,
        max_crashes=settings.max_crashes,
        worker_buffer_bytes=settings.worker_buffer_bytes,
        max_frame_bytes=settings.max_frame_bytes,
        limits=Limits(
            flush_seconds=settings.flush_seconds,
            flush_bytes=settings.flush_bytes,
            stream_bytes=settings.stream_buffer_bytes,
        ),
    )


@asynccontextmanager
async def worker_of(
    settings: Settings, store: Store, log: Log, info: WorkerInfo
) -> AsyncIterator[Worker]:
    """A worker with everything it stands on; embedded servers run while the context lasts."""
    clock = SystemClock()
    stream = Stream(
        clock=clock,
        transport=settings.transport,
        read_interval_seconds=settings.read_interval_seconds,
        read_interval_most_seconds=settings.read_interval_most_seconds,
    )
    embedded: list[Endpoint] = []
    try:
        async with EmbeddedServers(settings.endpoints) as servers:
            embedded = [each for each in servers.endpoints.values() if each.embedded]
            for endpoint in embedded:
                log(Event.EMBEDDED_SERVER_STARTED, endpoint=endpoint.name, url=endpoint.base_url)
            yield Worker(
                info=info,
                store=store,
                stream=stream,
                endpoints=servers.endpoints,
                dialects=DIALECTS,
                options=options(settings, listen=settings.listen or store.is_sqlite),
                clock=clock,
                log=log,
                revive=servers.revive,
            )
    finally:
        for endpoint in embedded:
            log(Event.EMBEDDED_SERVER_STOPPED, endpoint=endpoint.name)
        await stream.aclose()


@asynccontextmanager
async def _watched(port: int, worker: Worker, metrics: Metrics | None) -> AsyncIterator[None]:
    """Answer Prometheus and health checks while the context lasts, if a port is set."""
    if metrics is None:
        yield
        return
    from worker.metrics import HealthServer

    loop = asyncio.get_running_loop()

    def turns() -> bool:
        turned = threading.Event()
        loop.call_soon_threadsafe(turned.set)
        return turned.wait(TURN_SECONDS)

    metrics.watch(worker.health, {n: watch.breaker for n, watch in worker.watches.items()})
    server = HealthServer(port, metrics, health=worker.health, turns=turns)
    try:
        yield
    finally:
        await asyncio.to_thread(server.close)


def _metrics() -> Metrics:
    from worker.metrics import Metrics  # Prometheus and an HTTP server: 2 MiB, for those who ask

    return Metrics()


async def serve(
    settings: Settings,
    store: Store,
    log: Bindable,
    *,
    drain: bool = False,
    beside: Callable[[Worker], Awaitable[None]] | None = None,
) -> Summary:
    """Live a worker's life; SIGTERM and SIGINT stop it, a second one hurries it.

    Args:
        settings: what the worker obeys.
        store: an open store whose schema was checked.
        log: where events go.
        drain: end when nothing is left to do.
        beside: shown to a person meanwhile; cancelled when the worker has ended.
    """
    info = WorkerInfo(
        id=str(uuid.uuid4()),
        host=socket.gethostname(),
        pid=os.getpid(),
        version=__version__,
        process=identity(),
    )
    told = log.bind(worker_id=info.id)
    streams = sum(endpoint.concurrency for endpoint in settings.endpoints.values())
    if too_few := raise_descriptor_limit(streams):
        told(Event.SETTINGS_HINT, hint=too_few)
    metrics = _metrics() if settings.metrics_port else None
    async with (
        worker_of(settings, store, metrics.counting(told) if metrics else told, info) as worker,
        _watched(settings.metrics_port, worker, metrics),
    ):
        loop = asyncio.get_running_loop()
        in_main = threading.current_thread() is threading.main_thread()
        signals = STOP_SIGNALS if in_main else ()  # Python hands them to no other thread
        for number in signals:
            loop.add_signal_handler(number, worker.stop)
        company = asyncio.ensure_future(beside(worker)) if beside else None
        try:
            return await worker.run(drain=drain)
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
            if company:
                company.cancel()
                await asyncio.gather(company, return_exceptions=True)
