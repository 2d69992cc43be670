"""Open many streams: `python -m benchmarks.opening CLIENT URL STREAMS`; time until the last has its headers."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import httpx
import uvloop

from benchmarks import harness
from worker.clock import SystemClock
from worker.http.stream import Stream
from worker.records import Endpoint, Run
from worker.wire import DIALECTS


async def _spool(url: str, streams: int) -> None:
    dialect, stream = DIALECTS["ollama-chat"], Stream(clock=SystemClock())
    endpoint = Endpoint("bench", "ollama-chat", url, "m", connect_timeout_seconds=120)

    async def one(number: int) -> None:
        run = Run(number, number, 1, 1, 5, "bench", "m", prompt="go")
        async with stream.open(dialect.request(endpoint, run), endpoint, dialect):
            await all_there.arrive()

    all_there = Gate(streams)
    await asyncio.gather(*(one(number) for number in range(streams)))
    await stream.aclose()


async def _httpx(url: str, streams: int) -> None:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    client = httpx.AsyncClient(timeout=None, limits=limits)
    body: dict[str, Any] = {"stream": True, "messages": [{"role": "user", "content": "go"}]}

    async def one() -> None:
        async with client.stream("POST", f"{url}/api/chat", json=body):
            await all_there.arrive()

    all_there = Gate(streams)
    await asyncio.gather(*(one() for _ in range(streams)))
    await client.aclose()


class Gate:
    """Lets everybody go when the last one is there, so that all streams are open at once."""

    def __init__(self, expected: int) -> None:
        self._missing = expected
        self._open = asyncio.Event()

    async def arrive(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._open.set()
        await self._open.wait()


def main() -> None:
    name, url, streams = sys.argv[1:]
    began = time.perf_counter()
    cpu = time.process_time()
    uvloop.run((_spool if name == "spool" else _httpx)(url, int(streams)))
    harness.report(
        seconds=time.perf_counter() - began,
        cpu=time.process_time() - cpu,
        rss=harness.peak_rss_mib(),
    )


if __name__ == "__main__":
    main()
