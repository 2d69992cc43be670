"""One connection of the fake server: it takes requests and carries out the steps of answers."""

from __future__ import annotations

import asyncio
import dataclasses
import heapq
import itertools
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import httptools

from tests.fakes.answer import Asked, Bytes, End, Pause, Raw, Step
from tests.fakes.frames import prompt_of
from tests.fakes.going_on import tokens_of
from tests.fakes.plan import Behaviour

_GATHER_BYTES = 16 * 1024  # of frames that go out in one write
_STEPS_PER_TURN = 2000  # then other connections get theirs
_PROGRESS_SECONDS = 0.05  # how finely the progress of an answer is kept


@dataclasses.dataclass
class Served:
    """What became of one request.

    `chars_sent` characters of `said_by(served)` were handed to the socket, and `done_sent` says
    whether the done frame was.  `ended` is an End, or "left" when the client closed first.
    Times are monotonic seconds, which the processes of one machine share; `progress` holds
    pairs of a time and the characters sent by then.
    """

    number: int
    connection: int
    method: str
    path: str
    prompt: str
    headers: Mapping[str, str]
    body_bytes: int
    request_id: str
    asked_at: float
    behaviour: Behaviour = dataclasses.field(default_factory=Behaviour)
    fault: str = "none"
    carried: str = ""  # the text that it was asked to go on with, and does
    is_question: bool = False  # for the prompt that would be rendered, not for an answer
    tokens_sent: int = 0
    chars_sent: int = 0
    bytes_sent: int = 0
    done_sent: bool = False
    blocked: bool = False  # the client does not read, the socket is full
    ended: str | None = None
    ended_at: float | None = None
    progress: list[tuple[float, int]] = dataclasses.field(default_factory=list)


def said_by(served: Served) -> str:
    """What the run has if it stored all that was sent: `chars_sent` characters behind the rest."""
    behaviour = served.behaviour
    tokens = list(tokens_of(behaviour, served.prompt, served.carried, behaviour.tokens))
    if behaviour.fault == "huge":
        tokens.insert(behaviour.after, "x" * behaviour.size)
    return served.carried + "".join(tokens)[: served.chars_sent]


class Host(Protocol):
    """What a connection needs of its server."""

    served: list[Served]
    accepted: int
    connections: set[ServerConnection]

    def steps(self, asked: Asked, served: Served) -> Iterator[Step]: ...
    def changed(self) -> None: ...
    def over(self, served: Served, how: str) -> None: ...
    def fall(self, served: Served) -> None: ...
    def at(self, when: float, call: Callable[[], None]) -> None: ...


class Pacer:
    """One timer for everything that happens later."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._armed: asyncio.Handle | None = None
        self._rings_at = 0.0  # uvloop's handles do not say

    def at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when, next(self._order), call))
        if self._armed is None or when < self._rings_at:
            self._arm()

    def _arm(self) -> None:
        if self._armed is not None:
            self._armed.cancel()
        loop = asyncio.get_running_loop()
        self._rings_at = max(self._due[0][0], loop.time() + 0.002)
        self._armed = loop.call_at(self._rings_at, self._ring)

    def _ring(self) -> None:
        self._armed = None
        now = asyncio.get_running_loop().time()
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()
        if self._due and self._armed is None:
            self._arm()


class ServerConnection(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, server: Host) -> None:
        self._server = server
        self._served: Served | None = None
        self._steps: Iterator[Step] | None = None
        self._full = False
        self._waiting = False
        self._due = 0.0
        self._parser = httptools.HttpRequestParser(self)
        self._asked = Asked("", "", {}, b"")

    # The request, told by httptools.

    def on_message_begin(self) -> None:
        self._asked = Asked("", "", {}, b"")

    def on_url(self, url: bytes) -> None:
        self._asked.path += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._asked.headers = {**self._asked.headers, name.decode().lower(): value.decode()}

    def on_body(self, body: bytes) -> None:
        self._asked.body += body

    def on_message_complete(self) -> None:
        asked, server = self._asked, self._server
        asked.method = self._parser.get_method().decode()
        number, prompt = len(server.served), prompt_of(asked.json)
        asked.request_id = f"req-{number}"
        facts = (asked.method, asked.path, prompt, asked.headers, len(asked.body))
        self._served = Served(number, self.number, *facts, asked.request_id, time.monotonic())
        server.served.append(self._served)
        self._steps = server.steps(asked, self._served)
        self._due = asyncio.get_running_loop().time()
        server.changed()
        self._drive()

    # The socket, told by asyncio.

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._server.accepted += 1
        self.number = self._server.accepted
        self._server.connections.add(self)
        self._server.changed()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:  # TLS, perhaps, where none is spoken
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._finish("left")
        self._server.changed()

    def pause_writing(self) -> None:
        self._full = True
        if self._served is not None:
            self._served.blocked = True
            self._server.changed()

    def resume_writing(self) -> None:
        self._full = False
        self._drive()

    def close_if_idle(self) -> None:
        if self._served is None:
            self._transport.close()

    def reset(self) -> None:
        """Close with RST."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    # The answer.

    def _drive(self) -> None:
        """Carry out steps until one of them waits."""
        out: list[bytes] = []
        size = 0
        for _ in range(_STEPS_PER_TURN):
            if self._steps is None or self._full or self._waiting:
                break
            step = next(self._steps, End.HANG)
            if isinstance(step, Bytes | Raw):
                out.append(step.data)
                size += len(step.data)
                self._note(step)
            if size >= _GATHER_BYTES or not isinstance(step, Bytes | Raw):
                self._write(out)
                size = 0
            if isinstance(step, Pause):
                self._wait(step.seconds)
            elif isinstance(step, End):
                self._end(step)
                return
        else:
            asyncio.get_running_loop().call_soon(self._drive)
        self._write(out)

    def _note(self, step: Bytes | Raw) -> None:
        if self._served is not None and isinstance(step, Bytes):
            self._served.tokens_sent += step.tokens
            self._served.chars_sent += step.chars
            self._served.done_sent |= step.done

    def _write(self, out: list[bytes]) -> None:
        if out and self._served is not None and not self._transport.is_closing():
            data = b"".join(out)
            out.clear()
            self._served.bytes_sent += len(data)
            self._transport.write(data)
            self._keep_time(self._served)
            self._server.changed()

    def _keep_time(self, served: Served) -> None:
        now = time.monotonic()
        if len(served.progress) > 1 and now - served.progress[-2][0] < _PROGRESS_SECONDS:
            served.progress.pop()
        served.progress.append((round(now, 3), served.chars_sent))

    def _wait(self, seconds: float) -> None:
        """Go on when the time is due, counted from when it should have been last time."""
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now - 1.0) + seconds
        self._waiting = True
        self._server.at(self._due, self._go_on)

    def _go_on(self) -> None:
        self._waiting = False
        self._drive()

    def _end(self, end: End) -> None:
        self._steps = None
        if end is End.HANG:
            return  # the request stays open until the client leaves
        served = self._served
        self._finish(end.value)
        if end is End.CLOSE:
            self._transport.close()
        elif end is End.RESET:
            self.reset()
        elif end is End.DOWN and served is not None:
            self._server.fall(served)

    def _finish(self, how: str) -> None:
        self._steps = None
        served, self._served = self._served, None
        if served is not None:
            served.ended_at = time.monotonic()
            self._server.over(served, how)
