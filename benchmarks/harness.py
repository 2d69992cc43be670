"""What every table needs: alternated rounds, medians, ratios, versions, and children to measure in.

This machine is never quiet, so a figure alone means little.  The contestants of a
table take turns, round by round, and what counts is the ratio within a round.
Whatever is measured runs in a process of its own, bound to one core, and prints
one line of JSON; servers are bound to the other core where there is one.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = CORES[0], CORES[-1]
PREFERRED_NICE = -15
SHOWN_WITH = ("httpx", "SQLAlchemy", "psycopg", "msgspec", "httptools", "uvloop")

Sample = dict[str, Any]


@dataclass
class Table:
    """One table of `docs/performance.md`."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        self.rows.append([str(cell) for cell in cells])

    def __str__(self) -> str:
        lines = [f"### {self.title}", ""]
        lines.append("| " + " | ".join(self.columns) + " |")
        lines.append("| --- |" + " ---: |" * (len(self.columns) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"


def alternated(
    contestants: Mapping[str, Callable[[], Sample]], rounds: int
) -> dict[str, list[Sample]]:
    """Let each have its turn in every round; a contestant that fails stops everything."""
    found: dict[str, list[Sample]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, measure in contestants.items():
            print(f"  round {number + 1}/{rounds}: {name}", file=sys.stderr, flush=True)
            found[name].append(measure())
    return found


def median(samples: Iterable[Sample], key: str) -> float:
    return statistics.median(sample[key] for sample in samples)


def ratios(ours: Sequence[Sample], theirs: Sequence[Sample], key: str) -> list[float]:
    """Round by round, how many times more we have of it."""
    return [mine[key] / other[key] for mine, other in zip(ours, theirs, strict=True)]


def spread(values: Sequence[float]) -> str:
    """`12.3 (10.1..14.0)`: the median and the extremes."""
    if len(values) == 1:
        return f"{values[0]:.3g}"
    return f"{statistics.median(values):.3g} ({min(values):.3g}..{max(values):.3g})"


def rounded(value: float) -> str:
    """Three digits, with thousands apart."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def prefer() -> None:
    """Let this process go before the others of a busy machine, where that is allowed (root).

    What is measured so sleeps most of the time: it takes little from anybody.  Linux weighs
    sessions first (autogroups), and processes within a session then.
    """
    os.setsid()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PREFERRED_NICE)
        Path("/proc/self/autogroup").write_text(str(PREFERRED_NICE))


def child(
    module: str,
    *arguments: object,
    core: int | None = CLIENT_CORE,
    preferred: bool = False,
    timeout: float = 280,
    env: Mapping[str, str] | None = None,
) -> Sample:
    """Run `python -m MODULE ARGUMENTS` on one core; what its last line of output says."""

    def settle() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})
        if preferred:
            prefer()

    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=timeout,
        check=False,
        preexec_fn=settle,
    )
    if done.returncode:
        tail = "\n".join(done.stderr.splitlines()[-20:])
        raise SystemExit(f"{module} {' '.join(map(str, arguments))} failed\n{tail}")
    return json.loads(done.stdout.splitlines()[-1])


def report(**values: Any) -> None:
    """How a child answers."""
    print(json.dumps(values), flush=True)


def missing(*distributions: str) -> list[str]:
    """Which of these are not installed."""
    return [name for name in distributions if importlib.util.find_spec(name) is None]


def versions(*distributions: str) -> str:
    found = []
    for name in distributions:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} (not installed)")
    return ", ".join(found)


def machine() -> str:
    """Where and with what this was measured."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {len(CORES)} shared cores ({cpu}), "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"{versions(*SHOWN_WITH)}"
    )


def peak_rss_mib() -> float:
    """The most memory this process ever held, since `forget_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not tell VmHWM")


def bytes_written() -> int:
    """What this process has written so far, to whatever file (sockets are not counted)."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    raise RuntimeError("the kernel does not tell wchar")


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
