"""Many runs flush: `python -m benchmarks.storing LAYOUT URL FLUSH_BYTES RUNS FLUSHES`.

LAYOUT is `spool`, chunks through the real store, as a committer hands them over;
`update`, one row a run whose text grows; or `texts`, rows of text and nothing else, which
nobody could find again: what the database itself costs.  All commit one flush of every run
in one transaction.  Every run tells another part of the same prose.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from benchmarks import databases, frames, harness

Group = list[tuple[int, int, str]]  # run id, number of the flush, text


def groups(ids: Sequence[int], size: int, flushes: int) -> Iterator[Group]:
    """One flush of every run, and so on."""
    prose = frames.prose(900_000)
    for number in range(flushes):
        yield [(id_, number, _part(prose, (id_ * 7919 + number) * size, size)) for id_ in ids]


def _part(prose: str, start: int, size: int) -> str:
    start %= len(prose) - size
    return prose[start : start + size]


def with_spool(url: str, size: int, runs: int, flushes: int) -> Callable[[], int]:
    """The real store; endings included."""
    from worker.records import Chunk, Ending, Kind, WorkerInfo
    from worker.states import PromptEvent, RunEvent
    from worker.store import Store

    databases.add(url, runs)
    store = Store.open(url)
    store.register(WorkerInfo("bench", "host", 1, "0"), 3600)
    claimed = store.claim("bench", "default", runs, dialect="d", model="m", max_attempts=5)

    def work() -> int:
        payload = 0
        nonce = claimed[0].nonce
        for group in groups([run.id for run in claimed], size, flushes):
            payload += sum(len(text.encode()) for _, _, text in group)
            store.commit(
                "bench", [Chunk(id_, seq, Kind.TEXT, text, nonce) for id_, seq, text in group], []
            )
        endings = [
            Ending(
                run.id,
                run.prompt_id,
                RunEvent.COMPLETE,
                PromptEvent.COMPLETE,
                done_frame=True,
                nonce=run.nonce,
            )
            for run in claimed
        ]
        store.commit("bench", [], endings)
        store.close()
        return payload

    return work


def with_update(url: str, size: int, runs: int, flushes: int) -> Callable[[], int]:
    """`UPDATE ... SET text = text || ...`, in groups as well."""
    connection, mark = _connected(url)
    connection.execute("CREATE TABLE grown (id integer PRIMARY KEY, text text NOT NULL)")
    ids = range(1, runs + 1)
    for id_ in ids:
        connection.execute(f"INSERT INTO grown VALUES ({mark}, '')", (id_,))
    connection.commit()
    statement = f"UPDATE grown SET text = text || {mark} WHERE id = {mark}"
    rows = ([(text, id_) for id_, _, text in group] for group in groups(ids, size, flushes))
    return partial(_run, connection, statement, rows)


def with_texts(url: str, size: int, runs: int, flushes: int) -> Callable[[], int]:
    """No key, no index, no states: nothing that a layout could still leave out."""
    connection, mark = _connected(url)
    connection.execute("CREATE TABLE texts (text text NOT NULL)")
    connection.commit()
    rows = ([(text,) for _, _, text in group] for group in groups(range(runs), size, flushes))
    return partial(_run, connection, f"INSERT INTO texts VALUES ({mark})", rows)


def _connected(url: str) -> tuple[Any, str]:
    """A connection, and how it marks a parameter."""
    if url.startswith("sqlite"):
        import sqlite3

        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_mode = WAL")
        return connection, "?"
    import psycopg

    return psycopg.connect(url), "%s"


def _run(connection: Any, statement: str, rows: Iterator[list[tuple[Any, ...]]]) -> int:
    payload = 0
    cursor = connection.cursor()
    for group in rows:
        payload += sum(len(text.encode()) for text, *_ in group)
        cursor.executemany(statement, group)
        connection.commit()
    connection.close()
    return payload


def postgresql_written(url: str) -> tuple[int, int]:
    """Bytes of WAL, and bytes written to tables and indexes, up to now and checkpointed."""
    databases.ask(url, "CHECKPOINT")
    time.sleep(1.2)  # the checkpointer tells with a delay what it wrote
    ((wal, files),) = databases.ask(
        url,
        "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'),"
        " (SELECT coalesce(sum(write_bytes), 0) FROM pg_stat_io WHERE object = 'relation')",
    )
    return int(wal), int(files)


def sqlite_written(_url: str) -> tuple[int, int]:
    """Bytes that this process has written, to whatever file; the log cannot be told apart."""
    return harness.bytes_written(), 0


LAYOUTS = {"spool": with_spool, "update": with_update, "texts": with_texts}


def main() -> None:
    layout, url, *numbers = sys.argv[1:]
    size, runs, flushes = map(int, numbers)
    work = LAYOUTS[layout](url, size, runs, flushes)
    written = sqlite_written if url.startswith("sqlite") else postgresql_written
    before = written(url)
    began, cpu = time.perf_counter(), time.process_time()
    payload = work()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    after = written(url)
    harness.report(
        log=(after[0] - before[0]) / payload,
        files=(after[1] - before[1]) / payload,
        total=(sum(after) - sum(before)) / payload,
        rate=payload / seconds / 1e6,
        cpu_us=cpu / (runs * flushes) * 1e6,
    )
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
