"""One request and its answer over a connection; to httpx, the body of the response.

The connection feeds what it reads, the reader takes blocks of at most 64 KiB.
Waiting is one future and at most one timer, never a task; a wait that ends by
its timer loses nothing, since data stays in the queue of blocks.  The end, good
or bad, is told only after the last block was taken.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from copy import copy
from typing import Protocol

import httpx

from worker.http.transport import serialize
from worker.http.transport.parse import ResponseParser

BLOCK_BYTES = 64 * 1024


class ConnectionPort(Protocol):
    """What an exchange needs of its connection."""

    def write(self, data: bytes) -> None:
        """Queue bytes for the server."""
        ...

    async def drain(self, timeout_seconds: float | None) -> None:
        """Until the socket takes more; raises httpx.WriteTimeout."""
        ...

    def consumed(self) -> None:
        """The reader took what was queued."""
        ...

    def hurry(self) -> None:
        """From now on deliver everything at once."""
        ...

    def finished(self, *, reusable: bool) -> None:
        """The exchange is over; a connection that is not reusable closes at once."""
        ...


class Exchange(httpx.AsyncByteStream):
    """A request on its way, then its response as it arrives.

    Attributes:
        queued_bytes: body bytes that wait for the reader.
        idle_timeout: seconds of silence after which iterating raises httpx.ReadTimeout.
    """

    def __init__(self, carrier: ConnectionPort, method: str, idle_timeout: float | None) -> None:
        self.parser = ResponseParser(method)
        self.queued_bytes = 0
        self.idle_timeout = idle_timeout
        self._carrier: ConnectionPort | None = carrier  # None once the exchange is over
        self._blocks: deque[bytes] = deque()
        self._error: httpx.TransportError | None = None
        self._sent = False
        self._waiter: asyncio.Future[bool] | None = None

    # The request.

    async def send(self, request: httpx.Request, timeout_seconds: float | None) -> None:
        """Send head and body; stops early when the server answers or goes away meanwhile.

        Raises httpx.LocalProtocolError and httpx.WriteTimeout.
        """
        data = serialize.head(request)
        left = serialize.body_length(request)
        async for piece in serialize.pieces(request):
            if left is not None:
                left -= len(piece)
            data += piece if left is not None else serialize.chunk(piece)
            if left is not None and left < 0:
                raise httpx.LocalProtocolError("Too much data for declared Content-Length")
            if not await self._send_some(data, timeout_seconds):
                return
            data = b""
        if left:
            raise httpx.LocalProtocolError("Too little data for declared Content-Length")
        if left is None:
            data += serialize.LAST_CHUNK
        self._sent = await self._send_some(data, timeout_seconds)

    async def _send_some(self, data: bytes, timeout_seconds: float | None) -> bool:
        """Send a piece; False if the server does not want it any more."""
        if self._carrier is None or self.parser.head_complete:
            return False
        if data:
            self._carrier.write(data)
            await self._carrier.drain(timeout_seconds)
        return True

    # What the connection tells.

    def feed(self, data: bytes | memoryview) -> bool:
        """Take one read of the socket; True if it carried a part of the body."""
        error: httpx.TransportError | None = None
        try:
            self.parser.feed(data)
        except httpx.TransportError as fault:
            error = fault
        if block := self.parser.take():
            self.queued_bytes += len(block)
            if len(block) <= BLOCK_BYTES:
                self._blocks.append(block)
            else:  # TLS may have held back the beginning of a record from the read before
                self._blocks += (block[:BLOCK_BYTES], block[BLOCK_BYTES:])
        if error is not None:
            self.fail(error)
        elif self.parser.complete:
            self._over(reusable=self.parser.keep_alive and self._sent)
        elif self.parser.head_complete:
            self._wake()
        return bool(block)

    def end_of_file(self) -> None:
        """The server sends no more."""
        if self._carrier is None:
            return
        try:
            self.parser.end_of_file()
        except httpx.TransportError as error:
            self.fail(error)
        else:
            self._over(reusable=False)

    def fail(self, error: httpx.TransportError) -> None:
        """The connection is lost, or what it brings is no HTTP."""
        if self._carrier is not None:
            self._error = error.with_traceback(None)
            self._over(reusable=False)

    def _over(self, *, reusable: bool) -> None:
        """The last byte is here, or there will be none."""
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            self.parser.release()
            carrier.finished(reusable=reusable)
        self._wake()

    # The response.

    async def head(self, timeout_seconds: float | None) -> None:
        """Until status and headers are there; raises httpx.ReadTimeout and transport errors."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout_seconds is None else loop.time() + timeout_seconds
        while not self.parser.head_complete:
            if self._error is not None:
                raise _again(self._error)
            left = None if deadline is None else deadline - loop.time()
            if left is not None and left <= 0:
                raise httpx.ReadTimeout(f"no response within {timeout_seconds:g} s")
            await self._wait(left)

    async def read(self, wait_seconds: float | None = None) -> bytes | None:
        """The next block of the body; b"" if none came in time, None at its end.

        Raises what httpx raises when the body ends where it must not.
        """
        loop = asyncio.get_running_loop()
        deadline = None if wait_seconds is None else loop.time() + wait_seconds
        left = wait_seconds
        while not self._blocks:
            if self._carrier is None:
                if self._error is not None:
                    raise _again(self._error)
                return None
            if (left is not None and left < 0) or not await self._wait(left):
                return b""
            if deadline is not None:
                # Framing without a byte of body woke us too: the wait does not begin anew.
                left = deadline - loop.time()
        if len(self._blocks) > 1 and self.queued_bytes <= BLOCK_BYTES:
            block = b"".join(self._blocks)
            self._blocks.clear()
        else:
            block = self._blocks.popleft()
        self.queued_bytes -= len(block)
        if self._carrier is not None:
            self._carrier.consumed()
        return block

    def hurry(self) -> None:
        """Deliver the rest without coalescing reads."""
        if self._carrier is not None:
            self._carrier.hurry()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The blocks of the body, as httpx reads them."""
        while (block := await self.read(self.idle_timeout)) is not None:
            if not block:
                raise httpx.ReadTimeout(f"nothing was received for {self.idle_timeout:g} s")
            yield block

    async def aclose(self) -> None:
        """Let the response go; one that is not complete takes its connection with it."""
        closed = httpx.ReadError("the response was closed")
        self.fail(closed)
        if self._blocks:
            self._error = closed  # it did not end here, whatever the server sent
        self._blocks.clear()
        self.queued_bytes = 0

    async def _wait(self, seconds: float | None) -> bool:
        """Until something happens (True) or the time is over (False)."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        timer = None if seconds is None else loop.call_later(seconds, _resolve, waiter, False)
        try:
            return await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None:
            _resolve(self._waiter, True)


def _resolve(waiter: asyncio.Future[bool], outcome: bool) -> None:
    """Answer a waiter that may have been answered or cancelled already."""
    if not waiter.done():
        waiter.set_result(outcome)


def _again(error: httpx.TransportError) -> httpx.TransportError:
    """A copy to be raised, with its cause: the traceback of what is raised will hold us."""
    again = copy(error)
    again.__cause__ = error.__cause__
    return again
