"""FastTransport: an idle or a new connection for each request.

Connections that rest are kept per origin, the last one used first, in a dict
that serves as an ordered set, so nothing here is searched however many streams
there are.  The number of connections is not limited: the worker's concurrency
is the limit.

A server may close a resting connection at the moment in which a request leaves.
If not one byte of a response came, the request is sent once more, over a new
connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import TypeAlias

import httpx

from worker.http.certificates import CertificatesUnusable
from worker.http.transport.coalesce import Wheel
from worker.http.transport.connection import Connection
from worker.http.transport.dial import dial
from worker.http.transport.exchange import BLOCK_BYTES, Exchange
from worker.http.transport.tls import client_context
from worker.records import NO_CERTIFICATES, Certificates

# scheme, host, port, name for TLS, files for TLS
Origin: TypeAlias = tuple[str, str, int, str, Certificates]
Timeouts: TypeAlias = Mapping[str, float | None]

_PORTS = {"http": 80, "https": 443}


class FastTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over asyncio and httptools, for one event loop.

    Args:
        verify: what httpx takes: True, False or a context of one's own.
        read_interval_seconds: how long tokens may gather in the kernel; 0 = not at all.
        read_interval_most_seconds: the same, with thousands of streams.
        keepalive_expiry_seconds: how long a connection may rest.

    Raises the exceptions of httpx: ConnectError, ConnectTimeout, ReadError, ReadTimeout,
    WriteTimeout, LocalProtocolError, RemoteProtocolError, UnsupportedProtocol.
    """

    def __init__(
        self,
        *,
        verify: ssl.SSLContext | bool = True,
        read_interval_seconds: float = 0.0,
        read_interval_most_seconds: float | None = None,
        keepalive_expiry_seconds: float = 15.0,
    ) -> None:
        self._verify = verify
        self._contexts: dict[Certificates, ssl.SSLContext] = {}
        self._wheel = (
            Wheel(read_interval_seconds, read_interval_most_seconds)
            if read_interval_seconds > 0
            else None
        )
        self._buffer = memoryview(bytearray(BLOCK_BYTES))
        self._plain = memoryview(bytearray())  # for TLS
        self._expiry = keepalive_expiry_seconds
        self._idle: dict[Origin, dict[Connection, None]] = {}
        self._open: dict[Connection, Origin] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Event | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, return its response as soon as the head is there."""
        timeouts: Timeouts = request.extensions.get("timeout", {})
        origin = _origin(request)
        if (connection := self._resting(origin)) is not None:
            exchange = connection.begin(request, timeouts.get("read"))
            try:
                return await _carry(exchange, request, timeouts)
            except (httpx.ReadError, httpx.RemoteProtocolError):
                if exchange.parser.received or not isinstance(request.stream, httpx.ByteStream):
                    raise  # it was answered, or its body cannot be sent again
        connection = await self._connect(origin, timeouts.get("connect"))
        exchange = connection.begin(request, timeouts.get("read"))
        return await _carry(exchange, request, timeouts)

    async def aclose(self) -> None:
        """Close every connection, also those under way."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        if self._wheel is not None:
            self._wheel.close()
        self._idle.clear()
        if self._open:
            self._emptied = asyncio.Event()
            for connection in list(self._open):
                connection.abort()
            await self._emptied.wait()

    async def _connect(self, origin: Origin, timeout_seconds: float | None) -> Connection:
        """A new connection; the time-out covers name, TCP and TLS together."""
        scheme, host, port, server_hostname, certificates = origin
        deadline = asyncio.timeout(timeout_seconds)
        try:
            async with deadline:
                connection = await self._dial(host, port)
                if not connection.closed:
                    self._open[connection] = origin
                if scheme == "https":
                    try:
                        await connection.start_tls(
                            self._tls_context(certificates), server_hostname, self._plain
                        )
                    except BaseException:
                        connection.abort()
                        raise
        except (OSError, UnicodeError, CertificatesUnusable) as error:
            if deadline.expired():
                raise httpx.ConnectTimeout(f"not connected within {timeout_seconds} s") from error
            raise httpx.ConnectError(str(error)) from error
        return connection

    async def _dial(self, host: str, port: int) -> Connection:
        sock = await dial(host, port)
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(
                    self._buffer, self._wheel, on_idle=self._rest, on_lost=self._forget
                ),
                sock=sock,
            )
        except BaseException:
            sock.close()
            raise
        return connection

    def _tls_context(self, certificates: Certificates) -> ssl.SSLContext:
        """Made when it is first needed: loading the certificates takes 20 ms."""
        context = self._contexts.get(certificates)
        if context is None:
            context = client_context(certificates, self._verify)
            context.set_alpn_protocols(["http/1.1"])
            self._contexts[certificates] = context
            self._plain = self._plain or memoryview(bytearray(2 * BLOCK_BYTES))
        return context

    # Connections that rest.

    def _resting(self, origin: Origin) -> Connection | None:
        """The connection to this origin that was used last, if there is one."""
        idle = self._idle.get(origin)
        while idle:
            connection, _ = idle.popitem()
            if not idle:
                del self._idle[origin]
            if not connection.closed:
                return connection
        return None

    def _rest(self, connection: Connection) -> None:
        """An exchange is over and its connection may be used again."""
        self._idle.setdefault(self._open[connection], {})[connection] = None
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self._expiry, self._sweep)

    def _sweep(self) -> None:
        """Close what has rested too long; come back when the next one will have."""
        self._sweeper = None
        now = asyncio.get_running_loop().time()
        oldest: float | None = None
        for idle in list(self._idle.values()):
            for connection in list(idle):
                if connection.idle_since + self._expiry > now:
                    oldest = min(oldest or connection.idle_since, connection.idle_since)
                    break  # the rest is younger
                connection.abort()
        if oldest is not None:
            delay = oldest + self._expiry - now
            self._sweeper = asyncio.get_running_loop().call_later(delay, self._sweep)

    def _forget(self, connection: Connection) -> None:
        """The socket is gone."""
        origin = self._open.pop(connection, None)
        if origin is not None and (idle := self._idle.get(origin)) is not None:
            idle.pop(connection, None)
            if not idle:
                del self._idle[origin]
        if self._emptied is not None and not self._open:
            self._emptied.set()


def _origin(request: httpx.Request) -> Origin:
    """Where a request goes, and under which name its TLS is checked."""
    url = request.url
    if url.scheme not in _PORTS:
        raise httpx.UnsupportedProtocol(f"Request URL has an unsupported protocol {url.scheme!r}.")
    host = url.raw_host.decode("ascii")
    sni: str = request.extensions.get("sni_hostname") or host
    certificates: Certificates = request.extensions.get("certificates") or NO_CERTIFICATES
    return url.scheme, host, url.port or _PORTS[url.scheme], sni, certificates


async def _carry(exchange: Exchange, request: httpx.Request, timeouts: Timeouts) -> httpx.Response:
    """One exchange, up to the head of its response."""
    try:
        await exchange.send(request, timeouts.get("write"))
        await exchange.head(timeouts.get("read"))
    except BaseException:
        await exchange.aclose()
        raise
    parser = exchange.parser
    return httpx.Response(
        parser.status,
        headers=parser.headers,
        stream=exchange,
        extensions={
            "http_version": parser.http_version,
            "reason_phrase": parser.reason,
            "exchange": exchange,
        },
    )
