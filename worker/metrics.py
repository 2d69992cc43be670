"""What a worker has done, for Prometheus; and whether it is well, for whoever watches it.

The counters are fed by the events that the worker reports anyway (`counting`
stands between the rooms and the log), so a number here and a line there cannot
disagree.  The gauges ask the worker when they are asked.  One small server on
the loopback answers `/metrics`, `/live` and `/ready`.
"""

from __future__ import annotations

import json
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app

from worker.endpoints.breaker import Breaker, BreakerState
from worker.errors import SettingsError
from worker.events import Log
from worker.http.loopback import family_of, loopback_address
from worker.supervisor.options import WorkerHealth

_ENDINGS = ("run_completed", "run_interrupted", "run_failed", "run_cancelled", "run_lost")
CONNECTIONS_MAX = 16  # at a time: a scraper and a few probes; each is a thread and a descriptor
IDLE_SECONDS = 5.0  # for which a client may be silent
# A page in a browser reaches the loopback under a name of its own; those who watch do not.
_HOSTS = frozenset({"", "127.0.0.1", "localhost", "[::1]"})
_STATUS = {True: "200 OK", False: "503 Service Unavailable"}

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Metrics:
    """The counters and gauges of one worker, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._runs = Counter(
            "spool_runs", "Runs ended.", ["outcome", "error_code"], registry=self.registry
        )
        self._events = Counter(
            "spool_events", "Events of each name.", ["event"], registry=self.registry
        )
        self._canaries = Counter(
            "spool_canaries",
            "Requests for one token, sent to learn how an endpoint is.",
            ["endpoint", "outcome"],
            registry=self.registry,
        )
        self._tokens = Counter(
            "spool_completion_tokens", "Tokens of completed runs.", registry=self.registry
        )
        self._chars = Counter(
            "spool_chars", "Characters of text stored by ended runs.", registry=self.registry
        )
        self._run_chars = Histogram(
            "spool_run_chars",
            "Characters of text of a completed run.",
            buckets=[0, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000],
            registry=self.registry,
        )

    def counting(self, log: Log) -> Log:
        """A log that also counts."""

        def counted(event: str, **values: object) -> None:
            self.count(event, values)
            log(event, **values)

        return counted

    def count(self, event: str, values: Mapping[str, object]) -> None:
        """Take note of one event."""
        self._events.labels(event).inc()
        if event == "canary_sent":
            self._canaries.labels(str(values["endpoint"]), str(values["outcome"])).inc()
        if event not in _ENDINGS:
            return
        self._runs.labels(event.removeprefix("run_"), str(values.get("error_code") or "")).inc()
        chars, tokens = values.get("chars"), values.get("completion_tokens")
        if isinstance(chars, int):
            self._chars.inc(chars)
            if event == "run_completed":
                self._run_chars.observe(chars)
        if isinstance(tokens, int):
            self._tokens.inc(tokens)

    def watch(self, health: Callable[[], WorkerHealth], breakers: Mapping[str, Breaker]) -> None:
        """Numbers that are asked for whenever somebody looks."""
        under_way = Gauge("spool_runs_under_way", "Runs that stream.", registry=self.registry)
        under_way.set_function(lambda: health().runs)
        renewed = Gauge(
            "spool_lease_renewed_seconds_ago",
            "Since the last successful renewal of the lease.",
            registry=self.registry,
        )
        renewed.set_function(lambda: health().renewed_seconds_ago or 0.0)
        is_open = Gauge(
            "spool_breaker_open",
            "1 while the endpoint is down, or being tried: few or none are claimed for it.",
            ["endpoint"],
            registry=self.registry,
        )
        for name, breaker in breakers.items():
            is_open.labels(name).set_function(partial(_is_open, breaker))


def _is_open(breaker: Breaker) -> float:
    return float(breaker.state is not BreakerState.CLOSED)


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """Holds few connections, and lets the oldest go for a new one: a probe always gets through."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self._open: dict[Any, None] = {}  # in the order in which they came
        self._guard = threading.Lock()
        self.address_family = family_of(address[0])
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            if len(self._open) >= CONNECTIONS_MAX:
                oldest = next(iter(self._open))
                del self._open[oldest]
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread wakes up and closes it
            self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: somebody hung up, or was silent for too long."""


class _Quiet(WSGIRequestHandler):
    timeout = IDLE_SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: a scrape every few seconds is no event."""


class HealthServer:
    """Answers on the loopback while the worker lives."""

    def __init__(
        self,
        port: int,
        metrics: Metrics,
        *,
        health: Callable[[], WorkerHealth],
        turns: Callable[[], bool],
    ) -> None:
        """Listen; raises SettingsError if the port is taken.

        turns: whether the worker's event loop turns; asked in a thread of the server.
        """
        self._metrics = make_wsgi_app(metrics.registry)
        self._health = health
        self._turns = turns
        host = loopback_address()
        try:
            self._server = make_server(
                host, port, self._answer, server_class=_Server, handler_class=_Quiet
            )
        except OSError as error:
            raise SettingsError(
                f"metrics_port = {port} cannot be used ({error.strerror}): choose another one, or 0"
                " for none; every worker on a machine needs its own"
            ) from error
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        host = str(environ.get("HTTP_HOST", "")).lower()
        if re.sub(r":\d+$", "", host) not in _HOSTS:
            return _json(start, "403 Forbidden", {"error": "ask for 127.0.0.1 or localhost"})
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start)
            return answer
        if path in {"/live", "/ready"}:
            health = self._health()
            well = self._turns() and (path == "/live" or health.ready)
            return _json(start, _STATUS[well], {"ok": well, **asdict(health)})
        known = ["/metrics", "/live", "/ready"]
        return _json(start, "404 Not Found", {"error": "no such page", "pages": known})


def _json(start: StartResponse, status: str, body: Mapping[str, object]) -> Iterable[bytes]:
    start(status, [("content-type", "application/json")])
    return [json.dumps(body).encode() + b"\n"]
