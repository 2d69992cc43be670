"""Numbers and health of a worker, asked over HTTP on the loopback."""

from __future__ import annotations

import json
import socket
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection

import pytest

from worker import metrics as module
from worker.endpoints.breaker import FAILURES_TO_OPEN, Breaker
from worker.errors import SettingsError, Unreachable
from worker.metrics import CONNECTIONS_MAX, HealthServer, Metrics
from worker.supervisor.options import WorkerHealth

WELL = WorkerHealth(
    renewed_seconds_ago=1.5, lease_valid=True, database_away=False, stopping=False, runs=3
)


class Worker:
    """What a test makes of the worker's state."""

    def __init__(self) -> None:
        self.state = WELL
        self.turning = True

    def health(self) -> WorkerHealth:
        return self.state

    def turns(self) -> bool:
        return self.turning


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def server(worker: Worker, metrics: Metrics) -> Iterator[HealthServer]:
    serving = HealthServer(0, metrics, health=worker.health, turns=worker.turns)
    yield serving
    serving.close()


def get(server: HealthServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}") as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_events_are_counted_and_still_reported(metrics: Metrics, server: HealthServer) -> None:
    """A number in the metrics and a line in the log come from the same event."""
    lines: list[tuple[str, dict[str, object]]] = []
    log = metrics.counting(lambda event, **values: lines.append((event, values)))
    log("run_completed", chars=120, completion_tokens=30, run_id=1)
    log("run_interrupted", chars=5, error_code="idle_timeout", run_id=2)
    log("worker_started")
    assert [event for event, _ in lines] == ["run_completed", "run_interrupted", "worker_started"]
    text = get(server, "/metrics")[1]
    assert 'spool_runs_total{error_code="",outcome="completed"} 1.0' in text
    assert 'spool_runs_total{error_code="idle_timeout",outcome="interrupted"} 1.0' in text
    assert "spool_chars_total 125.0" in text
    assert "spool_completion_tokens_total 30.0" in text
    assert 'spool_events_total{event="worker_started"} 1.0' in text


def test_gauges_tell_the_moment(worker: Worker, metrics: Metrics, server: HealthServer) -> None:
    """Runs under way, the age of the lease and open breakers are read when they are asked for."""
    breaker = Breaker()
    metrics.watch(worker.health, {"default": breaker})
    text = get(server, "/metrics")[1]
    assert "spool_runs_under_way 3.0" in text
    assert 'spool_breaker_open{endpoint="default"} 0.0' in text
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(Unreachable("refused"), at=1.0)
    worker.state = replace(WELL, runs=0, renewed_seconds_ago=9.0)
    text = get(server, "/metrics")[1]
    assert "spool_runs_under_way 0.0" in text
    assert "spool_lease_renewed_seconds_ago 9.0" in text
    assert 'spool_breaker_open{endpoint="default"} 1.0' in text


@pytest.mark.parametrize(
    ("state", "turning", "live", "ready"),
    [
        (WELL, True, 200, 200),
        (replace(WELL, lease_valid=False), True, 200, 503),
        (replace(WELL, database_away=True), True, 200, 503),
        (replace(WELL, stopping=True), True, 200, 503),
        (WELL, False, 503, 503),
    ],
)
def test_live_and_ready(
    worker: Worker, server: HealthServer, state: WorkerHealth, turning: bool, live: int, ready: int
) -> None:
    """A worker without its database lives but is not ready; one that hangs is neither."""
    worker.state, worker.turning = state, turning
    assert get(server, "/live")[0] == live
    status, body = get(server, "/ready")
    assert status == ready
    assert json.loads(body)["renewed_seconds_ago"] == 1.5


def test_an_unknown_page_names_the_known_ones(server: HealthServer) -> None:
    """A person who guesses finds the way."""
    status, body = get(server, "/")
    assert status == 404
    assert json.loads(body)["pages"] == ["/metrics", "/live", "/ready"]


def test_a_port_that_is_taken_is_said(worker: Worker, server: HealthServer) -> None:
    """Two workers with one metrics_port: the second says which setting to change."""
    with pytest.raises(SettingsError, match=rf"metrics_port = {server.port} .*choose another"):
        HealthServer(server.port, Metrics(), health=worker.health, turns=worker.turns)


def test_only_the_loopback_is_served(server: HealthServer) -> None:
    """Nobody outside this machine is answered."""
    assert server._server.server_address[0] == "127.0.0.1"


def test_idle_connections_keep_no_probe_out(server: HealthServer) -> None:
    """Somebody opens hundreds and says nothing: the oldest go, and the page still answers."""
    idle = []
    for _ in range(10 * CONNECTIONS_MAX):
        idle.append(socket.create_connection(("127.0.0.1", server.port)))
        if len(idle) % CONNECTIONS_MAX == 0:
            assert get(server, "/live")[0] == 200
    assert idle[0].recv(1) == b""  # closed by the server
    for each in idle:
        each.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((host, 200) for host in ("127.0.0.1", "localhost:9", "LOCALHOST", "[::1]:1")),
        *(
            (host, 403)
            for host in ("evil.example", "127.0.0.1.evil.example:80", "localhost.evil:1")
        ),
    ],
)
def test_a_page_in_a_browser_gets_nothing(server: HealthServer, host: str, status: int) -> None:
    """It reaches the loopback under a name of its own, which its requests carry."""
    connection = HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/metrics", headers={"Host": host})
    assert connection.getresponse().status == status
    connection.close()


def test_a_client_that_hangs_up_is_not_worth_a_word(server: HealthServer, capfd) -> None:
    """A port scanner writes nothing into the log."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"GET /live")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert get(server, "/live")[0] == 200
    assert capfd.readouterr().err == ""


def test_the_loopback_may_be_that_of_ipv6(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without IPv4, the server listens in the family of the address that there is."""
    made: list[tuple[str, socket.AddressFamily]] = []

    class Server(module._Server):
        def server_bind(self) -> None:
            made.append((self.server_address[0], self.socket.family))
            raise OSError(99, "bound")

    monkeypatch.setattr(module, "loopback_address", lambda: "::1")
    monkeypatch.setattr(module, "_Server", Server)
    with pytest.raises(SettingsError):
        HealthServer(0, Metrics(), health=worker.health, turns=worker.turns)
    assert made == [("::1", socket.AF_INET6)]


def test_canaries_are_counted_by_their_outcome(metrics):
    """What they may have cost is seen from outside."""
    log = metrics.counting(lambda *_, **__: None)
    log("canary_sent", endpoint="default", outcome="answered", error=None)
    log("canary_sent", endpoint="default", outcome="refused", error="HTTP 401")
    log("canary_sent", endpoint="default", outcome="refused", error="HTTP 401")
    labels = {"endpoint": "default", "outcome": "refused"}
    assert metrics.registry.get_sample_value("spool_canaries_total", labels) == 2
