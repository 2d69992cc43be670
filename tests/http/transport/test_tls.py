"""Over TLS everything holds that holds without, and nobody is trusted who should not be."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import httpx
import pytest

from tests.fakes.answer import Script
from tests.fakes.patience import HANG_SECONDS
from tests.fakes.server import FakeServer
from worker.http.transport import FastTransport, connection
from worker.http.transport.tls import Tls

pytestmark = pytest.mark.anyio
CERTIFICATE = Path(__file__).parent.parent.parent / "fakes" / "test-only-localhost.crt"


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATE))


@pytest.fixture
async def server():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, CERTIFICATE.with_suffix(".key"))
    async with FakeServer(tls=context) as running:
        yield running


@pytest.fixture(params=["fast", "httpx"])
async def client(request):
    transport = (
        FastTransport(verify=trusting())
        if request.param == "fast"
        else httpx.AsyncHTTPTransport(verify=trusting())
    )
    async with httpx.AsyncClient(transport=transport, timeout=HANG_SECONDS) as client:
        yield client


async def test_requests_and_answers_pass(client, server, chat):
    """Several over one connection, by address and by name."""
    for _ in range(3):
        response = await client.post(server.url + "/v1/chat/completions", json=chat("hello"))
        assert response.text.endswith("[DONE]\n\n")
    assert server.accepted == 1
    url = server.url.replace("127.0.0.1", "localhost")
    assert (await client.get(url + "/")).status_code == 200


async def test_http_1_1_is_what_is_negotiated(server):
    """A server that also speaks HTTP/2 must not choose it."""
    context = trusting()
    async with httpx.AsyncClient(transport=FastTransport(verify=context)) as client:
        await client.get(server.url + "/")
        connected = next(iter(client._transport._open))
        assert connected._tls._object.selected_alpn_protocol() in {None, "http/1.1"}
        assert connected._tls._object.getpeercert()["subject"]


async def test_much_data_passes_both_ways(client, server):
    """Many records, and more than the buffers hold."""
    server.scripts["/x"] = Script(bytes(range(256)) * 20_000, split=5000)
    response = await client.post(server.url + "/x", content=bytes(5_000_000))
    assert response.content == bytes(range(256)) * 20_000
    assert server.served[0].body_bytes == 5_000_000


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("cut", httpx.RemoteProtocolError),
        ("disconnect", httpx.RemoteProtocolError),
        ("reset", httpx.ReadError),
        ("stall", httpx.ReadTimeout),
        ("silent", httpx.ReadTimeout),
    ],
)
async def test_failures_have_the_same_classes(client, server, chat, fault, error):
    """As without TLS."""
    with pytest.raises(error):
        await client.post(
            server.url + "/v1/chat/completions",
            json=chat(f"[[fault={fault}]]"),
            # Only what is silent may end by time.
            timeout=0.3 if error is httpx.ReadTimeout else HANG_SECONDS,
        )


@pytest.mark.parametrize("kind", ["fast", "httpx"])
async def test_a_certificate_that_nobody_vouches_for_is_refused(server, kind):
    """And the request is not sent."""
    transport = FastTransport() if kind == "fast" else httpx.AsyncHTTPTransport()
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get(server.url + "/")
    assert not server.served


async def test_whoever_asks_not_to_verify_is_obeyed(server):
    """For a model server in the house with a certificate of its own."""
    async with httpx.AsyncClient(transport=FastTransport(verify=False)) as client:
        assert (await client.get(server.url + "/")).status_code == 200


async def test_a_certificate_for_another_name_is_refused(client, server):
    """The name that is asked for is the one that is checked."""
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        await client.get(server.url + "/", extensions={"sni_hostname": "other.example"})


async def test_a_server_without_tls_is_a_connect_error(client):
    """Somebody wrote https:// where http:// belongs."""
    async with FakeServer() as plain:
        with pytest.raises(httpx.ConnectError):
            await client.get(plain.url.replace("http:", "https:") + "/")


async def test_a_handshake_without_answer_is_a_connect_timeout(client):
    """The time-out for connecting covers it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(httpx.ConnectTimeout):
            await client.get(url, timeout=httpx.Timeout(5, connect=0.1))


async def test_a_handshake_that_is_cut_is_a_connect_error(client):
    """The server closes as soon as it is greeted."""

    class Rude(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.close()

    listener = await asyncio.get_running_loop().create_server(Rude, "127.0.0.1", 0)
    async with listener:
        url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def test_cancelling_the_handshake_closes_the_socket():
    """Warnings are errors: a socket that is left open fails this test."""
    accepted = asyncio.Event()
    lost = asyncio.Event()

    class Silent(asyncio.Protocol):
        def connection_made(self, transport):
            accepted.set()

        def connection_lost(self, exc):
            lost.set()

    listener = await asyncio.get_running_loop().create_server(Silent, "127.0.0.1", 0)
    async with listener, httpx.AsyncClient(transport=FastTransport()) as client:
        url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
        task = asyncio.ensure_future(client.get(url))
        await accepted.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await lost.wait()


async def test_tokens_are_gathered_over_tls_too(server, chat, monkeypatch):
    """The socket rests, not only its reader: that is what TLS of our own is for."""
    monkeypatch.setattr(connection, "DELAY_SHARE", 1.0)
    transport = FastTransport(verify=trusting(), read_interval_seconds=0.1)
    reads = 0
    original = connection.Connection.buffer_updated

    def counting(self, nbytes):
        nonlocal reads
        reads += 1
        original(self, nbytes)

    monkeypatch.setattr(connection.Connection, "buffer_updated", counting)
    async with httpx.AsyncClient(transport=transport) as client:
        body = chat("[[tokens=200 rate=400]]")
        response = await client.post(server.url + "/v1/chat/completions", json=body)
    assert response.text.count("chat.completion.chunk") == 203
    assert reads < 30


async def test_a_reader_that_does_not_read_stops_the_server(server):
    """Backpressure reaches through TLS."""
    server.scripts["/x"] = Script(bytes(50_000_000), split=100_000)
    async with (
        httpx.AsyncClient(transport=FastTransport(verify=trusting())) as client,
        client.stream("GET", server.url + "/x") as response,
    ):
        exchange = response.extensions["exchange"]
        await server.until(lambda: server.served[0].blocked)
        assert exchange.queued_bytes <= 2 * 64 * 1024
        size = 0
        while (block := await exchange.read()) is not None:
            size += len(block)
            assert len(block) <= 64 * 1024
    assert size == 50_000_000


def test_what_finds_no_room_comes_with_the_next_call():
    """Nothing is lost, and the end is told after it."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(CERTIFICATE, CERTIFICATE.with_suffix(".key"))
    towards, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.wrap_bio(towards, back, server_side=True)
    client = Tls(trusting(), "localhost")
    shaken = False
    while not shaken:
        shaken = client.shake()
        towards.write(client.outgoing())
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
        client.receive(back.read())
    sent = [b"first ", b"second ", b"third"]
    for record in sent:
        server.write(record)
    with contextlib.suppress(ssl.SSLWantReadError):
        server.unwrap()
    whole = back.read()
    client.receive(whole[:-10])
    room = memoryview(bytearray(8))
    found = b""
    while size := client.plain(room):
        assert size <= len(room)
        found += room[:size]
    assert found == b"".join(sent)
    assert not client.closed
    client.receive(whole[-10:])
    assert client.plain(room) == 0
    assert client.closed
