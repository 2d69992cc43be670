"""A response body that can be waited for with a limit, whichever transport carries it.

FastTransport's exchange does this itself.  For httpx's own transport one task
waits for the next bytes and outlives every limit: to cancel it would close the
response and lose what was on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import httpx

from worker.transport.exchange import BLOCK_BYTES, Exchange


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
    return exchange if isinstance(exchange, Exchange) else _StockBody(response)


class _StockBody:
    """The body of a response of httpx's own transport."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._blocks = response.aiter_raw()
        self._pending: asyncio.Task[bytes | None] | None = None
        self._rest = b""

    async def read(self, wait_seconds: float | None = None) -> bytes | None:
        block = self._rest
        if not block:
            if self._pending is None:
                self._pending = asyncio.ensure_future(_next(self._blocks))
            done, _ = await asyncio.wait({self._pending}, timeout=wait_seconds)
            if not done:
                return b""
            arrived, self._pending = self._pending.result, None
            if (block_or_end := arrived()) is None:
                return None
            block = block_or_end
        self._rest = block[BLOCK_BYTES:]
        return block[:BLOCK_BYTES]

    def hurry(self) -> None:
        """Nothing is ever held back here."""

    async def aclose(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.wait({self._pending})
            if not self._pending.cancelled():
                self._pending.exception()  # it ended by itself: nobody wants to know
        await self._response.aclose()


async def _next(blocks: AsyncIterator[bytes]) -> bytes | None:
    """The next block that is not empty, None at the end."""
    async for block in blocks:
        if block:
            return block
    return None
