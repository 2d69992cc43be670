"""One socket: read, pause, write, TLS.

All connections of a transport read into one buffer, since the loop hands it out
and takes it back within one step.  Whether a connection goes on reading after a
read is decided in ``_throttle``, by three rules:

- Blocks that nobody took (`HIGH_MARK_BYTES`): stop until the reader takes them.
  This is the backpressure: the kernel's buffer fills, then the server waits.
- Some tokens of a body: stop and park in the wheel, so that the kernel gathers
  more (see coalesce.py).  Never before the first bytes of a body, and never for
  longer than a small share of the time that the answer has taken so far: what
  is gathered late may be its end, and a slot of the worker waits for that.
- A stream that brings a whole buffer per interval gains nothing from waiting,
  and would be held back: go on.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

import httpx

from worker.http.transport.coalesce import Wheel
from worker.http.transport.exchange import BLOCK_BYTES, Exchange
from worker.http.transport.tls import Tls

HIGH_MARK_BYTES = 64 * 1024
DELAY_SHARE = 1 / 16


class Connection(asyncio.BufferedProtocol):
    """A connection to one origin, for one exchange after another.

    Attributes:
        exchange: the one under way; None while the connection is idle.
        idle_since: loop time of the end of the last exchange.
    """

    def __init__(
        self,
        buffer: memoryview,
        wheel: Wheel | None,
        *,
        on_idle: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
    ) -> None:
        self.exchange: Exchange | None = None
        self.idle_since = 0.0
        self._buffer = buffer
        self._wheel = wheel
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._tls: Tls | None = None
        self._handshake: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None  # exists while the socket is full
        self._reading = True
        self._starved = False  # paused until the reader takes what is queued
        self._began = 0.0  # loop time
        self._coalescing = False
        self._brought = 0  # bytes since the last pause
        self._busy_until = 0.0  # loop time until which the stream counts as a busy one

    @property
    def closed(self) -> bool:
        """Whether it can carry nothing any more."""
        return self._transport is None or self._transport.is_closing()

    # For the pool.

    async def start_tls(
        self, context: ssl.SSLContext, server_hostname: str, plain: memoryview
    ) -> None:
        """Shake hands; raises ssl.SSLError and OSError.

        `plain` is for what reads bring, deciphered: twice as long as the buffer, for there may be
        some left of the read before.
        """
        if self.closed:
            raise _lost_in_handshake()
        self._tls = Tls(context, server_hostname)
        self._plain = plain
        self._handshake = self._loop.create_future()
        self._shake(self._tls, self._handshake)
        try:
            await self._handshake
        finally:
            self._handshake = None

    def begin(self, request: httpx.Request, idle_timeout: float | None) -> Exchange:
        """A new exchange over this connection."""
        if idle_timeout is not None and self._wheel is not None:
            idle_timeout += self._wheel.most_seconds  # silence may be ours
        exchange = self.exchange = Exchange(self, request.method, idle_timeout)
        self._began = self._loop.time()
        self._coalescing = True
        if self.closed:
            exchange.end_of_file()  # the server closed it meanwhile
        return exchange

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    # For the exchange (its Carrier).

    def write(self, data: bytes) -> None:
        """Queue bytes for the server."""
        if self._transport is None or self._transport.is_closing():
            return  # the exchange hears of it by connection_lost
        if self._tls is None:
            self._transport.write(data)
        else:
            try:
                self._tls.encrypt(data)
            except ssl.SSLError as error:
                self._lost_tls(error)
            self._flush_tls(self._tls)

    async def drain(self, timeout_seconds: float | None) -> None:
        """Until the socket takes more; raises httpx.WriteTimeout."""
        if self._writable is None:
            return
        done, _ = await asyncio.wait({self._writable}, timeout=timeout_seconds)
        if not done:
            raise httpx.WriteTimeout(f"the server took nothing for {timeout_seconds} s")

    def consumed(self) -> None:
        """The reader took what was queued: read on if it was that which stopped us."""
        if self._starved and self.exchange and self.exchange.queued_bytes < HIGH_MARK_BYTES:
            self._resume()

    def hurry(self) -> None:
        """Deliver the rest of this exchange without coalescing."""
        self._coalescing = False
        if not self._starved:
            self._resume()

    def finished(self, *, reusable: bool) -> None:
        """The exchange is over: rest, or close at once."""
        self.exchange = None
        if not reusable or self.closed:
            self.abort()
            return
        self.idle_since = self._loop.time()
        self._on_idle(self)

    # For the wheel.

    def wake(self) -> None:
        """The interval is over: read what the kernel gathered."""
        if self.exchange and self.exchange.queued_bytes >= HIGH_MARK_BYTES:
            self._starved = True
        else:
            self._resume()

    # For asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next read goes."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """A read brought that many bytes."""
        data = self._buffer[:nbytes]
        if self._tls is not None:
            self._tls_received(self._tls, data)
        elif self.exchange is not None:
            self._received(self.exchange, data, nbytes)
        else:
            self.abort()  # a server that speaks without being asked

    def eof_received(self) -> None:
        """The server closes its side; asyncio then closes ours."""
        if self.exchange is not None:
            self.exchange.end_of_file()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._transport = None
        self.resume_writing()
        if self._handshake is not None and not self._handshake.done():
            self._handshake.set_exception(exc or _lost_in_handshake())
        if self.exchange is not None:
            reason = getattr(exc, "strerror", None) or str(exc or "the connection was closed")
            error = httpx.ReadError(reason)
            error.__cause__ = exc
            self.exchange.fail(error)
        self._on_lost(self)

    def pause_writing(self) -> None:
        """The socket is full."""
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """The socket takes more, or will never take anything."""
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # Inside.

    def _received(self, exchange: Exchange, data: memoryview, nbytes: int) -> None:
        """Feed what one read of so many bytes brought to the exchange."""
        body = exchange.feed(data)
        if self._writable is not None and exchange.parser.head_complete:
            self.resume_writing()  # answered before it was asked in full: stop sending
        if body and self.exchange is exchange:
            self._throttle(exchange, nbytes)

    def _throttle(self, exchange: Exchange, nbytes: int) -> None:
        """Whether to go on reading."""
        if exchange.queued_bytes >= HIGH_MARK_BYTES:
            self._pause()
            self._starved = True
        elif self._coalescing and self._wheel is not None:
            now = self._loop.time()
            self._brought += nbytes
            if self._brought >= BLOCK_BYTES:
                self._brought = 0
                self._busy_until = now + self._wheel.turn_seconds
            if now < self._busy_until:
                return
            self._brought = 0
            if self._wheel.park(self, (now - self._began) * DELAY_SHARE):
                self._pause()

    def _pause(self) -> None:
        if self._reading and not self.closed and self._transport is not None:
            self._transport.pause_reading()
            self._reading = False

    def _resume(self) -> None:
        self._starved = False
        if not self._reading and not self.closed and self._transport is not None:
            self._transport.resume_reading()
            self._reading = True

    def _tls_received(self, tls: Tls, data: memoryview) -> None:
        """Translate a read; without an exchange only TLS itself may speak (session tickets)."""
        tls.receive(data)
        if self._handshake is not None:
            self._shake(tls, self._handshake)
            return
        try:
            size = tls.plain(self._plain)
            self._flush_tls(tls)
        except ssl.SSLError as error:
            self._lost_tls(error)
            return
        if size and self.exchange is not None:
            self._received(self.exchange, self._plain[:size], len(data))
        elif size:
            self.abort()
        if tls.closed:
            self.eof_received()
            self.abort()

    def _lost_tls(self, error: ssl.SSLError) -> None:
        if self.exchange is not None:
            lost = httpx.ReadError(str(error))
            lost.__cause__ = error.with_traceback(None)
            self.exchange.fail(lost)
        self.abort()

    def _shake(self, tls: Tls, handshake: asyncio.Future[None]) -> None:
        """Go on with the handshake, and tell when it is over."""
        try:
            done = tls.shake()
        except ssl.SSLError as error:
            self._flush_tls(tls)  # the alert tells the server why
            if not handshake.done():
                handshake.set_exception(error)
            return
        self._flush_tls(tls)
        if done and not handshake.done():
            handshake.set_result(None)

    def _flush_tls(self, tls: Tls) -> None:
        if (data := tls.outgoing()) and self._transport is not None:
            self._transport.write(data)


def _lost_in_handshake() -> ssl.SSLEOFError:
    return ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the server closed during the handshake")
