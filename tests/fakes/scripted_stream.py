"""A stream that says what a test tells it to say, and moves the clock while it waits.

A response is a list of steps: bytes are one network read; `Pause` lets time pass
in which nothing arrives; `HOLD` waits until the test pushes something (or the
reader is cancelled); `Do` calls something meanwhile; `END` is a clean end of the
body; an exception is raised.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf

from tests.fakes.aio import turns
from tests.fakes.clock import FakeClock
from worker.errors import Refused, SpoolError
from worker.records import Endpoint, Request, Run
from worker.wire import DIALECTS
from worker.wire.events import Dialect

CHAT = DIALECTS["openai-chat"]
SECRET = "sk-very-secret"


@dataclass(frozen=True)
class Pause:
    """Nothing arrives for so long."""

    seconds: float


class Mark:
    """A step that is no data."""


HOLD = Mark()
END = Mark()


@dataclass(frozen=True)
class Do:
    """Something happens elsewhere meanwhile."""

    what: Callable[[], object]


Step = bytes | Pause | Do | Mark | Exception


def event(value: object) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(value)}\n\n".encode()


def say(text: str) -> bytes:
    """A frame of a chat completion that carries text."""
    return event({"choices": [{"index": 0, "delta": {"content": text}}]})


def think(text: str) -> bytes:
    """A frame that carries a thought."""
    return event({"choices": [{"index": 0, "delta": {"reasoning_content": text}}]})


STOP = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
USAGE = event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}})
DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"


def endpoint(**changes: object) -> Endpoint:
    """A place that speaks chat completions."""
    values: dict[str, object] = {
        "name": "default",
        "dialect": "openai-chat",
        "base_url": "http://model.test/v1",
        "model": "small",
    }
    return Endpoint(**{**values, **changes})


def run(id_: int = 1, **changes: object) -> Run:
    """A claimed run."""
    values: dict[str, object] = {
        "id": id_,
        "prompt_id": 100 + id_,
        "attempt": 1,
        "attempts": 1,
        "max_attempts": 5,
        "endpoint": "default",
        "model": "small",
        "prompt": "Say something.",
    }
    return Run(**{**values, **changes})


def is_canary(request: Request) -> bool:
    """Whether it asks for a token, and not for the answer to a prompt."""
    return request.method == "POST" and b'"content":"Hi"' in request.body


class ScriptedReader:
    """One response."""

    def __init__(self, steps: Iterable[Step], clock: FakeClock) -> None:
        self.status = 200
        self.content_type: str | None = "text/event-stream"
        self.request_id: str | None = "req-1"
        self.waits: list[float | None] = []
        self.drained = False
        self._steps = deque(steps)
        self._clock = clock
        self._pushed = asyncio.Event()
        self.holding = asyncio.Event()

    def push(self, *steps: Step) -> None:
        """What comes after HOLD."""
        self._steps.extend(steps)
        self._pushed.set()

    async def read(self, wait_seconds: float | None) -> bytes | None:
        self.waits.append(wait_seconds)
        await asyncio.sleep(0)
        left = inf if wait_seconds is None else wait_seconds
        while True:
            step = self._steps.popleft()
            if isinstance(step, bytes):
                return step
            if step is END:
                self._steps.appendleft(END)
                return None
            if isinstance(step, Exception):
                raise step
            if isinstance(step, Do):
                step.what()
                await turns()
                continue
            if isinstance(step, Pause):
                if step.seconds > left:
                    self._clock.move(left)
                    self._steps.appendleft(Pause(step.seconds - left))
                    return b""
                self._clock.move(step.seconds)
                left -= step.seconds
                continue
            self._pushed.clear()
            self.holding.set()
            await self._pushed.wait()

    async def drain(self) -> None:
        self.drained = True

    def redact(self, text: str) -> str:
        return text.replace(SECRET, "[redacted]")


class ScriptedStream:
    """Implements worker.endpoints.canary.ProbingStream.

    Attributes:
        responses: what the next requests get: the steps of a response, a reader, or an error.
        usual: what a request gets when `responses` is empty.
        probes: canaries that were sent, and plain GETs.
        canaries: their requests.
        alive: None, or the error with which a canary or a plain GET fails.
        on_close: an error raised when a response is left.
    """

    def __init__(
        self, clock: FakeClock, *responses: Iterable[Step] | ScriptedReader | SpoolError
    ) -> None:
        self.clock = clock
        self.responses = deque(responses)
        self.usual: Callable[[], Iterable[Step]] | None = None
        self.requests: list[Request] = []
        self.canaries: list[Request] = []
        self.readers: list[ScriptedReader] = []
        self.closed = 0
        self.probes = 0
        self.alive: Exception | None = None
        self.on_close: Exception | None = None
        self.alive_for: Callable[[Request], Exception | None] = lambda _: None
        self.canary_steps: list[Step] | None = None  # what a canary is answered
        self.canary_reads: Callable[[float | None], Awaitable[bytes | None]] | None = None
        self.probing: asyncio.Event | None = None  # set: probes wait for it

    @asynccontextmanager
    async def open(
        self, request: Request, endpoint: Endpoint, dialect: Dialect
    ) -> AsyncIterator[ScriptedReader]:
        if is_canary(request):
            self.canaries.append(request)
            await self.probe(endpoint, dialect)
            if (error := self.alive_for(request)) is not None:
                raise error
            steps = self.canary_steps or [say("Hi"), DONE]
            reader = ScriptedReader([*steps, END], self.clock)
            if self.canary_reads is not None:
                reader.read = self.canary_reads
            yield reader
            return
        if request.url.endswith(("/apply-template", "/tokenize")):
            raise Refused("HTTP 404: there is no such place", http_status=404)
        self.requests.append(request)
        await asyncio.sleep(0)
        response = self.responses.popleft() if self.responses else self._usual()
        if isinstance(response, SpoolError):
            raise response
        reader = (
            response
            if isinstance(response, ScriptedReader)
            else ScriptedReader(response, self.clock)
        )
        self.readers.append(reader)
        try:
            yield reader
        finally:
            self.closed += 1
        if self.on_close is not None:
            raise self.on_close

    async def probe(self, endpoint: Endpoint, dialect: Dialect) -> None:
        self.probes += 1
        if self.probing is not None:
            await self.probing.wait()
        if self.alive is not None:
            raise self.alive

    def _usual(self) -> Iterable[Step]:
        assert self.usual is not None, "a request that the test did not expect"
        return self.usual()
