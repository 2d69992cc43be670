"""The pieces of a body are quick to decode, and no read waits twice."""

from __future__ import annotations

import asyncio
import gzip
from collections import deque

import pytest

from tests.fakes.aio import aio
from worker.http.transport.body import DENSE_MARKS, DENSE_PIECE_BYTES, PlainBody
from worker.http.transport.exchange import BLOCK_BYTES
from worker.http.transport.turns import Turns


class Blocks:
    """A body that is there already; notes each wait."""

    def __init__(self, *blocks: bytes) -> None:
        self.blocks = deque(blocks)
        self.waits: list[float | None] = []

    async def read(self, wait_seconds: float | None = None) -> bytes | None:
        self.waits.append(wait_seconds)
        return self.blocks.popleft() if self.blocks else None

    def hurry(self) -> None:
        """Nothing is held back."""

    async def aclose(self) -> None:
        """Nothing is open."""


def cut(data: bytes) -> list[bytes]:
    return [data[start : start + BLOCK_BYTES] for start in range(0, len(data), BLOCK_BYTES)]


async def pieces(body: PlainBody) -> list[bytes]:
    got = []
    while (data := await body.read(5)) is not None:
        got.append(data)
    return got


PATHOLOGICAL = [b"\n", b"\r", b"\r\n", b":\n", b"data:{}\n\n", b"{},", b"1,", b"{}\n"]


@aio
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("unit", PATHOLOGICAL)
async def test_a_dense_block_comes_in_small_pieces(unit, packed):
    """What decoding costs is its lines and values: no piece has many."""
    plain = unit * (300_000 // len(unit))
    blocks = cut(gzip.compress(plain) if packed else plain)
    got = await pieces(PlainBody(Blocks(*blocks), "", Turns()))
    assert b"".join(got) == plain
    assert max(map(len, got)) <= DENSE_PIECE_BYTES


@aio
async def test_a_stream_of_text_comes_in_the_blocks_that_came():
    """What models send is not cut smaller."""
    frame = (
        b'data: {"id":"1","object":"chunk","created":1,"choices":[{"delta":{"content":"a"}}]}\n\n'
    )
    blocks = cut(frame * 3000)
    assert frame.count(b",") * BLOCK_BYTES // len(frame) < DENSE_MARKS
    assert await pieces(PlainBody(Blocks(*blocks), "", Turns())) == blocks


@aio
@pytest.mark.parametrize("label", ["", "gzip"])
async def test_others_run_between_two_pieces(label):
    """However much of the body is there already: the loop turns between any two reads."""
    plain = b"\n" * BLOCK_BYTES
    body = PlainBody(Blocks(gzip.compress(plain) if label else plain), label, Turns())
    steps = 0

    async def other() -> None:
        nonlocal steps
        while True:
            steps += 1
            await asyncio.sleep(0)

    running = asyncio.ensure_future(other())
    await asyncio.sleep(0)
    reads, before = 0, steps
    while await body.read(5) is not None:
        reads += 1
    running.cancel()
    assert reads >= BLOCK_BYTES // DENSE_PIECE_BYTES
    assert steps - before >= reads - 3


@aio
async def test_a_read_waits_once_and_gives_nothing_for_what_carries_nothing():
    """Compressed blocks that produce nothing must not begin the caller's wait anew."""
    blocks = Blocks(gzip.compress(b"")[:10], *[b"\x00\x00\x00\xff\xff"] * 50)
    body = PlainBody(blocks, "gzip", Turns())
    for number in range(51):
        assert await body.read(number) == b""
        assert blocks.waits == list(range(number + 1))
    assert await body.read(5) is None


@aio
async def test_what_was_held_to_be_recognised_comes_at_the_end():
    """A body that is shorter than a mark."""
    assert await pieces(PlainBody(Blocks(b"x"), "", Turns())) == [b"", b"x"]
    assert await pieces(PlainBody(Blocks(b"{", b"}"), "br", Turns())) == [b"", b"", b"{}"]
    assert await pieces(PlainBody(Blocks(), "gzip", Turns())) == []


@aio
async def test_large_reads_of_many_bodies_take_turns():
    """Each is decoded in a step of the loop of its own, small ones as they come."""
    turns, steps, taken = Turns(), [0], []

    async def other() -> None:
        while True:
            steps[0] += 1
            await asyncio.sleep(0)

    async def reading(block: bytes) -> None:
        if await PlainBody(Blocks(block), "", turns).read(5):
            taken.append((len(block), steps[0]))

    running = asyncio.ensure_future(other())
    await asyncio.gather(*(reading(b"x" * BLOCK_BYTES) for _ in range(10)))
    assert len({step for _, step in taken}) == 10
    taken.clear()
    await asyncio.gather(*(reading(b"x" * 1000) for _ in range(10)))
    assert len({step for _, step in taken}) == 1
    running.cancel()
