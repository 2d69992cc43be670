"""A socket is read when its reader wants bytes, seldom when tokens trickle, never without bound."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import httpx
import pytest

from tests.fakes.answer import Script
from tests.fakes.patience import HANG_SECONDS
from tests.fakes.plan import expected_text
from worker.http.transport import Exchange, FastTransport, connection
from worker.http.transport.coalesce import Wheel

pytestmark = pytest.mark.anyio
BLOCK = 64 * 1024
NEVER_SECONDS = 100 * HANG_SECONDS  # an interval that no test can wait for


async def blocks(exchange: Exchange) -> list[bytes]:
    return [block async for block in exchange]


class Parks:
    """Counts how often the connections of a transport park."""

    def __init__(self, transport: FastTransport) -> None:
        assert transport._wheel is not None
        self.count = 0
        self._park = transport._wheel.park
        transport._wheel.park = self.park

    def park(self, sleeper, seconds: float) -> bool:
        parked = self._park(sleeper, seconds)
        self.count += parked
        return parked


@pytest.mark.parametrize("interval", [0, 0.05])
async def test_a_reader_that_does_not_read_stops_the_server(server, interval):
    """Not the memory of this process but the kernel holds what nobody takes."""
    server.scripts["/x"] = Script(bytes(50_000_000), split=100_000)
    transport = FastTransport(read_interval_seconds=interval)
    async with (
        httpx.AsyncClient(transport=transport) as client,
        client.stream("GET", server.url + "/x") as response,
    ):
        exchange = response.extensions["exchange"]
        await server.until(lambda: server.served[0].blocked)
        assert exchange.queued_bytes <= 2 * BLOCK
        assert server.served[0].bytes_sent < 40_000_000
        size = 0
        while (block := await exchange.read()) is not None:
            assert len(block) <= BLOCK
            assert exchange.queued_bytes <= 2 * BLOCK
            size += len(block)
    assert size == 50_000_000


async def test_tokens_are_gathered(server, chat, monkeypatch):
    """Many tokens in one read, and the text is the same."""
    monkeypatch.setattr(connection, "DELAY_SHARE", 1e9)
    prompt = "[[tokens=200 rate=400]]"
    transport = FastTransport(read_interval_seconds=NEVER_SECONDS)
    async with (
        httpx.AsyncClient(transport=transport, timeout=None) as client,
        client.stream("POST", server.url + "/v1/chat/completions", json=chat(prompt)) as response,
    ):
        exchange = response.extensions["exchange"]
        got = [await exchange.read()]
        await server.until(lambda: server.served[0].ended is not None)
        while transport._wheel._parked:  # the interval is over
            transport._wheel._turn()
        got += await blocks(exchange)
    assert b"".join(got).count(b"chat.completion.chunk") == 203
    assert len(got) <= 3
    assert server.served[0].chars_sent == len(expected_text(prompt))


async def test_the_first_bytes_are_not_held_back(server, chat, monkeypatch):
    """Nor the headers before them."""
    monkeypatch.setattr(connection, "DELAY_SHARE", 1.0)
    transport = FastTransport(read_interval_seconds=NEVER_SECONDS)
    async with (
        httpx.AsyncClient(transport=transport) as client,
        client.stream(
            "POST", server.url + "/v1/chat/completions", json=chat("[[fault=stall after=0]]")
        ) as response,
    ):
        assert await asyncio.wait_for(response.extensions["exchange"].read(), HANG_SECONDS)


async def test_a_short_answer_is_not_held_back(server, chat):
    """Gathering may take a sixteenth of the time of the answer, however long the interval is."""
    transport = FastTransport(read_interval_seconds=NEVER_SECONDS)
    async with httpx.AsyncClient(transport=transport) as client:
        url = server.url + "/v1/chat/completions"
        await asyncio.wait_for(client.post(url, json=chat("[[tokens=20 rate=100]]")), HANG_SECONDS)


async def test_a_busy_stream_is_not_held_back(server, monkeypatch):
    """It fills every read by itself."""
    monkeypatch.setattr(connection, "DELAY_SHARE", 1e6)
    server.scripts["/x"] = Script(bytes(20_000_000), split=100)
    transport = FastTransport(read_interval_seconds=0.5)
    parks = Parks(transport)
    async with httpx.AsyncClient(transport=transport) as client:
        response = await client.get(server.url + "/x", timeout=HANG_SECONDS)
    assert len(response.content) == 20_000_000
    assert parks.count < 20_000_000 // BLOCK // 2


@pytest.mark.parametrize(
    ("fault", "error"), [("cut", httpx.RemoteProtocolError), ("reset", httpx.ReadError)]
)
async def test_the_end_is_noticed_at_the_end_of_the_interval(
    server, chat, monkeypatch, fault, error
):
    """Also while the connection is parked."""
    monkeypatch.setattr(connection, "DELAY_SHARE", 1.0)
    transport = FastTransport(read_interval_seconds=0.1)
    body = chat(f"[[fault={fault} after=10 rate=50]]")
    async with (
        httpx.AsyncClient(transport=transport) as client,
        client.stream("POST", server.url + "/v1/chat/completions", json=body) as response,
    ):
        exchange = response.extensions["exchange"]
        assert await exchange.read()
        await server.until(lambda: server.served[0].ended is not None)
        with pytest.raises(error):
            await blocks(exchange)


async def test_in_a_hurry_nothing_is_held_back(server, chat, monkeypatch):
    """As when the done frame came and only the end of the body is missing."""
    monkeypatch.setattr(connection, "DELAY_SHARE", 1e6)
    transport = FastTransport(read_interval_seconds=NEVER_SECONDS)
    parks = Parks(transport)
    body = chat("[[tokens=40 rate=100]]")
    async with (
        httpx.AsyncClient(transport=transport) as client,
        client.stream("POST", server.url + "/v1/chat/completions", json=body) as response,
    ):
        exchange = response.extensions["exchange"]
        await exchange.read()
        await exchange.read(0.05)
        assert parks.count == 1
        exchange.hurry()
        got = await asyncio.wait_for(blocks(exchange), HANG_SECONDS)
        assert got[-1].endswith(b"[DONE]\n\n")
        assert parks.count == 1
        assert len(transport._idle) == 1


async def test_the_interval_is_not_taken_for_silence(server, chat, monkeypatch):
    """A read time-out shorter than the interval does not end a stream that is alive."""
    monkeypatch.setattr(connection, "DELAY_SHARE", 1.0)
    transport = FastTransport(read_interval_seconds=1.5)
    body = chat("[[tokens=60 rate=60]]")
    async with httpx.AsyncClient(transport=transport, timeout=0.75) as client:
        response = await client.post(server.url + "/v1/chat/completions", json=body)
    assert response.text.endswith("[DONE]\n\n")


async def test_a_parked_connection_serves_the_next_request(server, chat, monkeypatch):
    """When an answer ends while its connection is paused, the next one is not deaf."""
    monkeypatch.setattr(connection, "DELAY_SHARE", 1e6)
    transport = FastTransport(read_interval_seconds=0.1)
    async with httpx.AsyncClient(transport=transport) as client:
        for number in range(5):
            body = chat(f"{number} [[tokens=5 rate=100]]")
            response = await client.post(server.url + "/v1/chat/completions", json=body)
            assert response.text.endswith("[DONE]\n\n")
    assert server.accepted == 1


class Socket:
    """A transport of asyncio that only remembers whether it is read."""

    def __init__(self) -> None:
        self.reads = True

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


async def test_a_stream_that_was_busy_once_is_gathered_again():
    """What piled up while the database was away comes in whole buffers; tokens come after it."""
    wheel, buffer = Wheel(0.25, 5.0), memoryview(bytearray(BLOCK))
    idle = connection.Connection(buffer, wheel, on_idle=lambda _: None, on_lost=lambda _: None)
    socket, clock = Socket(), SimpleNamespace(at=0.0)
    idle.connection_made(socket)
    idle._loop = SimpleNamespace(time=lambda: clock.at)
    exchange = idle.begin(httpx.Request("GET", "http://x/"), None)

    async def arrives(data: bytes) -> None:
        buffer[: len(data)] = data
        idle.buffer_updated(len(data))
        await exchange.read()

    await arrives(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
    clock.at = 60.0
    chunk = b"3f9\r\n" + bytes(0x3F9) + b"\r\n"
    await arrives(chunk * (BLOCK // len(chunk)))
    assert socket.reads, "it fills every read by itself"
    for _ in range(40):  # fifty kilobytes a second are no flood
        clock.at += 0.04
        await arrives(b"7d0\r\n" + bytes(2000) + b"\r\n")
        if not socket.reads:
            break
    wheel.close()
    assert not socket.reads
    assert clock.at < 61
