"""A model server: slots, a line before them, answers that take their time, and faults.

What is wrong with it is said by a list of faults (faults.py).  Answers are chat completions.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import httpx

from benchmarks.worlds.loop import WorldLoop
from benchmarks.worlds.network import Asked, Reply, Text
from benchmarks.worlds.tally import Tally

if TYPE_CHECKING:
    from benchmarks.worlds.faults import Fault

TOKENS_PER_SECOND = 25.0
WORD = "abc "  # one token
FRAME_SECONDS_MAX = 60.0
FRAMES = 6  # in an answer, or one a minute if that is more
FIRST_FRAME_SECONDS = 0.4
CANARY_SECONDS = 0.1
SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}


def event(value: object) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


DONE = (
    event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}) + b"data: [DONE]\n\n"
)


def said(status: int, message: str, **more: object) -> Reply:
    """An error as most servers report it."""
    body = {"error": {"message": message, "type": "invalid_request_error", **more}}
    return Reply(status, JSON, json.dumps(body).encode())


class Exchange:
    """One request under way at a server."""

    def __init__(self, server: ModelServer, asked: Asked) -> None:
        self.server = server
        self.asked = asked
        self.began_at = server.loop.seconds
        self.has_slot = False
        self.answering = False  # its first frame is out
        self.tokens = 0
        self.ended = False
        self._waiting: asyncio.Future[None] | None = None
        self._broken: Exception | None = None

    async def wait(self, seconds: float | None) -> bool:
        """Let so much time pass, or wait until `go`; True if it was `go`.  Raises when it is cut."""
        if self._broken is not None:
            raise self._broken
        loop = self.server.loop
        waiting = self._waiting = loop.create_future()
        timer = None
        if seconds is not None:
            timer = loop.call_later(seconds, _finish, waiting)
        try:
            await waiting
            return self._waiting is None
        finally:
            self._waiting = None
            if timer is not None:
                timer.cancel()

    def go(self) -> None:
        """What it waits for has come."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            _finish(waiting)

    def cut(self) -> None:
        """The connection is lost."""
        self._broken = _lost(self.answering)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(self._broken)

    def end(self, *, whole: bool = False) -> None:
        """It is over, for either side; may be called again."""
        if not self.ended:
            self.ended = True
            self.server.left(self)
            self.server.tally.left(self, whole=whole)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _lost(answering: bool) -> Exception:
    if answering:
        return httpx.ReadError("[Errno 104] Connection reset by peer")
    return httpx.RemoteProtocolError("Server disconnected without sending a response.")


class ModelServer:
    """One server process, or what looks like one.

    Attributes:
        down_until: no connection is accepted before that time.
        faults: asked in their order, at the door and when a slot is taken.
    """

    def __init__(
        self,
        loop: WorldLoop,
        tally: Tally,
        *,
        slots: int = 10_000,
        faults: Sequence[Fault] = (),
        proxied: bool = False,
        line_seconds_max: float | None = None,
        cut_after_seconds: float | None = None,
        cut_until: float = float("inf"),
    ) -> None:
        """proxied: a proxy before it answers 502 while it is down or died before the first frame.
        line_seconds_max: after so long in line that proxy answers 504.
        cut_after_seconds: how old the proxy lets an answer become, until `cut_until`.
        """
        self.loop = loop
        self.tally = tally
        self.slots = slots
        self.faults = faults
        self.proxied = proxied
        self.line_seconds_max = line_seconds_max
        self.cut_after_seconds = cut_after_seconds
        self.cut_until = cut_until
        self.down_until = 0.0
        self.busy = 0
        self.exchanges: dict[Exchange, None] = {}
        self._line: deque[Exchange] = deque()
        for fault in faults:
            fault.start(self)

    # --- what a network asks of it

    async def open(self, asked: Asked) -> Reply:
        self.tally.asked(asked)
        if self.loop.seconds < self.down_until:
            if self.proxied:
                return _bad_gateway()
            raise httpx.ConnectError("refused") from ConnectionRefusedError(111, "refused")
        exchange = Exchange(self, asked)
        self.exchanges[exchange] = None
        try:
            for fault in self.faults:
                if (reply := await fault.door(exchange)) is not None:
                    exchange.end()
                    return reply
            if not asked.is_generation:
                exchange.end()
                return said(404, "not found")
            return await self._begin(exchange)
        except httpx.RemoteProtocolError:
            exchange.end()
            if self.proxied:
                return _bad_gateway()
            raise
        except BaseException:
            exchange.end()
            raise

    async def _begin(self, exchange: Exchange) -> Reply:
        if not await self._slot(exchange):
            exchange.end()
            return Reply(504, {}, b"<html><h1>504 Gateway Time-out</h1></html>")
        for fault in self.faults:
            if (reply := await fault.begun(exchange)) is not None:
                exchange.end()
                return reply
        await exchange.wait(FIRST_FRAME_SECONDS)
        return Reply(200, SSE, _Answer(exchange))

    async def _slot(self, exchange: Exchange) -> bool:
        """Wait in line; False if the proxy before the line lost its patience."""
        if self.busy < self.slots:
            self.busy += 1
            exchange.has_slot = True
            return True
        self._line.append(exchange)
        return await exchange.wait(self.line_seconds_max)

    # --- what happens to it

    def left(self, exchange: Exchange) -> None:
        """An exchange is over: its slot is the next one's."""
        self.exchanges.pop(exchange, None)
        if not exchange.has_slot:
            if exchange in self._line:
                self._line.remove(exchange)
            return
        exchange.has_slot = False
        self.busy -= 1
        self.fill()

    def fill(self) -> None:
        """Slots are free: they are for the first in line."""
        while self._line and self.busy < self.slots:
            following = self._line.popleft()
            self.busy += 1
            following.has_slot = True
            following.go()

    def die(self, down_seconds: float) -> None:
        """Every connection is lost; none is accepted for so long."""
        self.down_until = max(self.down_until, self.loop.seconds + down_seconds)
        for exchange in list(self.exchanges):
            exchange.cut()


class _Answer(httpx.AsyncByteStream):
    """The frames of an answer, as they come."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        exchange, asked = self._exchange, self._exchange.asked
        try:
            if asked.number is None:
                exchange.answering = True
                exchange.tokens = 1
                yield event({"choices": [{"index": 0, "delta": {"content": WORD}}]})
                await exchange.wait(CANARY_SECONDS)
            else:
                async for block in self._frames(exchange):
                    yield block
            exchange.end(whole=True)
            yield DONE
        finally:
            exchange.end()

    async def _frames(self, exchange: Exchange) -> AsyncIterator[bytes]:
        server, seconds = exchange.server, exchange.asked.seconds
        count = max(FRAMES, round(seconds / FRAME_SECONDS_MAX))
        per_frame = max(1, round(seconds * TOKENS_PER_SECOND / count))
        block = event({"choices": [{"index": 0, "delta": {"content": WORD * per_frame}}]})
        for number in range(count):
            if number:
                pause_seconds = seconds / count
                for fault in server.faults:
                    pause_seconds += fault.pause(exchange, number)
                await self._pass(exchange, pause_seconds)
            else:
                exchange.answering = True
                server.tally.answering(exchange)
            exchange.tokens += per_frame
            for fault in server.faults:
                fault.frame(exchange, number)
            yield block
        await self._pass(exchange, seconds / count)

    async def _pass(self, exchange: Exchange, seconds: float) -> None:
        server = exchange.server
        if server.cut_after_seconds is not None and server.loop.seconds < server.cut_until:
            left = exchange.began_at + server.cut_after_seconds - server.loop.seconds
            if left < seconds:
                await exchange.wait(max(0.0, left))
                raise httpx.RemoteProtocolError("peer closed connection (incomplete chunked read)")
        await exchange.wait(seconds)

    async def aclose(self) -> None:
        self._exchange.end()


class Balancer:
    """Sends each request to the next of several servers, whether it is alive or not."""

    def __init__(self, *servers: ModelServer) -> None:
        self.servers = servers
        self._next = 0

    async def open(self, asked: Asked) -> Reply:
        server = self.servers[self._next % len(self.servers)]
        self._next += 1
        return await server.open(asked)


def _bad_gateway() -> Reply:
    return Reply(502, {"content-type": "text/html"}, b"<html><h1>502 Bad Gateway</h1></html>")


def page(status: int, words: str) -> Reply:
    """A web page in the place of an answer."""
    html = f"<!doctype html><html><body><h1>{words}</h1></body></html>"
    return Reply(status, {"content-type": "text/html"}, Text(html.encode()))
