"""Bytes arrive as they were sent, nothing is lost by looking at the clock, and keys stay here."""

from __future__ import annotations

import asyncio
import gzip
import os
import resource
from contextlib import suppress

import httpx
import pytest

from tests.fakes.answer import Script
from tests.fakes.clock import FakeClock
from tests.fakes.patience import HANG_SECONDS
from tests.fakes.server import closed_port
from tests.http.stream.conftest import (  # noqa: F401 - fixtures, shared with tests/stream/
    CHAT,
    anyio_backend_fixture,
    deaf_reader_fixture,
    endpoint_fixture,
    no_proxy_fixture,
    server_fixture,
    stream_fixture,
    way_fixture,
)
from worker.clock import SystemClock
from worker.errors import Busy, ServerFailed, Unreachable
from worker.http import stream as stream_module
from worker.http.stream import Reader, Stream
from worker.http.transport import Turns, connection
from worker.records import Request
from worker.wire import DIALECTS

pytestmark = pytest.mark.anyio
KIB64 = 64 * 1024


def test_a_request_id_is_kept_as_far_as_it_is_one():
    """It goes into a row and into messages; a server may send 64 KiB under that name."""
    for name in ("x-request-id", "request-id"):
        response = httpx.Response(200, headers={name: "r" * 60_000})
        reader = Reader(response, None, SystemClock(), where="host:80", redact=str, turns=Turns())
        assert len(reader.request_id) == 200


async def test_a_reader_tells_status_type_and_request_id(way):
    """What the run's row will say about the response."""
    way.server.scripts["/x"] = Script(b"", 201, {"content-type": "a/b", "request-id": "req-1"})
    async with way.open(way.ask(path="/x")) as reader:
        assert (reader.status, reader.content_type, reader.request_id) == (201, "a/b", "req-1")
        assert await reader.read(HANG_SECONDS) is None
    way.server.scripts["/x"] = Script(b"", 200, {"x-request-id": "req-2"})
    async with way.open(way.ask(path="/x")) as reader:
        assert (reader.content_type, reader.request_id) == (None, "req-2")


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_the_body_arrives_in_blocks_of_at_most_64_kib(way, framing):
    """However large it is."""
    body = bytes(range(256)) * 2000
    way.server.scripts["/x"] = Script(body, framing=framing)
    got = b""
    async with way.open(way.ask(path="/x")) as reader:
        while (data := await reader.read(HANG_SECONDS)) is not None:
            assert 0 < len(data) <= KIB64
            got += data
    assert got == body


async def test_a_wait_that_runs_out_gives_nothing_and_loses_nothing(way):
    """Looked at every two milliseconds, the answer is the same."""
    got, waits = b"", 0
    async with way.open(way.ask("[[tokens=30 rate=300]]")) as reader:
        while (data := await reader.read(0.002)) is not None:
            got += data
            waits += not data
    assert waits
    assert got.count(b"chat.completion.chunk") == 33
    assert got.endswith(b"[DONE]\n\n")


async def test_headers_are_those_of_the_request_the_dialect_and_the_endpoint(way):
    """The key is added by the dialect; the endpoint has the last word."""
    for dialect, name, value in (
        ("openai-chat", "authorization", "Bearer sk-secret-key"),
        ("anthropic-messages", "x-api-key", "sk-secret-key"),
    ):
        mine = {"X-Team": "night", "User-Agent": "mine"}
        async with way.open(way.ask(), DIALECTS[dialect], headers=mine):
            headers = way.server.served[-1].headers
        assert headers[name] == value
        assert headers["accept-encoding"] == "identity"
        assert (headers["x-team"], headers["user-agent"]) == ("night", "mine")
        assert headers["content-type"] == "application/json"
    async with way.open(way.ask(), headers={"Authorization": "Basic abc"}):
        assert way.server.served[-1].headers["authorization"] == "Basic abc"
    async with way.open(way.ask(), api_key=None):
        assert "authorization" not in way.server.served[-1].headers
        assert way.server.served[-1].headers["user-agent"].startswith("promptspool/")


async def test_prompts_share_no_cookies(way):
    """What one answer sets, the next request does not send."""
    way.server.scripts["/x"] = Script(b"", headers={"set-cookie": "a=b; Path=/"})
    for _ in range(2):
        async with way.open(way.ask(path="/x")):
            pass
    assert "cookie" not in way.server.served[-1].headers


@pytest.mark.parametrize("fault", ["stall", "pings", "none rate=20 tokens=1000"])
async def test_leaving_closes_the_connection_at_once(way, fault):
    """The server need not generate what nobody reads; also while a read was waiting."""
    async with way.open(way.ask(f"[[fault={fault}]]")) as reader:
        assert await reader.read(HANG_SECONDS)
        await reader.read(0.001)
    await way.server.until(lambda: not way.server.connections)
    assert way.server.served[0].ended == "left"


async def test_an_error_of_the_caller_closes_the_connection_at_once(way):
    """And passes through as it is."""
    with pytest.raises(KeyError):
        async with way.open(way.ask("[[fault=stall]]")):
            raise KeyError
    await way.server.until(lambda: not way.server.connections)


async def test_cancelling_closes_the_connection_at_once(way):
    """Before the headers and after them."""

    async def carry(prompt: str) -> None:
        async with way.open(way.ask(prompt)) as reader:
            while await reader.read(None) is not None:
                pass

    for fault in ("silent", "stall"):
        task = asyncio.ensure_future(carry(f"[[fault={fault}]]"))
        count = len(way.server.served) + 1
        await way.server.until(lambda count=count: len(way.server.served) == count)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await way.server.until(lambda: not way.server.connections)


async def test_hundreds_of_streams_hinder_nobody(way):
    """httpx's limit of 100 connections would starve the rest."""
    opened = [way.open(way.ask("[[fault=stall]]")) for _ in range(150)]
    readers = await asyncio.gather(*(one.__aenter__() for one in opened))
    assert {reader.status for reader in readers} == {200}
    await asyncio.gather(*(one.__aexit__(None, None, None) for one in opened))
    await way.server.until(lambda: not way.server.connections)


# After the done frame.


async def until_done(reader: Reader) -> None:
    got = b""
    while b"[DONE]" not in got:
        got += await reader.read(HANG_SECONDS) or b""


async def test_drained_the_connection_is_kept(way):
    """The end of the body comes after the done frame."""
    for _ in range(3):
        async with way.open(way.ask("[[rate=500 split=400]]")) as reader:
            await until_done(reader)
            await reader.drain()
    assert way.server.accepted == 1


async def test_draining_does_not_wait_for_the_next_tick(endpoint, server, monkeypatch):
    """Tokens may gather for a minute; the end of the body is wanted now."""
    monkeypatch.setattr(connection, "DELAY_SHARE", 1e6)
    server.scripts["/x"] = Script(b"data: [DONE]\n\n", pause=0.1)
    stream = Stream(clock=SystemClock(), read_interval_seconds=60)
    for _ in range(2):
        request = Request(server.url + "/x", b"{}", {})
        async with stream.open(request, endpoint, CHAT) as reader:
            await until_done(reader)
            await reader.drain()
    await stream.aclose()
    assert server.accepted == 1


@pytest.mark.parametrize(
    "script",
    [
        Script(b"data: [DONE]\n\n" + bytes(10_000_000), framing="length", split=100_000),
        Script(b"data: [DONE]\n\n", end="cut"),
        Script(b"data: [DONE]\n\n", end="cut", framing="length"),
    ],
)
async def test_draining_never_fails_and_takes_no_more_than_64_kib(way, script):
    """The answer is complete, whatever follows."""
    way.server.scripts["/x"] = script
    async with way.open(way.ask(path="/x")) as reader:
        await until_done(reader)
        await asyncio.wait_for(reader.drain(), HANG_SECONDS)
    await way.server.until(lambda: not way.server.connections)
    assert way.server.served[0].bytes_sent < 10_000_000


async def test_draining_ends_when_its_time_is_over(way, monkeypatch):
    """A server that never ends the body costs a second."""
    monkeypatch.setattr(stream_module, "_DRAIN_SECONDS", 0.05)
    for fault in ("stall", "pings"):
        async with way.open(way.ask(f"[[fault={fault}]]")) as reader:
            assert await reader.read(HANG_SECONDS)
            await asyncio.wait_for(reader.drain(), HANG_SECONDS)


# Is anybody there?


@pytest.mark.parametrize("status", [200, 204, 301, 401, 404, 405])
async def test_any_answer_is_a_sign_of_life(way, status):
    """Also that there is nothing at the base URL."""
    way.server.scripts["/v1"] = Script(b"", status, framing="length")
    await way.probe()
    assert (way.server.served[0].method, way.server.served[0].path) == ("GET", "/v1")
    assert way.server.served[0].headers["authorization"] == "Bearer sk-secret-key"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, Busy),
        (503, Busy),
        (529, Busy),
        (500, ServerFailed),
        (501, ServerFailed),
        (502, ServerFailed),
    ],
)
async def test_a_server_in_trouble_is_no_sign_of_life(way, status, error):
    """501 too: nothing there would carry a prompt."""
    way.server.scripts["/v1"] = Script(b'{"error":"loading model"}', status, framing="length")
    with pytest.raises(error, match="loading model"):
        await way.probe()


async def test_silence_is_no_sign_of_life(way, monkeypatch, deaf_reader):
    """Nobody there, nobody who answers, somebody who hangs up: all are the same outage."""
    monkeypatch.setattr(stream_module, "_PROBE_SECONDS", 0.1)
    way.server.scripts["/v1"] = Script(b"", before=b"HTTP/1.1 1", framing="chunked", end="cut")
    for url in (None, deaf_reader, "http://nobody.invalid", f"http://127.0.0.1:{closed_port()}"):
        changes = {"base_url": url} if url else {}
        with pytest.raises(Unreachable) as caught:
            await way.probe(connect_timeout_seconds=0.1, **changes)
        assert not caught.value.charged


async def test_a_process_without_descriptors_blames_itself(way):
    """The endpoint is not down: it gets fewer streams, and no breaker opens."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.dup(0)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 8, hard))
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        with pytest.raises(Busy, match="no file descriptor left") as caught:
            await way.probe()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)
    assert not caught.value.charged
    await way.probe()


# Proxies.


async def test_a_proxy_of_the_environment_is_used(server, endpoint, monkeypatch):
    """Except for the hosts that NO_PROXY names, which keep the fast transport."""
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server.scripts["http://nowhere.invalid/v1"] = Script(b"by proxy", framing="length")
    server.scripts["/v1"] = Script(b"direct", framing="length")
    stream = Stream(clock=SystemClock())
    for url, body in (("http://nowhere.invalid/v1", b"by proxy"), (server.url + "/v1", b"direct")):
        async with stream.open(Request(url, b"{}", {}), endpoint, CHAT) as reader:
            assert await reader.read(HANG_SECONDS) == body
    await stream.aclose()


# Every wait ends: a body that always moves and never says anything.


class Moving:
    """A body that brings something each half second, for ever."""

    def __init__(self, clock: FakeClock, brings: bytes, *, first: bytes = b"") -> None:
        self.clock = clock
        self.brings = brings
        self.first = first

    async def read(self, wait_seconds: float | None = None) -> bytes | None:
        if wait_seconds is not None and wait_seconds < 0.5:
            self.clock.move(wait_seconds)
            return b""
        self.clock.move(0.5)
        data, self.first = self.first + self.brings, b""
        return data

    def hurry(self) -> None:
        """It cannot."""

    async def aclose(self) -> None:
        """Nothing is open."""


GZIP = gzip.compress(b"", mtime=0)[:10]  # the same in every process of a test run
NOTHING = b"\x00\x00\x00\xff\xff"  # a block of deflate that holds nothing
MOVING = [(GZIP, NOTHING), (b"", b"\n"), (b"", b":\n"), (b"", b"x")]


@pytest.mark.parametrize(("first", "brings"), MOVING)
async def test_a_body_that_only_moves_ends_at_the_deadline_of_an_error(
    monkeypatch, server, endpoint, first, brings
):
    """The error body of an answer, and that of a probe."""
    clock = FakeClock()
    stream = Stream(clock=clock)
    monkeypatch.setattr(stream_module, "timed", lambda _: Moving(clock, brings, first=first))
    server.scripts["/v1"] = server.scripts["/x"] = Script(b"", 500, framing="length")
    for ask in (
        lambda: stream.probe(endpoint, CHAT),
        lambda: stream.open(Request(server.url + "/x", b"", {}), endpoint, CHAT).__aenter__(),
    ):
        began_at = clock.monotonic()
        with pytest.raises(ServerFailed):
            await asyncio.wait_for(ask(), HANG_SECONDS)
        assert clock.monotonic() - began_at <= 5.5
    await stream.aclose()


@pytest.mark.parametrize(("first", "brings"), MOVING)
async def test_a_body_that_only_moves_ends_when_its_beginning_or_its_rest_is_read(first, brings):
    """What `doctor` reads, and what follows a done frame."""
    clock = FakeClock()
    response = httpx.Response(200, headers={"content-encoding": "gzip"})
    body = Moving(clock, brings, first=first)
    reader = Reader(response, body, clock, where="host:80", redact=str, turns=Turns())
    began_at = clock.monotonic()
    assert len(await asyncio.wait_for(reader.beginning(1000, seconds=10), HANG_SECONDS)) < 100
    assert clock.monotonic() - began_at <= 10.5
    await asyncio.wait_for(reader.drain(), HANG_SECONDS)
    assert clock.monotonic() - began_at <= 12


@pytest.mark.parametrize(("first", "brings"), MOVING)
async def test_one_read_of_a_body_that_only_moves_waits_once(first, brings):
    """Its caller looks at its own deadline between any two."""
    clock = FakeClock()
    response = httpx.Response(200)
    body = Moving(clock, brings, first=first)
    reader = Reader(response, body, clock, where="host:80", redact=str, turns=Turns())
    for _ in range(20):
        before = clock.monotonic()
        await asyncio.wait_for(reader.read(1.0), HANG_SECONDS)
        assert clock.monotonic() - before <= 1.0
