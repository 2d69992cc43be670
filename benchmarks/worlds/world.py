"""What a world is made of: a queue, a server, the processes that work, and the cure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.worlds.loop import WorldLoop
from benchmarks.worlds.network import Server
from benchmarks.worlds.tally import Tally

MINUTE = 60.0
HOUR = 3600.0
MODEL = "small"
URL = "http://model.test/v1"


@dataclass(frozen=True)
class Ask:
    """Prompts of the queue that are alike.

    Attributes:
        count: how many.
        seconds: how long an answer takes.
        kind: what is the matter with them; "" for innocent ones.
        more: further fields of the prompts: model, options, max_attempts.
    """

    count: int
    seconds: float
    kind: str = ""
    batch: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """A process that a person, or a supervisor, starts.

    Attributes:
        at: when, in seconds since the world began.
        until: when it is told to stop, twice; None: when the world ends.
        host: on which it runs.
        drain: `run --drain`.
        again_after: seconds after which a supervisor starts it again when it has ended by itself.
        endpoint: settings of the endpoint that differ from the world's.
    """

    at: float = 0.0
    until: float | None = None
    host: str = "a"
    drain: bool = False
    again_after: float | None = None
    endpoint: Mapping[str, Any] = field(default_factory=dict)


ServersOf = Callable[[WorldLoop, Tally], Mapping[str, Server]]


@dataclass(frozen=True)
class World:
    """One world.

    Attributes:
        about: what is wrong in it, for the table.
        asks: the queue, in its order.
        servers: makes the servers, by host name.
        at_a_time: how many innocent prompts could be answered at a time by all that is there.
        cure_at: when what is wrong is over; None: never.
        horizon: when we stop looking.
        shuffled: whether the queue is in the order of chance.
        why: why innocent prompts fail, where they may.
        cut_off: hosts without a route.
    """

    name: str
    about: str
    asks: Sequence[Ask]
    servers: ServersOf
    at_a_time: int
    starts: Sequence[Start] = (Start(),)
    endpoint: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    cure_at: float | None = None
    horizon: float = 12 * HOUR
    shuffled: bool = False
    why: str = ""
    cut_off: frozenset[str] = frozenset()

    def smaller(self, *, by: int) -> World:
        """The same world with a shorter queue; of each kind of prompt at least one is left."""
        asks = [replace(ask, count=max(1, ask.count // by)) for ask in self.asks]
        return replace(self, asks=asks)
