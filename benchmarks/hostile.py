"""Hostile servers beside a healthy one: how long the event loop stands still, and what is held.

`python -m benchmarks.hostile [--seconds N]`.  The servers are processes of their own.  Each
behaviour is asked again as soon as its stream has ended; the healthy stream runs all the while.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import lru_cache

from worker.clock import SystemClock
from worker.errors import SpoolError
from worker.http.stream import Stream
from worker.records import Endpoint, Request, Run
from worker.run.buffer import Budget, Limits
from worker.run.context import check_size
from worker.run.deadlines import Deadlines
from worker.run.writer import RunWriter
from worker.wire import DIALECTS

BUDGET_BYTES = 64 * 1024 * 1024
TICK_SECONDS = 0.5
STREAMS = 4  # of each behaviour
CHAT = DIALECTS["openai-chat"]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\3"


def delta(text: str) -> bytes:
    said = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return b"data: " + json.dumps(said).encode() + b"\n\n"


@lru_cache(maxsize=2)
def packed(unit: bytes, size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = unit * (65536 // len(unit))
    return b"".join(packer.compress(block) for _ in range(size // 65536)) + packer.flush()


async def again(data: bytes, *, first: bytes = b"", pause: float = 0.0) -> AsyncIterator[bytes]:
    yield first + data
    while True:
        await asyncio.sleep(pause)
        yield data


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data
    await asyncio.sleep(3600)


def tools() -> bytes:
    call = b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":%d,"function":{"arguments":"\\ud800"}}]}}]}\n\n'
    return b"".join(call % number for number in range(3000))


BEGUN = b'data: {"choices":[{"index":0,"delta":{"content":"'
VALUES = b'data: {"choices":['
HOSTILE: dict[str, tuple[bytes, Callable[[], AsyncIterator[bytes]]]] = {
    "bomb": (b"content-encoding: gzip\r\n", lambda: once(packed(b"\n", 1 << 25))),
    "bomb of braces": (b"content-encoding: gzip\r\n", lambda: once(packed(b"{}\n", 1 << 25))),
    "empty blocks": (
        b"content-encoding: gzip\r\n",
        lambda: again(b"\0\0\0\xff\xff", first=GZIP_HEAD, pause=TICK_SECONDS),
    ),
    "empty deltas": (b"", lambda: again(delta(""), first=delta("x"), pause=TICK_SECONDS)),
    "blank lines": (b"", lambda: again(b"\n" * 65536)),
    "comments": (b"", lambda: again(b":\n" * 32768)),
    "braces": (b"", lambda: again(b"{}\n" * 21845)),
    "long frame": (b"", lambda: again(b"A" * 65536, first=BEGUN)),
    "many values": (b"", lambda: again(b"{}," * 21845, first=VALUES)),
    "numbers": (b"", lambda: again(b"1," * 32768, first=VALUES)),
    "open calls": (b"", lambda: again(tools())),
    "endless text": (b"", lambda: again(delta("x" * 100) * 500)),
}


async def _serve(port: multiprocessing.Queue[int]) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            name = head.split(b" ")[1].decode().strip("/").replace("%20", " ")
            fields, body = HOSTILE.get(
                name, (b"", lambda: again(delta("word "), pause=TICK_SECONDS / 10))
            )
            writer.write(HEAD + fields + CHUNKED)
            async for data in body():
                writer.write(b"%x\r\n%b\r\n" % (len(data), data))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port.put(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


def _server(port: multiprocessing.Queue[int]) -> None:
    asyncio.run(_serve(port))


class Watch:
    """The longest stretch of processor time that the loop spent between two of its turns."""

    def __init__(self) -> None:
        self.worst_seconds = 0.0
        self.turns = 0

    async def run(self) -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(0.01)
            now = time.thread_time()
            self.worst_seconds = max(self.worst_seconds, now - before)
            self.turns += 1
            before = now


async def carried(
    stream: Stream, endpoint: Endpoint, budget: Budget, run_id: int, kept: Counter[str]
) -> str:
    """One run as the pipeline carries it, but for the database; why it ended."""

    async def stored() -> None:
        """Nothing is stored."""

    def submit(run: int, chunks: object, ending: object = None) -> asyncio.Future[None]:
        del run, chunks, ending
        return asyncio.ensure_future(stored())

    clock = SystemClock()
    deadlines = Deadlines(endpoint, started_at=clock.monotonic())
    run = Run(run_id, run_id, 1, 1, 1, endpoint.name, "m")
    request = Request(endpoint.base_url, b"", {})
    try:
        with RunWriter(run, submit, Limits(), budget, on_failure=lambda _: None) as writer:
            async with stream.open(request, endpoint, CHAT) as reader:
                decoder = CHAT.decoder(
                    endpoint, max_frame_bytes=1 << 24, content_type=reader.content_type
                )
                while True:
                    data = await reader.read(max(0.0, deadlines.next_at - clock.monotonic()))
                    now = clock.monotonic()
                    writer.keep(decoder.close() if data is None else decoder.feed(data), at=now)
                    deadlines.progressed(decoder.progress, at=now)
                    kept[endpoint.name] += bool(data)
                    check_size(writer.buffer, decoder, endpoint)
                    deadlines.check(at=now)
                    await writer.flush_if_due(at=now)
    except SpoolError as error:
        return f"{error.code}"


async def measured(ports: tuple[int, int], seconds: float) -> None:
    stream, budget, watch = Stream(clock=SystemClock()), Budget(BUDGET_BYTES), Watch()
    ends: dict[str, Counter[str]] = {name: Counter() for name in (*HOSTILE, "healthy")}
    kept: Counter[str] = Counter()
    most_bytes = 0

    async def ask(name: str, number: int) -> None:
        nonlocal most_bytes
        endpoint = Endpoint(
            name=name,
            dialect=CHAT.name,
            base_url=f"http://127.0.0.1:{ports[name == 'healthy']}/{name.replace(' ', '%20')}",
            model="m",
            first_frame_timeout_seconds=5,
            idle_timeout_seconds=5,
            max_output_bytes=1 << 22 if name != "healthy" else 1 << 30,
        )
        while True:
            ends[name][await carried(stream, endpoint, budget, number, kept)] += 1
            most_bytes = max(most_bytes, budget.used_bytes)

    watching = asyncio.ensure_future(watch.run())
    names = [*(name for name in HOSTILE for _ in range(STREAMS)), "healthy"]
    asking = [asyncio.ensure_future(ask(name, number)) for number, name in enumerate(names)]
    await asyncio.sleep(seconds)
    for task in (watching, *asking):
        task.cancel()
    await asyncio.gather(watching, *asking, return_exceptions=True)
    await stream.aclose()
    print("| server | how its streams ended |\n| --- | --- |")
    for name, how in ends.items():
        print(
            f"| {name} | {', '.join(f'{number} {code}' for code, number in how.items()) or '-'} |"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"\nlongest stand-still of the loop: {watch.worst_seconds * 1000:.0f} ms of processor time"
    )
    print(f"turns of the loop that were seen: {watch.turns} in {seconds:g} s")
    print(
        f"reads of the healthy stream: {kept['healthy']}; it ended {sum(ends['healthy'].values())} times"
    )
    print(f"peak resident memory: {peak} MiB; budget in use at an end: {most_bytes} bytes at most")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    given = parser.parse_args()
    port: multiprocessing.Queue[int] = multiprocessing.Queue()
    servers = [multiprocessing.Process(target=_server, args=(port,), daemon=True) for _ in range(2)]
    for server in servers:  # the healthy one has a process of its own
        server.start()
    try:
        asyncio.run(measured((port.get(), port.get()), given.seconds))
    finally:
        for server in servers:
            server.terminate()


if __name__ == "__main__":
    main()
