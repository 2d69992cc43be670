"""Handlers use the database in a bounded number of threads."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime

from worker.server.context import Context, unix


def test_what_blocks_runs_in_a_thread_of_the_pool():
    """And an iterator is asked for its next piece only there."""

    def pieces():
        yield threading.current_thread().name.encode()

    async def main():
        context = Context(None, {}, None, max_line_bytes=1)
        name = await context.call(lambda: threading.current_thread().name)
        found = [each async for each in context.pieces(pieces())]
        context.close()
        return name, found

    name, (piece,) = asyncio.run(main())
    assert name.startswith("store")
    assert piece.startswith(b"store")
    assert unix(None) is None
    assert unix(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)) == 1
