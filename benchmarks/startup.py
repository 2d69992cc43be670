"""Table 6c: how soon a command is there."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks import databases, harness
from benchmarks.harness import Sample, Table

BARE = ("-c", "pass")


def tables(*, short: bool) -> Iterator[Table]:
    """Seconds from start to end, beside an interpreter that does nothing."""
    table = Table(
        "Startup: from start to end of a command",
        ("command", "ms", "x times `python -c pass`"),
    )
    with databases.databases() as made, tempfile.TemporaryDirectory(prefix="spool-bench-") as at:
        config = {
            kind: str(
                databases.configuration(
                    _folder(at, kind), made.new(kind), "ollama-chat", "http://h"
                )
            )
            for kind in databases.KINDS
        }
        commands: dict[str, tuple[str, ...]] = {
            "python -c pass": BARE,
            "spool --help": ("-m", "worker", "--help"),
            "spool --version": ("-m", "worker", "--version"),
            **{
                f"spool status, {kind}": ("-m", "worker", "status", "--config", config[kind])
                for kind in databases.KINDS
            },
        }
        measure = {name: partial(_time, words) for name, words in commands.items()}
        found = harness.alternated(measure, 7 if short else 21)
    for name, samples in found.items():
        middle = harness.median(samples, "seconds")
        times = harness.ratios(samples, found["python -c pass"], "seconds")
        table.add(name, f"{middle * 1000:.0f}", harness.spread(times))
    yield table


def _folder(at: str, kind: str) -> Path:
    folder = Path(at, kind)
    folder.mkdir()
    return folder


def _time(words: tuple[str, ...]) -> Sample:
    def work() -> None:
        subprocess.run(
            [sys.executable, *words],
            cwd=harness.ROOT,
            stdout=subprocess.DEVNULL,
            preexec_fn=harness.prefer,
            check=True,
        )

    return {"seconds": harness.timed(work)}
