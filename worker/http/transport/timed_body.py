"""A response body that can be waited for with a limit, whichever transport carries it.

FastTransport's exchange does this itself.  For httpx's own transport one task
reads ahead and outlives every limit: to cancel it would close the response and
lose what was on its way, and a task for each of its tiny blocks would take more
time than reading them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

import httpx

from worker.http.transport.exchange import BLOCK_BYTES, Exchange


class TimedBody(Protocol):
    """The raw bytes of a response body."""

    async def read(self, wait_seconds: float | None = None) -> bytes | None:
        """At most 64 KiB; b"" if nothing came in time, None at the end."""
        ...

    def hurry(self) -> None:
        """Deliver the rest without coalescing reads."""
        ...

    async def aclose(self) -> None:
        """Let the response go, at once."""
        ...


def timed(response: httpx.Response) -> TimedBody:
    """The body of a response that was asked for as a stream."""
    exchange = response.extensions.get("exchange")
    if not isinstance(exchange, Exchange):
        return _HttpxBody(response)
    response.stream = exchange  # what httpx has put there holds the response in a cycle
    return exchange


class _HttpxBody:
    """The body of a response of httpx's own transport."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._blocks: deque[bytes] = deque()
        self._queued_bytes = 0
        self._waiter: asyncio.Future[None] | None = None  # the reader, for a block or the end
        self._room: asyncio.Future[None] | None = None  # the filler, for the reader to take some
        self._filler = asyncio.ensure_future(self._fill())
        self._filler.add_done_callback(lambda _: _wake(self._waiter))

    async def read(self, wait_seconds: float | None = None) -> bytes | None:
        if not self._blocks and not self._filler.done():
            self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._waiter}, timeout=wait_seconds)
            self._waiter = None
        if not self._blocks:
            return self._filler.result() if self._filler.done() else b""
        block = b"".join(self._blocks) if self._queued_bytes <= BLOCK_BYTES else self._blocks[0]
        if len(block) == self._queued_bytes:
            self._blocks.clear()
        else:
            self._blocks.popleft()
        self._queued_bytes -= len(block)
        _wake(self._room)
        return block

    def hurry(self) -> None:
        """Nothing is ever held back here."""

    async def aclose(self) -> None:
        self._filler.cancel()
        await asyncio.wait({self._filler})
        if not self._filler.cancelled():
            self._filler.exception()  # it ended by itself: nobody wants to know
        await self._response.aclose()

    async def _fill(self) -> None:
        """Queue what arrives, 64 KiB ahead of the reader at most."""
        async for data in self._response.aiter_raw():
            for start in range(0, len(data), BLOCK_BYTES):
                self._blocks.append(data[start : start + BLOCK_BYTES])
            self._queued_bytes += len(data)
            _wake(self._waiter)
            if self._queued_bytes >= BLOCK_BYTES:
                self._room = asyncio.get_running_loop().create_future()
                await self._room
                self._room = None


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
