"""One reader of a stream, for some seconds: `python -m benchmarks.readers NAME URL DIALECT SECONDS`.

Each does what the documentation of its library shows, and hands every token to nobody.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter
from typing import Any, Literal

from benchmarks import frames, harness

WARM_UP_SECONDS = 0.15
LOOK_EVERY = 512  # frames between two looks at the clock
REQUEST = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "go"}]}

Reader = Callable[[str, str, float], None]


class Meter:
    """Counts frames, and knows when it is enough."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = 0.0
        self._warm_at = time.perf_counter() + WARM_UP_SECONDS

    def enough(self, frames_so_far: int) -> bool:
        now = time.perf_counter()
        if not self._began:
            if now >= self._warm_at:
                self._began, self._first, self._cpu = now, frames_so_far, time.process_time()
            return False
        if now - self._began < self._seconds:
            return False
        seconds, count = now - self._began, frames_so_far - self._first
        cpu_seconds = time.process_time() - self._cpu
        harness.report(frames=count / cpu_seconds, busy=cpu_seconds / seconds)
        return True


def each(tokens: Iterable[Any], seconds: float, text: Callable[[Any], object]) -> None:
    """Take tokens one by one."""
    meter = Meter(seconds)
    for number, token in enumerate(tokens, 1):
        text(token)
        if not number % LOOK_EVERY and meter.enough(number):
            return


def spool(url: str, dialect: str, seconds: float, transport: Literal["fast", "httpx"]) -> Any:
    """What a worker does with a response, up to the events."""
    from worker.clock import SystemClock
    from worker.http.stream import Stream
    from worker.records import Endpoint, Run
    from worker.wire import DIALECTS

    async def main() -> None:
        endpoint = Endpoint("bench", dialect, frames.base_url(dialect, url), "m")
        run = Run(1, 1, 1, 1, 5, "bench", "m", prompt="go")
        wire = DIALECTS[dialect]
        meter = Meter(seconds)
        stream = Stream(clock=SystemClock(), transport=transport)
        async with stream.open(wire.request(endpoint, run), endpoint, wire) as reader:
            decoder = wire.decoder(endpoint, max_frame_bytes=16 << 20)
            while (data := await reader.read(5)) is not None:
                decoder.feed(data)
                if meter.enough(decoder.frames):
                    break
        await stream.aclose()

    return main()


def spool_uvloop(url: str, dialect: str, seconds: float) -> None:
    import uvloop

    uvloop.run(spool(url, dialect, seconds, "fast"))


def spool_pure(url: str, dialect: str, seconds: float) -> None:
    from worker.wire.framing import template

    template.pour = None
    spool_uvloop(url, dialect, seconds)


def spool_asyncio(url: str, dialect: str, seconds: float) -> None:
    asyncio.run(spool(url, dialect, seconds, "fast"))


def spool_httpx(url: str, dialect: str, seconds: float) -> None:
    import uvloop

    uvloop.run(spool(url, dialect, seconds, "httpx"))


def _of_line(dialect: str) -> tuple[Callable[[Any], str], Any]:
    """What to decode a line of Ollama to, and how to get its text."""
    import msgspec

    struct = partial(msgspec.defstruct, gc=False)
    if dialect == "ollama-generate":
        return attrgetter("response"), struct("Line", [("response", str), ("done", bool)])
    message = struct("Message", [("content", str)])
    return attrgetter("message.content"), struct("Line", [("message", message), ("done", bool)])


def httpx_msgspec(url: str, dialect: str, seconds: float) -> None:
    """The best that can be had of httpx itself: raw bytes, our own lines, msgspec."""
    import httpx
    import msgspec

    text, line_type = _of_line(dialect)
    decode = msgspec.json.Decoder(line_type).decode

    async def main() -> None:
        meter, rest, count = Meter(seconds), b"", 0
        client = httpx.AsyncClient(timeout=None)
        async with client.stream("POST", url + frames.PATHS[dialect], json=REQUEST) as answer:
            async for data in answer.aiter_raw():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    text(decode(line))
                count += len(lines)
                if meter.enough(count):
                    break

    asyncio.run(main())


def httpx_lines(url: str, dialect: str, seconds: float) -> None:
    """What most people write."""
    import httpx

    prefix = len("data: ") if dialect.startswith("openai") else 0

    async def main() -> None:
        meter, count = Meter(seconds), 0
        client = httpx.AsyncClient(timeout=None)
        async with client.stream("POST", url + frames.PATHS[dialect], json=REQUEST) as answer:
            async for line in answer.aiter_lines():
                if line:
                    json.loads(line[prefix:])
                    count += 1
                    if not count % LOOK_EVERY and meter.enough(count):
                        break

    asyncio.run(main())


def aiohttp_msgspec(url: str, dialect: str, seconds: float) -> None:
    """Another client with a C parser."""
    import aiohttp
    import msgspec

    text, line_type = _of_line(dialect)
    decode = msgspec.json.Decoder(line_type).decode

    async def main() -> None:
        meter, rest, count = Meter(seconds), b"", 0
        async with (
            aiohttp.ClientSession(trust_env=True) as session,
            session.post(url + frames.PATHS[dialect], json=REQUEST) as answer,
        ):
            async for data in answer.content.iter_any():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    text(decode(line))
                count += len(lines)
                if meter.enough(count):
                    break

    asyncio.run(main())


def requests_lines(url: str, dialect: str, seconds: float) -> None:
    import requests

    def text(line: bytes) -> str:
        said = json.loads(line)
        return said["response"] if dialect == "ollama-generate" else said["message"]["content"]

    answer = requests.post(url + frames.PATHS[dialect], json=REQUEST, stream=True, timeout=10)
    each(answer.iter_lines(), seconds, text)


def ollama(url: str, dialect: str, seconds: float) -> None:
    import ollama

    client = ollama.Client(url)
    if dialect == "ollama-generate":
        parts = client.generate(model="m", prompt="go", stream=True)
        each(parts, seconds, lambda part: part.response)
    else:
        parts = client.chat(model="m", messages=REQUEST["messages"], stream=True)
        each(parts, seconds, lambda part: part.message.content)


def openai(url: str, dialect: str, seconds: float) -> None:
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    answer = client.chat.completions.create(model="m", messages=REQUEST["messages"], stream=True)
    each(answer, seconds, lambda chunk: chunk.choices[0].delta.content)


READERS: dict[str, Reader] = {
    "spool": spool_uvloop,
    "spool-pure": spool_pure,
    "spool-asyncio": spool_asyncio,
    "spool-httpx": spool_httpx,
    "requests": requests_lines,
    "aiohttp": aiohttp_msgspec,
    "httpx-msgspec": httpx_msgspec,
    "httpx-lines": httpx_lines,
    "ollama": ollama,
    "openai": openai,
}

if __name__ == "__main__":
    READERS[sys.argv[1]](sys.argv[2], sys.argv[3], float(sys.argv[4]))
