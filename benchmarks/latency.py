"""Table 6: how soon a prompt is picked up, and how soon many streams are open."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks import databases, harness, server
from benchmarks.harness import Table

STREAMS = 2000


def tables(*, short: bool) -> Iterator[Table]:
    """Pickup on both databases, then opening."""
    yield _pickup(100 if short else 300)
    yield _opening(short=short)


def _pickup(count: int) -> Table:
    table = Table(
        "Latency: from before a plain SQL INSERT to the arrival of the request, idle worker",
        ("database", "p50 ms", "p99 ms", "worst ms"),
        notes=[databases.NAME, f"{count} inserts, one at a time, from another process"],
    )
    with databases.databases(all_cores=True) as made, _folder() as folder:
        for kind in databases.KINDS:
            url, port = made.new(kind), _free_port()
            config = databases.configuration(
                folder, url, "ollama-chat", f"http://127.0.0.1:{port}", log_level="warning"
            )
            with _worker(config):
                found = harness.child(
                    "benchmarks.pickup", url, port, count, preferred=True, core=None
                )
            table.add(kind, *(f"{found[key]:.1f}" for key in ("p50", "p99", "most")))
    return table


def _opening(*, short: bool) -> Table:
    table = Table(
        f"Latency: {STREAMS:,} streams opened at once, until the last has its headers",
        ("client", "seconds", "Spool is x times sooner", "processor seconds", "peak RSS MiB"),
        notes=[server.NAME, "httpx with its limits off; with them on, streams beyond 100 wait"],
    )
    with server.serving("ollama-chat", count=60, rate=1) as running:
        measure = {
            name: partial(
                harness.child, "benchmarks.opening", name, running.url, STREAMS, preferred=True
            )
            for name in ("spool", "httpx")
        }
        found = harness.alternated(measure, 2 if short else 5)
    for name, samples in found.items():
        sooner = harness.ratios(samples, found["spool"], "seconds")
        table.add(
            "**Spool**" if name == "spool" else name,
            f"{harness.median(samples, 'seconds'):.2f}",
            harness.spread(sooner),
            f"{harness.median(samples, 'cpu'):.2f}",
            f"{harness.median(samples, 'rss'):.0f}",
        )
    return table


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="spool-bench-") as at:
        yield Path(at)


@contextmanager
def _worker(config: Path) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "run", "--config", str(config)],
        cwd=harness.ROOT,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=dict(os.environ),
        preexec_fn=harness.prefer,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
