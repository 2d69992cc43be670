"""What can be wrong with a scripted server; a world's server has a list of these."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from benchmarks.worlds.network import Asked, Reply

if TYPE_CHECKING:
    from benchmarks.worlds.server import Exchange, ModelServer

To = Callable[[Asked], bool]


def everybody(asked: Asked) -> bool:
    """Whatever would generate."""
    return asked.method == "POST"


def prompts(asked: Asked) -> bool:
    """What carries a prompt, but no canary."""
    return asked.number is not None


def canaries(asked: Asked) -> bool:
    """What would generate, but carries no prompt."""
    return asked.method == "POST" and asked.number is None


def kind(name: str) -> To:
    """Prompts of this kind."""
    return lambda asked: asked.kind == name


class Fault:
    """Nothing is wrong; each fault changes some of it."""

    def start(self, server: ModelServer) -> None:
        """The server begins to exist."""
        del server

    async def door(self, exchange: Exchange) -> Reply | None:
        """A request has come; a reply is all that it gets."""
        del exchange
        return None

    async def begun(self, exchange: Exchange) -> Reply | None:
        """It has a slot, and waits for its first frame; a reply is all that it gets."""
        del exchange
        return None

    def pause(self, exchange: Exchange, number: int) -> float:
        """Seconds for which it is silent before this frame, beside what is usual."""
        del exchange, number
        return 0.0

    def frame(self, exchange: Exchange, number: int) -> None:
        """This frame of an answer is out."""
        del exchange, number


class Refuses(Fault):
    """Answers with an error, or with nonsense, instead of generating."""

    def __init__(
        self,
        reply: Callable[[], Reply],
        *,
        since: float = 0.0,
        until: float = inf,
        to: To = everybody,
        waits: bool = False,
    ) -> None:
        """waits: only who has a slot learns it."""
        self._reply = reply
        self._since = since
        self._until = until
        self._to = to
        self._waits = waits

    async def door(self, exchange: Exchange) -> Reply | None:
        return None if self._waits else self._judge(exchange)

    async def begun(self, exchange: Exchange) -> Reply | None:
        return self._judge(exchange) if self._waits else None

    def _judge(self, exchange: Exchange) -> Reply | None:
        at = exchange.server.loop.seconds
        applies = self._since <= at < self._until and self._to(exchange.asked)
        return self._reply() if applies else None


class Restarts(Fault):
    """Dies every so often, and is back after a while."""

    def __init__(
        self,
        *,
        every_seconds: float,
        down_seconds: float,
        since: float = 0.0,
        until: float = inf,
        times: float = inf,
    ) -> None:
        self._every = every_seconds
        self._down = down_seconds
        self._since = since
        self._until = until
        self._times = times

    def start(self, server: ModelServer) -> None:
        server.loop.call_at(self._since + self._every, self._die, server)

    def _die(self, server: ModelServer) -> None:
        at = server.loop.seconds
        if at < self._until and self._times > 0:
            self._times -= 1
            server.die(self._down)
            server.loop.call_at(at + self._every, self._die, server)


class Down(Fault):
    """Accepts no connection for a while; what was under way is cut."""

    def __init__(self, since: float, until: float) -> None:
        self._since = since
        self._until = until

    def start(self, server: ModelServer) -> None:
        if self._since <= 0:
            server.down_until = self._until
        else:
            server.loop.call_at(self._since, server.die, self._until - self._since)


class Poison(Fault):
    """Some prompts kill the server."""

    def __init__(
        self,
        *,
        down_seconds: float,
        after_seconds: float = 1.0,
        before_first_frame: bool = False,
        to: To | None = None,
    ) -> None:
        self._down = down_seconds
        self._after = after_seconds
        self._early = before_first_frame
        self._to = to or kind("poison")

    async def begun(self, exchange: Exchange) -> Reply | None:
        if self._early and self._to(exchange.asked):
            await exchange.wait(self._after)
            self._kill(exchange)
            await exchange.wait(0.0)
        return None

    def frame(self, exchange: Exchange, number: int) -> None:
        if number == 0 and not self._early and self._to(exchange.asked):
            exchange.server.loop.call_later(self._after, self._kill, exchange)

    def _kill(self, exchange: Exchange) -> None:
        if not exchange.ended:
            exchange.server.die(self._down)


class Hangs(Fault):
    """Takes requests and never sends a first frame."""

    def __init__(self, *, since: float = 0.0, until: float = inf, to: To = everybody) -> None:
        self._since = since
        self._until = until
        self._to = to

    async def begun(self, exchange: Exchange) -> Reply | None:
        if self._since <= exchange.server.loop.seconds < self._until and self._to(exchange.asked):
            await exchange.wait(None)
        return None


class Loads(Fault):
    """The first request waits until the model is loaded; if all leave meanwhile, it starts anew."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loaded = False
        self._began_at: float | None = None
        self._waiting = 0

    async def begun(self, exchange: Exchange) -> Reply | None:
        if self._loaded:
            return None
        at = exchange.server.loop.seconds
        self._began_at = at if self._began_at is None else self._began_at
        self._waiting += 1
        try:
            await exchange.wait(self._began_at + self._seconds - at)
            self._loaded = True
        finally:
            self._waiting -= 1
            if not self._loaded and not self._waiting:
                self._began_at = None
        return None


class Occupied(Fault):
    """Strangers hold some of its slots until a moment."""

    def __init__(self, slots: int, *, until: float, since: float = 0.0) -> None:
        self._slots = slots
        self._since = since
        self._until = until

    def start(self, server: ModelServer) -> None:
        server.loop.call_at(self._since, self._take, server)
        server.loop.call_at(self._until, self._leave, server)

    def _take(self, server: ModelServer) -> None:
        server.busy += self._slots

    def _leave(self, server: ModelServer) -> None:
        server.busy -= self._slots
        server.fill()


class Stutters(Fault):
    """Is silent for a while in the middle of every answer."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def pause(self, exchange: Exchange, number: int) -> float:
        del exchange
        return self._seconds if number == 3 else 0.0
