"""No-op jobs, claimed and finished: `python -m benchmarks.jobs SYSTEM[/LINES] URL JOBS BATCH`.

Every system claims BATCH jobs at a time and marks them finished; what a finished job
leaves differs, and is said in queue.py.  Jobs are added before the clock starts.

On PostgreSQL a claim waits for the disk; LINES of them, each with its connection, do so
side by side in one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import queue
import sys
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks import databases, harness

Runner = Callable[[str, int, int, int], float]  # URL, jobs, batch, lines -> seconds
Claim = Callable[[], list[Any]]
End = Callable[[list[Any]], None]


def spool(url: str, jobs: int, batch: int, lines: int) -> float:
    """Through the store: claim, then end what was claimed, fenced."""
    from worker.records import Ending, Run, WorkerInfo
    from worker.states import PromptEvent, RunEvent
    from worker.store import Store

    databases.add(url, jobs)
    me = str(uuid.uuid4())
    store = Store.open(url)
    store.register(WorkerInfo(me, "host", 1, "0"), 3600)

    def claim() -> list[Run]:
        return store.claim(me, "default", batch, dialect="d", model="m", max_attempts=5)

    def end(runs: list[Run]) -> None:
        endings = [
            Ending(
                run.id,
                run.prompt_id,
                RunEvent.COMPLETE,
                PromptEvent.COMPLETE,
                done_frame=True,
                nonce=run.nonce,
            )
            for run in runs
        ]
        if store.commit(me, [], endings):
            raise SystemExit("a run was lost")

    if store.is_sqlite:
        seconds, finished = _in_turn(claim, end)
    else:
        seconds, finished = _side_by_side(claim, end, lines)
    _check(finished, jobs)
    store.close()
    return seconds


def _in_turn(claim: Claim, end: End) -> tuple[float, int]:
    """One thread does both: SQLite has one writer at a time, two threads would only wake another."""
    finished, began = 0, time.perf_counter()
    while runs := claim():
        end(runs)
        finished += len(runs)
    return time.perf_counter() - began, finished


def _side_by_side(claim: Claim, end: End, lines: int) -> tuple[float, int]:
    """Threads claim while another ends; it takes what has gathered, as a worker's committer does."""
    claimed: queue.Queue[list[Any]] = queue.Queue(maxsize=max(2, lines))

    def go_on() -> None:
        runs = None
        while runs is None or runs:
            runs = claim()
            claimed.put(runs)

    claimers = [threading.Thread(target=go_on) for _ in range(lines)]
    finished, began = 0, time.perf_counter()
    for claimer in claimers:
        claimer.start()
    at_work = lines
    while at_work:
        groups = [claimed.get()]
        with contextlib.suppress(queue.Empty):
            while True:
                groups.append(claimed.get_nowait())
        at_work -= groups.count([])
        if runs := list(itertools.chain(*groups)):
            end(runs)
            finished += len(runs)
    return time.perf_counter() - began, finished


def procrastinate(url: str, jobs: int, batch: int, _lines: int) -> float:
    """Its own worker; it claims one job at a time, with `batch` of them at work."""

    import procrastinate as library

    connector = library.PsycopgConnector(conninfo=url, min_size=4, max_size=max(4, min(batch, 20)))
    app = library.App(connector=connector)

    @app.task(queue="default", name="noop")
    async def noop() -> None:
        pass

    async def main() -> float:
        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            for start in range(0, jobs, 1000):
                await noop.batch_defer_async(*[{} for _ in range(min(1000, jobs - start))])
            await connector.execute_query_async("ANALYZE procrastinate_jobs")
            began = time.perf_counter()
            await app.run_worker_async(
                queues=["default"], wait=False, concurrency=batch, install_signal_handlers=False
            )
            seconds = time.perf_counter() - began
            done = await connector.execute_query_one_async(
                "SELECT count(*) AS done FROM procrastinate_jobs WHERE status = 'succeeded'"
            )
            _check(done["done"], jobs)
            return seconds

    import uvloop

    return uvloop.run(main())


def pgqueuer(url: str, jobs: int, batch: int, lines: int) -> float:
    """Its own managers, draining, in batches of the same size; each has one connection."""
    import asyncpg
    import uvloop
    from pgqueuer import PgQueuer
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import Queries
    from pgqueuer.types import QueueExecutionMode

    async def main() -> float:
        queries = Queries(AsyncpgDriver(await asyncpg.connect(url)))
        await queries.install()
        for start in range(0, jobs, 1000):
            count = min(1000, jobs - start)
            await queries.enqueue(["noop"] * count, [b""] * count, [0] * count)
        finished = 0
        managers = [PgQueuer(AsyncpgDriver(await asyncpg.connect(url))) for _ in range(lines)]

        async def noop(job: object) -> None:
            nonlocal finished
            finished += 1

        def drain(manager: PgQueuer) -> Coroutine[Any, Any, None]:
            manager.entrypoint("noop")(noop)
            return manager.run(
                batch_size=batch, max_concurrent_tasks=2 * batch, mode=QueueExecutionMode.drain
            )

        began = time.perf_counter()
        await asyncio.gather(*map(drain, managers))
        seconds = time.perf_counter() - began
        _check(finished, jobs)
        return seconds

    return uvloop.run(main())


def litequeue(url: str, jobs: int, _batch: int, _lines: int) -> float:
    """One message at a time: it has nothing else."""
    from litequeue import LiteQueue

    queue = LiteQueue(url.removeprefix("sqlite:///"))
    for _ in range(jobs):
        queue.put("go")
    began, finished = time.perf_counter(), 0
    while message := queue.pop():
        queue.done(message.message_id)
        finished += 1
    seconds = time.perf_counter() - began
    _check(finished, jobs)
    return seconds


def _check(done: int, jobs: int) -> None:
    if done != jobs:
        raise SystemExit(f"{done} of {jobs} jobs were finished")


SYSTEMS: dict[str, Runner] = {
    "spool": spool,
    "procrastinate": procrastinate,
    "pgqueuer": pgqueuer,
    "litequeue": litequeue,
}


def main() -> None:
    logging.disable(logging.CRITICAL)
    name, url, jobs, batch = sys.argv[1:]
    cpu = time.process_time()
    name, _, lines = name.partition("/")
    seconds = SYSTEMS[name](url, int(jobs), int(batch), int(lines or 1))
    cpu = time.process_time() - cpu
    harness.report(rate=int(jobs) / seconds, cpu_us=cpu / int(jobs) * 1e6)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
