"""A model server on the loopback that speaks all seven dialects, well or badly.

In a test::

    async with FakeServer() as server:
        ... server.url ...
        await server.until(lambda: server.served[0].done_sent)

As a process of its own, which prints one line of JSON with its port, takes the
words ``down`` and ``up`` on its standard input and ends when that is closed::

    python -m tests.fakes.server --port 0 --rate 20 --tokens 50 \
        --faults "cut=0.1,500=0.05,fault=429 retry_after=1=0.02"

What it does with a request is said by the prompt (see plan.py) or by the plan.
It keeps a log of what it sent, so that a test can compare the tables with it;
``GET /log`` gives the log of a process.  One timer serves all slow streams.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from tests.fakes.answer import Asked, Script, Step, answer, plain, scripted
from tests.fakes.connection import Pacer, Served, ServerConnection
from tests.fakes.frames import SPEECHES
from tests.fakes.going_on import carried_of, rendered, voice_of
from tests.fakes.plan import Behaviour, Plan


class FakeServer:
    """The server; `async with` starts and stops it."""

    def __init__(
        self,
        plan: Plan | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        log: Path | None = None,
    ) -> None:
        self.plan = plan or Plan()
        self.scripts: dict[str, Script] = {}  # by path
        self.served: list[Served] = []
        self.accepted = 0
        self.connections: set[ServerConnection] = set()
        self.port = port
        self._tls = tls
        self._log = log.open("a") if log else None
        self._listener: asyncio.Server | None = None
        self._watchers: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._pacer = Pacer()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()
        if self._log:
            self._log.close()

    async def up(self) -> None:
        """Accept connections, on the same port as before."""
        if self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(
                lambda: ServerConnection(self), "127.0.0.1", self.port, ssl=self._tls, backlog=4096
            )
            self.port = self._listener.sockets[0].getsockname()[1]
            self.changed()

    async def down(self, *, for_seconds: float | None = None) -> None:
        """Refuse connections and reset those that are open."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        for connection in list(self.connections):
            connection.reset()
        await self.until(lambda: not self.connections)
        if for_seconds is not None:
            self._pacer.at(asyncio.get_running_loop().time() + for_seconds, self._up_again)

    def _up_again(self) -> None:
        self._rising = asyncio.ensure_future(self.up())

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Wait until something that this server does or sees has happened."""
        if not predicate():
            waiting = asyncio.get_running_loop().create_future()
            self._watchers.append((predicate, waiting))
            await waiting

    def changed(self) -> None:
        """Something happened."""
        for watcher in [watcher for watcher in self._watchers if watcher[0]()]:
            self._watchers.remove(watcher)
            if not watcher[1].done():
                watcher[1].set_result(None)

    def close_idle(self) -> None:
        """Close the connections that carry nothing, as servers do after a while."""
        for connection in list(self.connections):
            connection.close_if_idle()

    def steps(self, asked: Asked, served: Served) -> Iterator[Step]:
        """What to do about a request."""
        if asked.path in self.scripts:
            return scripted(self.scripts[asked.path], asked.method)
        if asked.path == "/log":
            return plain(200, json.dumps([dataclasses.asdict(one) for one in self.served]).encode())
        if asked.method == "GET":
            return plain(200, b'{"status":"ok"}')
        carried = carried_of(asked.json)
        voice = self._voice(served.prompt, carried) if carried else None
        if (answer_ := rendered(asked.path, asked.json, goes_on=voice is not None)) is not None:
            served.is_question = True
            return plain(200, answer_)
        if (speech := SPEECHES.get(asked.path)) is None:
            return plain(404, b'{"error":{"message":"no such path","code":404}}')
        behaviour = self.plan.decide(served.prompt)
        if voice is not None:
            behaviour = dataclasses.replace(behaviour, voice=voice, thinking=0)
            served.carried = carried
        elif behaviour.own:
            behaviour = dataclasses.replace(behaviour, voice=f"{asked.request_id} ")
        served.behaviour, served.fault = behaviour, behaviour.fault
        return answer(asked, speech, behaviour, served.carried)

    def _voice(self, prompt: str, carried: str) -> str | None:
        earlier = ((s.prompt, s.behaviour) for s in reversed(self.served) if not s.is_question)
        return voice_of(earlier, prompt, carried)

    def over(self, served: Served, how: str) -> None:
        """A request is dealt with."""
        served.ended = how
        if self._log:
            self._log.write(json.dumps(dataclasses.asdict(served)) + "\n")
            self._log.flush()
        self.changed()

    def fall(self, served: Served) -> None:
        """Be down for as long as the prompt, or the plan, asks."""
        falling = self.down(for_seconds=served.behaviour.seconds)
        self._falling = asyncio.ensure_future(falling)

    def at(self, when: float, call: Callable[[], None]) -> None:
        self._pacer.at(when, call)


def closed_port() -> int:
    """A port of the loopback on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def _serve(server: FakeServer) -> None:
    """Run until standard input is closed."""
    loop = asyncio.get_running_loop()
    commands: asyncio.Queue[str] = asyncio.Queue()

    def listen() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(commands.put_nowait, line.strip())
        loop.call_soon_threadsafe(commands.put_nowait, "")

    async with server:
        sys.stdout.write(json.dumps({"port": server.port, "url": server.url}) + "\n")
        sys.stdout.flush()
        threading.Thread(target=listen, daemon=True).start()
        while True:
            match await commands.get():
                case "down":
                    await server.down()
                case "up":
                    await server.up()
                case "":
                    return


def main() -> None:
    parser = argparse.ArgumentParser(description="A model server that can misbehave.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", default="", help="fault or directive=probability,...")
    parser.add_argument("--log", type=Path, help="a file that gets a line for each request")
    parser.add_argument("--behaviour", default="", help="what a directive says, for every prompt")
    for name, kind in (("tokens", int), ("rate", float), ("delay", float)):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Behaviour, name))
    options = parser.parse_args()
    told = Behaviour(tokens=options.tokens, rate=options.rate, delay=options.delay)
    chances = dict(item.rsplit("=", 1) for item in options.faults.split(",") if item)
    plan = Plan(
        told.told(f"[[{options.behaviour}]]"),
        options.seed,
        {fault: float(chance) for fault, chance in chances.items()},
    )
    server = FakeServer(plan, port=options.port, log=options.log)
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(server))
    else:
        uvloop.run(_serve(server))


if __name__ == "__main__":
    main()
