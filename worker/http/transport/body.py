"""The plain bytes of a response, in pieces that are quick to decode.

What decoding costs is the lines and values of a block more than its bytes: 64 KiB
of blank lines take a tenth of a second, 64 KiB of text a thousandth.  So a block
with many of them is handed out in small pieces.  These pieces and large reads wait for
a turn on the event loop, so that many streams together do not hold it either.
"""

from __future__ import annotations

from worker.http.transport.content_coding import Unpacker
from worker.http.transport.exchange import BLOCK_BYTES
from worker.http.transport.timed_body import TimedBody
from worker.http.transport.turns import Turns

DENSE_MARKS = 4096  # line ends and commas in a block; text of a model has half as many
DENSE_PIECE_BYTES = 1024
TURN_FROM_BYTES = 16 * 1024  # a read of a model's tokens brings less


class PlainBody:
    """The body of one response without its content coding.

    Args:
        body: the bytes as they come.
        label: the value of Content-Encoding; "" if there is none.
        turns: shared by all bodies of an event loop.
    """

    def __init__(self, body: TimedBody, label: str, turns: Turns) -> None:
        self._body = body
        self._turns = turns
        self._unpacker = Unpacker(label)
        self._block = b""  # of which a part was handed out
        self._at = 0

    async def read(self, wait_seconds: float | None) -> bytes | None:
        """At most 64 KiB, b"" if there is nothing to tell yet, None at the end.

        Waits for the network once at most, and for no longer than `wait_seconds`; b"" may
        come earlier, after bytes that carry nothing.  Raises CodingError and what httpx raises.
        """
        if self._at < len(self._block):
            await self._turns.next()
            return self._piece()
        if self._unpacker.pending:
            await self._turns.next()
            return self._start(self._unpacker.take(BLOCK_BYTES))
        packed = await self._body.read(wait_seconds)
        if packed is None:
            self._unpacker.end()
            return self._start(self._unpacker.take(BLOCK_BYTES)) or self._rest()
        if not packed:
            return b""
        if len(packed) > TURN_FROM_BYTES:
            await self._turns.next()
        self._unpacker.feed(packed)
        return self._start(self._unpacker.take(BLOCK_BYTES))

    def _rest(self) -> bytes | None:
        """After the end of the body: None once nothing is left in the unpacker."""
        return b"" if self._unpacker.pending else None

    def _start(self, block: bytes) -> bytes:
        if len(block) <= DENSE_PIECE_BYTES or _marks(block) <= DENSE_MARKS:
            return block
        self._block, self._at = block, 0
        return self._piece()

    def _piece(self) -> bytes:
        piece = self._block[self._at : self._at + DENSE_PIECE_BYTES]
        self._at += len(piece)
        return piece


def _marks(block: bytes) -> int:
    """How many lines and values a block has, about; each takes some microseconds to decode."""
    return block.count(b"\n") + block.count(b"\r") + block.count(b",")
