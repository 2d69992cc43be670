"""One worker under load: `python -m benchmarks.carrying KIND DATABASE_URL CONFIG STREAMS RAMP SECONDS`.

KIND is `spool`, the worker as `spool run --drain` builds it, or `naive`, what people
write first: httpx and json.loads, a buffer for each stream, a commit for each flush.
Measured is a window of time in which every stream runs; see pipeline.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import databases, harness

FLUSH_SECONDS = 1.0
LAG_STEP_SECONDS = 0.01


class Window:
    """Processor time and lag of the event loop between two moments."""

    def __init__(self, ramp_seconds: float, seconds: float) -> None:
        self._ramp_seconds = ramp_seconds
        self._seconds = seconds
        self.done = asyncio.Event()
        self.found: dict[str, Any] = {}

    async def watch(self, url: str) -> None:
        await asyncio.sleep(self._ramp_seconds)
        clock = "strftime('%Y-%m-%d %H:%M:%f','now')" if url.startswith("sqlite") else "now()::text"
        from_ = await asyncio.to_thread(databases.ask, url, f"SELECT {clock}")
        began, cpu, lags = time.perf_counter(), time.process_time(), []
        written = harness.bytes_written()
        while (now := time.perf_counter()) < began + self._seconds:
            await asyncio.sleep(LAG_STEP_SECONDS)
            lags.append(time.perf_counter() - now - LAG_STEP_SECONDS)
        seconds, cpu = now - began, time.process_time() - cpu
        written = harness.bytes_written() - written
        until = await asyncio.to_thread(databases.ask, url, f"SELECT {clock}")
        lags.sort()
        self.found = {
            "from": from_[0][0],
            "until": until[0][0],
            "seconds": seconds,
            "cpu": cpu / seconds,
            "lag_p50": lags[len(lags) // 2] * 1000,
            "lag_p99": lags[int(len(lags) * 0.99)] * 1000,
            "lag_max": lags[-1] * 1000,
            "rss": harness.peak_rss_mib(),
            "written": written,
        }
        self.done.set()


def spool(url: str, config: Path, window: tuple[float, float]) -> dict[str, Any]:
    from worker import log
    from worker.app.worker_app import run_async, serve
    from worker.settings import load
    from worker.store import Store

    settings = load(config)
    store = Store.open(url)
    watched: list[Window] = []

    async def main() -> Any:
        async def beside(_worker: object) -> None:
            watched.append(Window(*window))
            await watched[0].watch(url)

        logger = log.make(log_format="json", level="info", secrets=[])
        return await serve(settings, store, logger, drain=True, beside=beside)

    summary = run_async(main)
    store.close()
    return {**watched[0].found, "completed": summary.completed}


class NaiveWriter:
    """One connection, one commit for each flush, in a thread so that the loop can go on."""

    def __init__(self, url: str) -> None:
        self._thread = ThreadPoolExecutor(1)
        if url.startswith("sqlite"):
            self._connection: Any = sqlite3.connect(
                url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._mark = "?"
        else:
            import psycopg

            self._connection, self._mark = psycopg.connect(url, autocommit=True), "%s"

    async def write(self, run_id: int, seq: int, text: str) -> None:
        statement = "INSERT INTO chunks (run_id, seq, kind, text) VALUES (#, #, 'text', #)"
        await asyncio.get_running_loop().run_in_executor(
            self._thread,
            self._connection.execute,
            statement.replace("#", self._mark),
            (run_id, seq, text),
        )


async def naive_stream(client: Any, url: str, writer: NaiveWriter, run_id: int) -> None:
    kept: list[str] = []
    flushed_at, seq = time.monotonic(), 0
    async with client.stream("POST", f"{url}/api/chat", json={"stream": True}) as answer:
        async for line in answer.aiter_lines():
            said = json.loads(line)
            kept.append(said["message"]["content"])
            if said["done"] or time.monotonic() - flushed_at >= FLUSH_SECONDS:
                text, kept = "".join(kept), []
                await writer.write(run_id, seq, text)
                flushed_at, seq = time.monotonic(), seq + 1


def naive(url: str, config: Path, streams: int, window: tuple[float, float]) -> dict[str, Any]:
    import httpx
    import uvloop

    from worker.settings import load

    base_url = load(config).endpoints["default"].base_url
    found: dict[str, Any] = {}

    async def main() -> None:
        client = httpx.AsyncClient(
            timeout=None, limits=httpx.Limits(max_connections=None, max_keepalive_connections=None)
        )
        writer = NaiveWriter(url)
        watched = Window(*window)
        watch = asyncio.ensure_future(watched.watch(url))
        tasks = [
            asyncio.create_task(naive_stream(client, base_url, writer, run_id))
            for run_id in range(1, streams + 1)
        ]
        await watch
        found.update(watched.found, completed=0)
        for task in tasks:
            task.cancel()
        with contextlib.suppress(Exception):
            await asyncio.wait(tasks, timeout=5)

    uvloop.run(main())
    return found


def main() -> None:
    kind, url, config, streams, ramp, seconds = sys.argv[1:]
    window = (float(ramp), float(seconds))
    if kind == "spool":
        found = spool(url, Path(config), window)
    else:
        found = naive(url, Path(config), int(streams), window)
    harness.report(**found)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
