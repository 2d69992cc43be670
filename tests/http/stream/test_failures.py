"""Everything that can go wrong on the way is one error of ours, one sentence, and no secret."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gzip
import re
import socket
import ssl
from pathlib import Path

import pytest

from tests.fakes.answer import Script
from tests.fakes.patience import HANG_SECONDS
from tests.fakes.server import FakeServer, closed_port
from tests.http.stream.conftest import CHAT
from worker.clock import SystemClock
from worker.errors import (
    Broken,
    Busy,
    ErrorCode,
    Malformed,
    Refused,
    ServerFailed,
    SettingsError,
    Stalled,
    Unreachable,
    Verdict,
)
from worker.http import stream as stream_module
from worker.http.stream import Stream, redactor
from worker.records import Certificates, Endpoint, Request

pytestmark = pytest.mark.anyio
CERTIFICATE = Path(__file__).parent.parent.parent / "fakes" / "test-only-localhost.crt"


async def refused(way, url: str, **changes) -> Unreachable:
    """The error of a connection that cannot be made."""
    with pytest.raises(Unreachable) as caught:
        async with way.open(Request(url, b"{}", {}), **changes):
            pass
    error = caught.value
    assert (error.verdict, error.code) == (Verdict.RETRY_HERE, ErrorCode.UNREACHABLE)
    assert not error.charged
    return error


async def test_nobody_there(way):
    """Where, what, and the cure."""
    port = closed_port()
    error = await refused(way, f"http://127.0.0.1:{port}/")
    assert error.message == (
        f"127.0.0.1:{port} refuses connections: start the server there or correct base_url"
    )


async def test_a_name_that_nobody_knows(way):
    """The port is the one that the scheme implies."""
    error = await refused(way, "https://nobody.invalid/")
    assert "the host of nobody.invalid:443 is not known" in error.message


async def test_no_connection_in_time(way, deaf_port):
    """The seconds are those of the setting."""
    url = f"http://127.0.0.1:{deaf_port}/"
    error = await refused(way, url, connect_timeout_seconds=0.1)
    assert "within 0.1 s" in error.message


async def test_tls_that_cannot_be_trusted_or_is_none(way):
    """Two faults, two cures."""
    error = await refused(way, way.server.url.replace("http:", "https:"))
    assert "should base_url begin with http://" in error.message
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, CERTIFICATE.with_suffix(".key"))
    async with FakeServer(tls=context) as strange:
        error = await refused(way, strange.url)
    assert "not trusted (self-signed certificate)" in error.message
    assert "SSL_CERT_FILE" in error.message


@pytest.mark.parametrize("transport", ["fast", "httpx"])
async def test_the_cure_for_a_certificate_cures(endpoint, monkeypatch, transport):
    """SSL_CERT_FILE is what the message recommends."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, CERTIFICATE.with_suffix(".key"))
    stream = Stream(clock=SystemClock(), transport=transport)
    async with FakeServer(tls=context) as strange:
        await stream.probe(dataclasses.replace(endpoint, base_url=strange.url), CHAT)
        await stream.aclose()


async def test_no_headers_in_time(way):
    """Counted from the request, also against a server that drips 1xx responses."""
    quick = {"connect_timeout_seconds": 0.05, "first_frame_timeout_seconds": 0.1}
    with pytest.raises(Stalled, match=r"did not begin to answer within 0\.1 s") as caught:
        async with way.open(way.ask("[[fault=silent]]"), **quick):
            pass
    assert caught.value.code is ErrorCode.FIRST_FRAME_TIMEOUT
    assert caught.value.charged
    await way.server.until(lambda: not way.server.connections)


async def test_without_a_limit_headers_are_waited_for(way):
    """0 means no limit, here as everywhere."""
    patient = {"connect_timeout_seconds": 0, "first_frame_timeout_seconds": 0}
    async with way.open(way.ask("[[delay=0.1]]"), **patient) as reader:
        assert await reader.read(HANG_SECONDS)


@pytest.mark.parametrize("fault", ["disconnect", "reset-early"])
async def test_lost_before_the_headers(way, fault):
    """The request was sent: it may have had its effect."""
    with pytest.raises(Broken, match="closed the connection before it answered") as caught:
        async with way.open(way.ask(f"[[fault={fault}]]")):
            pass
    assert caught.value.code is ErrorCode.CONNECTION_LOST


@pytest.mark.parametrize("fault", ["cut", "cut framing=length", "reset", "bad-chunk"])
async def test_lost_inside_the_body(way, fault):
    """What came before is delivered first, and the error says where it happened."""
    error, got = await way.outcome(way.ask(f"[[fault={fault} after=5]]"))
    assert isinstance(error, Broken)
    assert re.match(
        r"the connection to 127\.0\.0\.1:\d+ was lost inside the response: \w+", str(error)
    )
    assert got.count(b"chat.completion.chunk") == 6


async def test_a_body_without_length_that_is_cut_just_ends(way):
    """Only the done frame can tell."""
    error, got = await way.outcome(way.ask("[[fault=cut framing=close after=5]]"))
    assert error is None
    assert got.count(b"chat.completion.chunk") == 6


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ("500", ServerFailed, ErrorCode.SERVER_ERROR),
        ("503", Busy, ErrorCode.OVERLOADED),
        ("429 retry_after=7", Busy, ErrorCode.RATE_LIMITED),
        ("401", Refused, ErrorCode.UNAUTHORIZED),
        ("404", Refused, ErrorCode.NOT_FOUND),
    ],
)
async def test_statuses_are_judged_by_the_wire(way, fault, error, code):
    """Status, headers and body are handed on; the connection is kept."""
    with pytest.raises(error, match="the fake server answers") as caught:
        async with way.open(way.ask(f"[[fault={fault}]]")):
            pass
    assert caught.value.code is code
    assert caught.value.http_status == int(fault[:3])
    assert caught.value.request_id
    assert caught.value.retry_after_seconds == (7 if "retry" in fault else None)
    with pytest.raises(error):
        async with way.open(way.ask(f"[[fault={fault}]]")):
            pass
    assert way.server.accepted == 1


async def failing(way, request: Request) -> ServerFailed:
    with pytest.raises(ServerFailed) as caught:
        async with way.open(request):
            pass
    return caught.value


async def test_of_an_endless_error_only_the_beginning_is_read(way, monkeypatch):
    """A broken proxy may send a page of any size."""
    monkeypatch.setattr(stream_module, "_ERROR_BODY_SECONDS", 60)
    way.server.scripts["/x"] = Script(
        b"oops " * 10_000_000, 500, {"content-type": "text/plain"}, split=100_000
    )
    error = await failing(way, way.ask(path="/x"))
    assert "oops" in error.message
    await way.server.until(lambda: not way.server.connections)
    assert way.server.served[0].bytes_sent < 40_000_000


@pytest.mark.parametrize("end", ["cut", "reset"])
async def test_of_an_error_that_is_cut_the_rest_is_told(way, end):
    """The status says enough."""
    way.server.scripts["/x"] = Script(b"out of memory", 500, framing="length", end=end)
    error = await failing(way, way.ask(path="/x"))
    assert error.http_status == 500


async def test_an_error_whose_body_never_ends_is_told_all_the_same(way, monkeypatch):
    """After a moment."""
    monkeypatch.setattr(stream_module, "_ERROR_BODY_SECONDS", 0.1)
    drip = Script(b"out of memory", 500, {"content-length": "1000"}, framing="none")
    way.server.scripts["/x"] = dataclasses.replace(drip, end="hang")
    error = await failing(way, way.ask(path="/x"))
    assert "out of memory" in error.message


async def test_a_compressed_error_is_read(way):
    """A proxy may compress its page though it was asked not to; one nobody can read is no page."""
    headers = {"content-encoding": "gzip"}
    way.server.scripts["/x"] = Script(gzip.compress(b"out of memory"), 500, headers)
    assert "out of memory" in (await failing(way, way.ask(path="/x"))).message
    way.server.scripts["/x"] = Script(b"????", 500, {"content-encoding": "br"})
    assert (await failing(way, way.ask(path="/x"))).http_status == 500


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("https://elsewhere.example/api?token=t0ken", "redirects to https://elsewhere.example;"),
        ("http://user:t0ken@other.example:81/", "redirects to http://other.example:81;"),
        ("/login?t0ken", "redirects to another path;"),
        ("http://[t0ken", "redirects to an address that is no URL;"),
        (None, "redirects to another path;"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(way, status, location, said):
    """It names the host and the cure, and no token."""
    headers = {"location": location} if location else {}
    way.server.scripts["/x"] = Script(b"", status, headers, framing="length")
    with pytest.raises(Refused) as caught:
        async with way.open(way.ask(path="/x")):
            pass
    assert said in caught.value.message
    assert "set base_url" in caught.value.message
    assert "t0ken" not in caught.value.message
    assert len(way.server.served) == 1


# Compression that nobody asked for.


@pytest.mark.parametrize("split", [0, 1, 7])
async def test_gzip_is_undone(way, split):
    """Byte for byte, however the chunks are cut."""
    _, plain = await way.outcome(way.ask("hello"))
    _, packed = await way.outcome(way.ask(f"hello [[gzip=yes split={split}]]"))
    assert packed.count(b"chat.completion.chunk") == plain.count(b"chat.completion.chunk")
    assert packed.endswith(b"[DONE]\n\n")


async def test_a_bomb_is_refused_and_comes_in_small_pieces_until_then(way):
    """A few kilobytes would become 64 MiB."""
    way.server.scripts["/x"] = Script(
        gzip.compress(bytes(1 << 26)), headers={"content-encoding": "gzip"}, framing="length"
    )
    size = 0
    with pytest.raises(Malformed, match=r"compresses its answer.*more than 200 times"):  # noqa: PT012
        async with way.open(way.ask(path="/x")) as reader:
            while (data := await reader.read(HANG_SECONDS)) is not None:
                assert len(data) <= 65536
                size += len(data)
    assert 0 < size < 1 << 23


async def test_gzip_that_is_cut_ends_and_gzip_that_is_corrupt_breaks(way):
    """The first is for the done frame to tell."""
    error, got = await way.outcome(way.ask("[[gzip=cut]]"))
    assert error is None
    assert got.count(b"chat.completion.chunk") == 23
    error, _ = await way.outcome(way.ask("[[gzip=corrupt]]"))
    assert isinstance(error, Malformed)
    assert "compression is corrupt" in error.message


async def test_another_compression_is_named(way):
    """To pass its bytes on as text would be worse."""
    way.server.scripts["/x"] = Script(bytes(range(128, 160)), headers={"content-encoding": "br"})
    error, got = await way.outcome(way.ask(path="/x"))
    assert isinstance(error, Malformed)
    assert "compressed with br" in error.message
    assert not got


# Secrets, and requests that cannot be sent.


@pytest.mark.parametrize("key", ["sk-secret\n", "sk-secret\r\nX: 1", " sk-secret", "sk-sécret"])
async def test_a_key_that_http_cannot_carry_is_a_fault_of_the_settings(way, key):
    """Usually a line break from a file; the message does not repeat the key."""
    with pytest.raises(SettingsError, match="'default'") as caught:
        async with way.open(way.ask(), headers={"key": key}):
            pass
    assert "cret" not in repr(caught.value)
    assert caught.value.__suppress_context__
    assert not way.server.served


@pytest.mark.parametrize("url", ["localhost:11434/api", "ftp://host/", "http://", "http://[::1"])
async def test_a_base_url_that_is_none_is_a_fault_of_the_settings(way, url):
    """No retry can cure it."""
    with pytest.raises(SettingsError, match="base_url"):
        async with way.open(Request(url, b"{}", {})):
            pass
    with pytest.raises(SettingsError, match="base_url"):
        await way.probe(base_url=url)


async def test_a_server_that_repeats_the_key_does_not_make_us_store_it(way):
    """In the body and in the headers of an error."""
    secrets = {"api_key": 'sk-"secret"', "headers": {"X-Other": "another-secret"}}
    body = b'{"error":{"message":"bad key sk-\\"secret\\" and another-secret"}}'
    headers = {"x-request-id": 'sk-"secret"'}
    way.server.scripts["/x"] = Script(body, 401, headers)
    with pytest.raises(Refused) as caught:
        async with way.open(way.ask(path="/x"), **secrets):
            pass
    assert "bad key [redacted] and [redacted]" in caught.value.message
    assert "secret" not in str(vars(caught.value))


def test_secrets_are_found_in_every_form():
    """Plain, in JSON, in a URL; but a dummy key of a letter garbles nothing."""
    endpoint = Endpoint(
        name="x",
        dialect="openai-chat",
        base_url="http://user:p%40ssword@host/?key=query%2Bvalue",
        model="m",
        api_key="a key/with\n",
        headers={"x": "value-1"},
    )
    redact = redactor(endpoint)
    for text in (
        "a key/with",
        "a%20key%2Fwith",
        "a key/with\\n",
        "p%40ssword",
        "value-1",
        "query%2Bvalue",
        "query+value",
    ):
        assert text not in redact(f"<{text}>")
    assert redact("nothing of it") == "nothing of it"
    assert redactor(dataclasses.replace(endpoint, api_key="x"))("box") == "box"


async def test_cancelled_while_it_connects_it_leaves_nothing_open(way, deaf_port):
    """Warnings are errors: a socket that is left open fails this test."""
    opening = way.open(Request(f"http://127.0.0.1:{deaf_port}/", b"{}", {}))
    task = asyncio.ensure_future(opening.__aenter__())
    done, _ = await asyncio.wait({task}, timeout=0.05)
    assert not done
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# TLS: each fault has its own cure.

TLS = Path(__file__).parent.parent.parent / "fakes" / "tls"
TRUSTED = Certificates(ca_file=str(TLS / "test-only-ca.pem"))


def tls_server(name: str, *, wants_client: bool = False, newest: bool = True) -> FakeServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / f"test-only-{name}.pem", TLS / f"test-only-{name}.key")
    if wants_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(TLS / "test-only-ca.pem")
    if not newest:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return FakeServer(tls=context)


def answering_alert(listener: socket.socket) -> None:
    """A server as OpenSSL writes them: it tells why, and closes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "test-only-server.pem", TLS / "test-only-server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(TLS / "test-only-ca.pem")
    accepted, _ = listener.accept()
    connection = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
    with connection, contextlib.suppress(OSError):
        with contextlib.suppress(ssl.SSLError):
            connection.do_handshake()
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass


async def test_a_server_that_says_that_it_wants_a_client_certificate_is_believed(way):
    """No attempt is used up: nothing of the prompt can be at fault."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.get_running_loop().run_in_executor(None, answering_alert, listener)
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        error = await refused(way, url, certificates=TRUSTED)
        assert "wants a client certificate that it knows" in error.message
        await way.stream.aclose()
        await serving


async def test_a_ca_file_of_the_endpoint_is_trusted(way):
    """Beside the usual authorities, for this endpoint alone."""
    async with tls_server("server") as server:
        await way.probe(base_url=server.url, certificates=TRUSTED)
        error = await refused(way, server.url)
        assert "set ca_file of the endpoint" in error.message


async def test_a_wrong_name_is_told_apart_from_an_unknown_authority(way):
    """The cure is in base_url."""
    async with tls_server("other") as server:
        error = await refused(way, server.url, certificates=TRUSTED)
    assert "is for another name" in error.message


async def test_an_expired_certificate_is_told(way):
    """And neither the name nor the authority is blamed."""
    async with tls_server("expired") as server:
        error = await refused(way, server.url, certificates=TRUSTED)
    assert "has expired" in error.message


@pytest.mark.parametrize("newest", [True, False])
async def test_a_server_that_wants_a_client_certificate_is_told(way, newest):
    """This one just closes, with TLS 1.3 only after the handshake; the hint is the same."""
    async with tls_server("server", wants_client=True, newest=newest) as server:
        with pytest.raises((Unreachable, Broken), match="client_cert_file"):
            async with way.open(Request(server.url, b"{}", {}), certificates=TRUSTED):
                pass
        shown = dataclasses.replace(
            TRUSTED,
            client_cert_file=str(TLS / "test-only-client.pem"),
            client_key_file=str(TLS / "test-only-client.key"),
        )
        await way.probe(base_url=server.url, certificates=shown)


@pytest.mark.parametrize("transport", ["fast", "httpx"])
async def test_a_stale_variable_is_named(endpoint, monkeypatch, transport):
    """It was set years ago, in some profile."""
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/bundle.pem")
    stream = Stream(clock=SystemClock(), transport=transport)
    async with tls_server("server") as server:
        with pytest.raises(
            Unreachable, match=r"SSL_CERT_FILE = /no/such/bundle\.pem cannot be used"
        ):
            await stream.probe(dataclasses.replace(endpoint, base_url=server.url), CHAT)
    await stream.aclose()


@pytest.mark.parametrize("first", [b"\x15\x03\x03\x00\x02\x02\x46", b"220 mail.test ESMTP\r\n"])
async def test_what_is_no_http_is_no_lost_connection(way, first):
    """It is named: TLS, or whoever listens at that port."""
    way.server.scripts["/x"] = Script(b"", before=first)
    error, _ = await way.outcome(way.ask(path="/x"))
    assert isinstance(error, Malformed)
    assert "is not HTTP/1.1" in error.message


ODD_HEADS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nX-Cause: one\r\n two\r\nContent-Length: 5\r\n\r\nhello",
]


@pytest.mark.parametrize("answer", ODD_HEADS)
async def test_an_odd_head_is_read(way, answer):
    """Over both transports."""
    way.server.scripts["/x"] = Script(b"", before=answer)
    error, got = await way.outcome(way.ask(path="/x"))
    assert (error, got) == (None, b"hello")
