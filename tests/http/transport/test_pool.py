"""Connections are used again, never when they should not be, and none is left behind."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.fakes.answer import Script
from tests.fakes.patience import HANG_SECONDS
from tests.fakes.server import FakeServer, closed_port
from worker.http.transport import FastTransport

pytestmark = pytest.mark.anyio


async def test_a_finished_exchange_leaves_its_connection_to_the_next(client, server):
    """On both transports."""
    for _ in range(5):
        assert (await client.get(server.url + "/")).status_code == 200
    assert server.accepted == 1


async def test_requests_at_the_same_time_have_connections_of_their_own(client, server, chat):
    """There is no limit: 150 streams that say nothing hinder nobody."""
    url = server.url + "/v1/chat/completions"
    silent = chat("[[fault=silent]]")
    if isinstance(client._transport, httpx.AsyncHTTPTransport):
        return  # its limit of 100 is why stream.py changes it; see test_stream.py
    tasks = [asyncio.ensure_future(client.post(url, json=silent)) for _ in range(150)]
    await server.until(lambda: len(server.served) == 150)
    assert (await client.get(server.url + "/")).status_code == 200
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await server.until(lambda: len(server.connections) == 1)


@pytest.mark.parametrize(
    "script",
    [
        Script(b"hi", headers={"connection": "close"}, framing="length"),
        Script(b"hi", framing="close"),
    ],
)
async def test_a_server_that_closes_is_taken_at_its_word(client, server, script):
    """The next request does not try the same connection."""
    server.scripts["/x"] = script
    for _ in range(2):
        assert (await client.get(server.url + "/x")).content == b"hi"
    assert server.accepted == 2


async def test_a_response_that_was_not_read_to_its_end_takes_its_connection_along(fast, server):
    """What is left of it must not be taken for the next response."""
    server.scripts["/x"] = Script(bytes(1_000_000))
    async with fast.stream("GET", server.url + "/x"):
        pass
    assert (await fast.get(server.url + "/")).json() == {"status": "ok"}
    assert server.accepted == 2


async def test_surplus_bytes_are_not_taken_for_the_next_response(fast, server):
    """A server, or somebody on the way, that sends two responses to one request."""
    server.scripts["/x"] = Script(
        b"", 204, framing="none", before=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    )
    assert (await fast.get(server.url + "/x")).content == b"hi"
    assert (await fast.get(server.url + "/")).json() == {"status": "ok"}
    assert server.accepted == 2


async def test_a_server_that_speaks_unasked_is_hung_up_on(fast, server):
    """On a connection that rests, every byte is out of place."""
    await fast.get(server.url + "/")
    next(iter(server.connections))._transport.write(b"HTTP/1.1 408 Timeout\r\n\r\n")
    await asyncio.wait_for(server.until(lambda: not server.connections), HANG_SECONDS)
    assert (await fast.get(server.url + "/")).json() == {"status": "ok"}


async def test_a_resting_connection_that_the_server_closes_is_forgotten(fast, server):
    """It is noticed at once, before the next request."""
    await fast.get(server.url + "/")
    server.close_idle()
    await server.until(lambda: not server.connections)
    assert (await fast.get(server.url + "/")).status_code == 200
    assert not fast._transport._idle or server.accepted == 2


@pytest.mark.parametrize("fault", ["disconnect", "reset-early"])
async def test_a_stale_connection_is_retried_once_on_a_new_one(fast, server, chat, fault):
    """The server closed it at the moment in which the request left."""
    url = server.url + "/v1/chat/completions"
    await fast.get(server.url + "/")
    response = await fast.post(url, json=chat(f"[[fault={fault} times=1 tokens=3]]"))
    assert response.status_code == 200
    assert response.text.endswith("[DONE]\n\n")
    assert (server.accepted, len(server.served)) == (2, 3)


@pytest.mark.parametrize(
    ("fault", "error"),
    [("disconnect", httpx.RemoteProtocolError), ("reset-early", httpx.ReadError)],
)
async def test_a_new_connection_is_not_retried(fast, server, chat, fault, error):
    """There the failure is the server's answer."""
    with pytest.raises(error):
        await fast.post(server.url + "/v1/chat/completions", json=chat(f"[[fault={fault}]]"))
    assert len(server.served) == 1


async def test_what_was_answered_in_part_is_not_retried(fast, server):
    """One byte of a response is enough: the request may have had its effect."""
    await fast.get(server.url + "/")
    server.scripts["/x"] = Script(b"", 200, framing="chunked", end="cut")
    server.scripts["/half"] = Script(b"", before=b"HTTP/1.1 1", framing="chunked", end="cut")
    for path in ("/x", "/half"):
        with pytest.raises(httpx.RemoteProtocolError):
            await fast.get(server.url + path)
    assert len(server.served) == 3


async def test_a_body_that_cannot_be_sent_twice_is_not_retried(fast, server, chat):
    """An asynchronous iterator is used up."""

    async def pieces():
        yield b'{"messages":[{"content":"[[fault=disconnect times=1]]"}]}'

    await fast.get(server.url + "/")
    with pytest.raises(httpx.RemoteProtocolError):
        await fast.post(server.url + "/v1/chat/completions", content=pieces())
    assert len(server.served) == 2


async def test_a_connection_that_rests_too_long_is_closed(server):
    """By a timer, whether or not another request comes."""
    transport = FastTransport(keepalive_expiry_seconds=0.05)
    async with httpx.AsyncClient(transport=transport) as client:
        await asyncio.gather(*(client.get(server.url + "/") for _ in range(3)))
        await server.until(lambda: server.accepted == 3 and not server.connections)
        assert not transport._idle
        await client.get(server.url + "/")
    assert server.accepted == 4


async def test_the_connection_used_last_is_used_first(server):
    """So that those which are not needed any more can expire."""
    transport = FastTransport()
    async with httpx.AsyncClient(transport=transport) as client:
        await asyncio.gather(*(client.get(server.url + "/") for _ in range(3)))
        last = server.served[-1].connection
        for _ in range(3):
            await client.get(server.url + "/")
    assert len({one.connection for one in server.served[3:]}) == 1
    assert last in {1, 2, 3}


async def test_each_origin_has_connections_of_its_own(fast, server):
    """By scheme, host and port."""
    async with FakeServer() as other:
        for url in (server.url, other.url, server.url.replace("127.0.0.1", "localhost")):
            assert (await fast.get(url + "/")).status_code == 200
        assert (server.accepted, other.accepted) == (2, 1)


async def test_nobody_there_is_a_connect_error(client):
    """With the reason of the system behind it."""
    with pytest.raises(httpx.ConnectError):
        await client.get(f"http://127.0.0.1:{closed_port()}/")


@pytest.mark.parametrize("host", ["nobody.invalid", "a" * 70 + ".invalid"])
async def test_an_unknown_name_is_a_connect_error(fast, host):
    """Also a name that no resolver would take."""
    with pytest.raises(httpx.ConnectError):
        await fast.get(f"http://{host}/")


async def test_no_connection_in_time_is_a_connect_timeout(client, deaf_port):
    """The time-out for connecting, not that for reading."""
    with pytest.raises(httpx.ConnectTimeout):
        await client.get(f"http://127.0.0.1:{deaf_port}/", timeout=httpx.Timeout(5, connect=0.1))


async def test_a_server_that_hangs_up_on_accepting_is_no_hang(fast):
    """It closes before the request was sent."""

    class Rude(asyncio.Protocol):
        def connection_made(self, transport):
            transport.abort()

    listener = await asyncio.get_running_loop().create_server(Rude, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await fast.get(f"http://127.0.0.1:{port}/")


async def test_other_schemes_are_refused(client):
    """With the class that httpx has for it."""
    with pytest.raises(httpx.UnsupportedProtocol):
        await client.get("ftp://127.0.0.1/")


async def test_closing_the_transport_closes_everything(server, chat):
    """What rests and what is under way; who reads is told."""
    transport = FastTransport(read_interval_seconds=0.25)
    async with httpx.AsyncClient(transport=transport) as client:
        await client.get(server.url + "/")
        request = client.build_request(
            "POST", server.url + "/v1/chat/completions", json=chat("[[fault=stall]]")
        )
        response = await client.send(request, stream=True)
        reading = asyncio.ensure_future(response.aread())
        await client.aclose()
        with pytest.raises(httpx.ReadError):
            await reading
    await server.until(lambda: not server.connections)
    await FastTransport().aclose()


async def test_pool_is_linear_in_the_number_of_streams(server, chat):
    """300 streams open at once; each is answered on its own connection."""
    body = chat("[[tokens=1]]")
    transport = FastTransport()
    async with httpx.AsyncClient(transport=transport, timeout=30) as client:
        responses = await asyncio.gather(
            *(client.post(server.url + "/v1/chat/completions", json=body) for _ in range(300))
        )
        assert {response.status_code for response in responses} == {200}
        assert sum(map(len, transport._idle.values())) == server.accepted
