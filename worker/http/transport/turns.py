"""Turns on the event loop, for work that input of a server has made long.

A body that takes long to decode is decoded in pieces.  Between two of them every
other task of the loop has to run, and a thousand such bodies may not take the loop
together: so each piece waits for a turn, and each step of the loop gives away one.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """Hands out one turn for each step of the event loop, in the order of asking."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._armed = False

    async def next(self) -> None:
        """Wait for a turn; everything else that is ready runs before it."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        if not self._armed:
            self._armed = True
            loop.call_soon(self._give)
        await turn

    def _give(self) -> None:
        self._armed = False
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # not cancelled meanwhile
                turn.set_result(None)
                break
        if self._waiting:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._give)
