"""One request and its answer: the same bytes and the same exceptions as httpx's own transport."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.fakes.answer import Script
from tests.fakes.patience import HANG_SECONDS
from tests.fakes.plan import expected_text
from worker.http.transport import Exchange

pytestmark = pytest.mark.anyio
BODY = bytes(range(256)) * 300


async def take(client: httpx.AsyncClient, url: str, **request) -> bytes:
    """The body of a response; what came before an error is put into its notes."""
    got = b""
    async with client.stream("POST", url, **request) as response:
        try:
            async for block in response.aiter_raw():
                got += block
        except httpx.HTTPError as error:
            error.__notes__ = [repr(got)]
            raise
    return got


# Both transports, all framings.


@pytest.mark.parametrize("split", [0, 1, 1000])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_every_framing_gives_the_same_bytes(client, server, framing, split):
    """However the server cuts its chunks."""
    body = BODY[:2000] if split == 1 else BODY
    server.scripts["/x"] = Script(body, framing=framing, split=split)
    assert await take(client, server.url + "/x") == body


async def test_informational_responses_and_trailers_are_no_part_of_the_body(client, server):
    """100 and 103 before, trailers after."""
    server.scripts["/x"] = Script(
        b"body",
        before=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n",
        trailers=b"X-Sum: 1\r\n",
    )
    assert await take(client, server.url + "/x") == b"body"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_responses_without_a_body_leave_the_connection_usable(client, server, method, status):
    """Also when their headers announce a body."""
    framing = "length" if method == "HEAD" else "close"
    server.scripts["/x"] = Script(b"body" if method == "HEAD" else b"", status, framing=framing)
    response = await client.request(method, server.url + "/x")
    assert (response.status_code, response.content) == (status, b"")
    assert (await client.get(server.url + "/")).status_code == 200


async def test_the_response_tells_status_reason_and_headers(client, server):
    """Repeated headers too, in order."""
    server.scripts["/x"] = Script(b"", 200, {"X-One": "1", "x-Two": "2"}, framing="length")
    response = await client.get(server.url + "/x")
    assert (response.status_code, response.reason_phrase) == (200, "OK")
    assert response.http_version == "HTTP/1.1"
    assert [pair for pair in response.headers.raw if pair[0].lower().startswith(b"x-")] == [
        (b"X-One", b"1"),
        (b"x-Two", b"2"),
    ]


# Both transports, all failures (the classes are httpx's own, as it was observed).

FAILURES = {
    "cut": (httpx.RemoteProtocolError, True),
    "cut framing=length": (httpx.RemoteProtocolError, True),
    "bad-chunk": (httpx.RemoteProtocolError, True),
    "reset": (httpx.ReadError, True),
    "stall": (httpx.ReadTimeout, True),
    "disconnect": (httpx.RemoteProtocolError, False),
    "reset-early": (httpx.ReadError, False),
    "silent": (httpx.ReadTimeout, False),
}


@pytest.mark.parametrize("fault", FAILURES)
async def test_every_failure_has_the_class_of_httpx_and_keeps_what_came_before(
    client, server, chat, fault
):
    """Whoever catches httpx's exceptions catches ours."""
    expected, has_body = FAILURES[fault]
    prompt = f"[[fault={fault} after=3]]"
    with pytest.raises(httpx.HTTPError) as caught:
        await take(
            client,
            server.url + "/v1/chat/completions",
            json=chat(prompt),
            # Only what is silent may end by time.
            timeout=0.3 if expected is httpx.ReadTimeout else HANG_SECONDS,
        )
    assert type(caught.value) is expected
    notes = str(getattr(caught.value, "__notes__", ""))
    assert notes.count("chat.completion.chunk") == (4 if has_body else 0)


async def test_a_close_delimited_body_that_is_cut_ends_cleanly(client, server, chat):
    """Nothing can be raised: only the done frame can tell."""
    body = chat("[[fault=cut framing=close after=3]]")
    got = await take(client, server.url + "/v1/chat/completions", json=body)
    assert got.count(b"chat.completion.chunk") == 4


async def test_illegal_headers_never_leave(client, server):
    """LocalProtocolError, and the server hears nothing of it."""
    with pytest.raises(httpx.LocalProtocolError):
        await client.get(server.url + "/", headers={"x-key": "a\nb"})
    assert not server.served


# Uploads.


async def test_a_body_without_a_length_goes_out_in_chunks(client, server):
    """As httpx frames an asynchronous body."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b""
        yield BODY

    server.scripts["/x"] = Script(b"ok", framing="length")
    assert await take(client, server.url + "/x", content=pieces()) == b"ok"
    assert server.served[0].headers["transfer-encoding"] == "chunked"
    assert server.served[0].body_bytes == 3 + len(BODY)


@pytest.mark.parametrize(("announced", "said"), [(5, "Too much"), (7, "Too little")])
async def test_a_body_of_another_length_than_announced_is_our_fault(fast, server, announced, said):
    """The server would wait for the rest, or take it for the next request.

    (httpx's own transport lets an exception of h11 through here.)
    """

    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"
        yield b"def"

    with pytest.raises(httpx.LocalProtocolError, match=said):
        await take(
            fast,
            server.url + "/x",
            content=pieces(),
            headers={"content-length": str(announced)},
        )


async def test_a_body_that_fails_is_not_sent_as_if_it_were_whole(client, server):
    """The error is the caller's own, and the connection goes with it."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await take(client, server.url + "/x", content=pieces())
    await server.until(lambda: not server.connections)


async def test_a_large_prompt_arrives_whole(client, server):
    """Far more than a socket takes at once."""
    server.scripts["/x"] = Script(b"ok", framing="length")
    assert await take(client, server.url + "/x", content=bytes(8_000_000)) == b"ok"
    assert server.served[0].body_bytes == 8_000_000


async def test_a_server_that_takes_nothing_is_a_write_timeout(client, deaf_reader):
    """It accepted the connection and reads no more."""
    with pytest.raises(httpx.WriteTimeout):
        await take(client, deaf_reader, content=bytes(50_000_000), timeout=0.2)


async def test_an_answer_before_the_question_is_over_stops_the_question(fast, early_answer):
    """413 or 401, while megabytes still wait to be sent; httpx's transport cannot do this."""
    async with fast.stream("POST", early_answer, content=bytes(50_000_000)) as response:
        assert response.status_code == 413
        assert await response.aread() == b"no"


# The timed read.


async def test_a_wait_that_runs_out_loses_nothing(fast, server, chat):
    """Looked at every millisecond, the answer is still whole."""
    prompt = "[[tokens=30 rate=500]]"
    async with fast.stream(
        "POST", server.url + "/v1/chat/completions", json=chat(prompt)
    ) as response:
        exchange = response.extensions["exchange"]
        assert isinstance(exchange, Exchange)
        got, empty = b"", 0
        while (block := await exchange.read(0.001)) is not None:
            got += block
            empty += not block
    assert empty
    assert got == await take(fast, server.url + "/v1/chat/completions", json=chat(prompt))
    assert server.served[0].chars_sent == len(expected_text(prompt))


async def test_a_cancelled_read_loses_nothing(fast, server, chat):
    """The data stays for the next one."""
    url, body = server.url + "/v1/chat/completions", chat("[[tokens=4 rate=20]]")
    async with fast.stream("POST", url, json=body) as response:
        exchange = response.extensions["exchange"]
        got = await exchange.read()
        task = asyncio.ensure_future(exchange.read())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while (block := await exchange.read()) is not None:
            got += block
        assert await exchange.read() is None
    assert got == await take(fast, url, json=body)


async def test_an_error_is_told_after_the_last_block_and_every_time(fast, server, chat):
    """Nobody can mistake it for an end by asking again."""
    body = chat("[[fault=cut]]")
    async with fast.stream("POST", server.url + "/v1/chat/completions", json=body) as response:
        exchange = response.extensions["exchange"]
        with pytest.raises(httpx.RemoteProtocolError):
            await exhaust(exchange)
        with pytest.raises(httpx.RemoteProtocolError):
            await exchange.read()


@pytest.mark.parametrize("fault", ["stall", "none"])
async def test_what_is_closed_cannot_be_read(fast, server, chat, fault):
    """Neither is it a clean end, also when everything had arrived."""
    body = chat(f"[[fault={fault}]]")
    async with fast.stream("POST", server.url + "/v1/chat/completions", json=body) as response:
        exchange = response.extensions["exchange"]
        await server.until(lambda: server.served[0].chars_sent > 0)
    with pytest.raises(httpx.ReadError, match="closed"):
        await exchange.read()


async def test_leaving_the_response_closes_the_socket_at_once(client, server, chat):
    """The server stops generating for nobody."""
    body = chat("[[fault=stall]]")
    async with client.stream("POST", server.url + "/v1/chat/completions", json=body):
        assert server.connections
    await server.until(lambda: not server.connections)
    assert server.served[0].ended == "left"


@pytest.mark.parametrize("fault", ["silent", "stall"])
async def test_cancelling_closes_the_socket_at_once(client, server, chat, fault):
    """While waiting for the headers, and while waiting for the body."""
    body = chat(f"[[fault={fault}]]")
    task = asyncio.ensure_future(take(client, server.url + "/v1/chat/completions", json=body))
    await server.until(lambda: server.served and (fault == "silent" or server.served[0].chars_sent))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.until(lambda: not server.connections)


async def exhaust(exchange: Exchange) -> None:
    assert await exchange.read()
    while await exchange.read():
        pass


@pytest.fixture
def deaf_reader() -> Iterator[str]:
    """A server whose kernel accepts connections and that never reads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


@pytest.fixture
async def early_answer() -> AsyncIterator[str]:
    """A server that answers as soon as it sees a request, and then reads no more."""

    class Hasty(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            opened.append(transport)

        def data_received(self, data: bytes) -> None:
            opened[-1].write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
            opened[-1].pause_reading()

    opened: list = []
    listener = await asyncio.get_running_loop().create_server(Hasty, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
    listener.close()
    for transport in opened:
        transport.abort()


async def test_framing_without_a_byte_of_body_does_not_begin_the_wait_anew():
    """A server that sends extensions of a chunk for ever says nothing for ever."""
    exchange = Exchange(NoCarrier(), "GET", None)
    exchange.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;")
    waiting = asyncio.ensure_future(exchange.read(0.001))
    while not waiting.done():
        await asyncio.sleep(0)
        exchange.feed(b"x")  # raises after 64 KiB of framing
    assert waiting.result() == b""


class NoCarrier:
    """A connection that does nothing."""

    def write(self, data: bytes) -> None: ...
    async def drain(self, timeout_seconds: float | None) -> None: ...
    def consumed(self) -> None: ...
    def hurry(self) -> None: ...
    def finished(self, *, reusable: bool) -> None: ...
