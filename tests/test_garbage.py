"""What a run leaves behind is gone with it, and does not wait for the cyclic collector.

The collector comes rarely (worker/app/process_tuning.py), and 50,000 runs of a few kilobytes each would
wait for it.
"""

from __future__ import annotations

import gc
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.fakes.aio import aio, turns
from tests.fakes.answer import Script
from tests.fakes.scripted_commits import ScriptedCommits
from tests.fakes.scripted_stream import run
from tests.fakes.server import FakeServer
from tests.wire.corpus import CASES
from worker.clock import SystemClock
from worker.endpoints.monitor import EndpointMonitor
from worker.errors import ErrorCode
from worker.http.stream import Stream
from worker.records import Ending, Endpoint
from worker.run.buffer import Budget, Limits
from worker.run.context import RunContext
from worker.supervisor.active_runs import ActiveRuns, Summary
from worker.wire import DIALECTS

# The server is in this process as well, and its garbage is nobody's business.
OURS = ("worker.", "httpx.", "tenacity.", "httptools.parser.parser.HttpResponseParser")
WHOLE = {case.dialect: case for case in CASES if case.expect["outcome"] == "completed"}


@pytest.fixture
def garbage() -> Iterator[list[object]]:
    """What only the collector can free, from now on."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("end", ["clean", "cut"])
@pytest.mark.parametrize("dialect", sorted(WHOLE))
@aio
async def test_a_run_leaves_no_cycle_behind(dialect: str, end: str, garbage: list[object]) -> None:
    """From its request to its ending, in every dialect, also when the answer is cut off."""
    case = WHOLE[dialect]
    async with FakeServer() as server:
        stream = Stream(clock=SystemClock())
        place = Endpoint("default", dialect, server.url, "m")
        path = DIALECTS[dialect].request(place, run()).url.removeprefix(server.url)
        body = case.raw
        body = body if end == "clean" else body[: len(body) // 2]
        server.scripts[path] = Script(
            body, headers=case.headers, framing="chunked", split=700, end=end
        )
        done = await carried(place, stream)
        assert (done.completed, done.requeued) == ((3, 0) if end == "clean" else (0, 3))
        assert not ours(garbage)
        await stream.aclose()


@pytest.mark.parametrize(
    ("host", "deadline", "code"),
    [
        ("127.0.0.1:1", "connect_timeout_seconds", ErrorCode.UNREACHABLE),
        ("", "first_frame_timeout_seconds", ErrorCode.FIRST_FRAME_TIMEOUT),
        ("", "total_timeout_seconds", ErrorCode.TOTAL_TIMEOUT),
    ],
)
@aio
async def test_nor_does_one_that_gets_no_answer(host, deadline, code, garbage, monkeypatch) -> None:
    """In an outage there are many of them, and each holds its prompt."""
    monkeypatch.setattr("worker.http.stream._PROBE_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # its kernel takes connections
        host = host or f"127.0.0.1:{silent.getsockname()[1]}"
        stream = Stream(clock=SystemClock())
        limits = {"connect_timeout_seconds": 0.2, deadline: 0.05}
        place = Endpoint("default", "openai-chat", f"http://{host}/v1", "m", **limits)
        ends: list[Ending] = []
        done = await carried(place, stream, ends)
        assert (done.requeued, {end.error_code for end in ends}) == (3, {code})
        assert not ours(garbage)
        await stream.aclose()


async def carried(place: Endpoint, stream: Stream, ends: list[Ending] | None = None) -> Summary:
    """Three runs, from their requests to their endings."""
    clock, commits = SystemClock(), ScriptedCommits()
    carriers = ActiveRuns(clock=clock, log=lambda *_, **__: None, on_room=lambda: None)
    dialect = DIALECTS[place.dialect]
    watch = EndpointMonitor(place, dialect, stream, clock=clock, log=lambda *_, **__: None)
    rooms = RunContext(stream, commits, clock, Limits(), Budget(10**6), 10**6)
    for number in range(3):
        carriers.start(run(number), watch, rooms)
    while carriers:
        await turns(1)
    await turns()
    if ends is not None:
        ends += commits.endings
    return carriers.summary


def ours(garbage: list[object]) -> Counter[str]:
    """How many of which of our types are in it; the server's garbage is nobody's business."""
    gc.collect()
    left = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in garbage)
    return Counter({name: left[name] for name in left if name.startswith(OURS)})
