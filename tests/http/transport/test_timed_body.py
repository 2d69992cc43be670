"""A wait with a limit loses nothing, also over httpx's own transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.fakes.patience import HANG_SECONDS
from worker.http.transport import Exchange, timed

pytestmark = pytest.mark.anyio


class Body(httpx.AsyncByteStream):
    """Gives a block whenever the test says so."""

    def __init__(self) -> None:
        self.blocks: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (block := await self.blocks.get()) is not None:
            if isinstance(block, Exception):
                raise block
            yield block

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def body() -> Body:
    return Body()


@pytest.fixture
async def reader(body):
    return timed(httpx.Response(200, stream=body))


async def test_a_wait_that_runs_out_does_not_end_the_read(reader, body):
    """The same read goes on and gets what arrives later."""
    for _ in range(3):
        assert await reader.read(0.001) == b""
    body.blocks.put_nowait(b"one")
    assert await reader.read(HANG_SECONDS) == b"one"
    body.blocks.put_nowait(None)
    assert await reader.read(None) is None
    await reader.aclose()


async def test_a_cancelled_wait_does_not_end_the_read(reader, body):
    """The task that waits is not the one that reads."""
    waiting = asyncio.ensure_future(reader.read(None))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    body.blocks.put_nowait(b"one")
    assert await reader.read(HANG_SECONDS) == b"one"
    await reader.aclose()


async def test_blocks_are_cut_to_64_kib_and_empty_ones_skipped(reader, body):
    """Whatever httpx hands out."""
    for block in (b"", b"x" * 100_000, None):
        body.blocks.put_nowait(block)
    assert len(await reader.read(HANG_SECONDS)) == 65536
    assert len(await reader.read(HANG_SECONDS)) == 100_000 - 65536
    assert await reader.read(HANG_SECONDS) is None
    await reader.aclose()


async def test_many_small_blocks_are_one_read(reader, body):
    """A block of httpx's is one token; a reader that was away gets what gathered meanwhile."""
    for _ in range(1000):
        body.blocks.put_nowait(b"token ")
    body.blocks.put_nowait(None)
    reads = []
    while (data := await reader.read(HANG_SECONDS)) is not None:
        reads.append(data)
    assert b"".join(reads) == b"token " * 1000
    assert len(reads) < 10
    await reader.aclose()


async def test_it_reads_ahead_64_kib_and_no_further(reader, body):
    """Then the socket waits, and with it the server."""
    for _ in range(100):
        body.blocks.put_nowait(bytes(10_000))
    assert await reader.read(HANG_SECONDS)
    for _ in range(200):
        await asyncio.sleep(0)
    assert body.blocks.qsize() >= 100 - 7 - 7
    await reader.aclose()


async def test_an_error_comes_out_of_the_read(reader, body):
    """Not out of a task that nobody looks at."""
    assert await reader.read(0.001) == b""
    body.blocks.put_nowait(httpx.ReadError("gone"))
    with pytest.raises(httpx.ReadError, match="gone"):
        await reader.read(HANG_SECONDS)
    await reader.aclose()


@pytest.mark.parametrize("ended", ["waiting", "failed"])
async def test_closing_ends_the_read_and_the_response(reader, body, ended):
    """A failure that nobody read is not reported by the garbage collector."""
    assert await reader.read(0.001) == b""
    if ended == "failed":
        body.blocks.put_nowait(httpx.ReadError("gone"))
        await asyncio.sleep(0)
    await reader.aclose()
    assert body.closed


async def test_the_exchange_of_the_fast_transport_is_used_as_it_is(fast, server):
    """It needs no task."""
    async with fast.stream("GET", server.url + "/") as response:
        assert isinstance(timed(response), Exchange)
