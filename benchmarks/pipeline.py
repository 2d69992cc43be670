"""Table 2: the whole pipeline, from the sockets of many slow streams to committed rows.

One process on one core carries all streams at once.  In a window of time in which
every stream runs, these are measured: the share of the core, the lag of the event
loop (how much later than asked a sleep of 10 ms ends), and the text that was
committed meanwhile, as a share of what the server sent (its rate is fixed).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks import databases, frames, harness, server
from benchmarks.harness import Sample, Table

DIALECT = "ollama-chat"
LOADS = ((1000, 40), (2000, 20))
RUN_ROW = (
    "INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect)"
    " SELECT id, 1, 'naive', endpoint, 'ollama-chat' FROM prompts"
)


def tables(*, short: bool) -> Iterator[Table]:
    """One table a load: Spool and the naive worker on both databases."""
    with databases.databases() as made:
        for streams, rate in LOADS:
            yield _table(made, streams, rate, short=short)


def _table(made: databases.Databases, streams: int, rate: int, *, short: bool) -> Table:
    ramp, seconds = (6.0, 6.0) if short else (8.0, 15.0)
    table = Table(
        f"Pipeline: {streams:,} streams of {rate} tokens/s, one process, one core",
        ("worker", "of a core", "loop lag p50 / p99 / max", "stored / sent", "peak RSS",
         "finished in order"),
        notes=[server.NAME, databases.NAME],
    )  # fmt: skip
    for kind in databases.KINDS:
        contestants = {
            name: partial(_carry, made, name, kind, streams, rate, ramp, seconds)
            for name in ("spool", "naive")
        }
        found = harness.alternated(contestants, 1 if short else 3)
        for name, samples in found.items():
            middle = partial(harness.median, samples)
            lag = " / ".join(f"{middle(f'lag_{which}'):.0f}" for which in ("p50", "p99", "max"))
            table.add(
                f"**Spool**, {kind}" if name == "spool" else f"naive (httpx, json), {kind}",
                f"{middle('cpu'):.0%}",
                f"{lag} ms",
                f"{middle('stored'):.0%}",
                f"{middle('rss'):.0f} MiB",
                f"{middle('completed'):.0f} of {streams}" if name == "spool" else "stopped",
            )
        late = max(each["late"] for each in found["spool"])
        busy = max(each["server"] for each in found["spool"])
        table.notes.append(
            f"{kind}: the server was more than 50 ms late with {late:.2%} of the chunks"
            f" while Spool read, and used {busy:.0%} of the other core"
        )
    return table


def _carry(
    made: databases.Databases,
    name: str,
    kind: str,
    streams: int,
    rate: int,
    ramp: float,
    seconds: float,
) -> Sample:
    url = made.new(kind)
    databases.add(url, streams)
    if name == "naive":
        databases.ask(url, RUN_ROW)
    tokens = int((ramp + seconds + 3) * rate)
    with (
        tempfile.TemporaryDirectory(prefix="spool-bench-") as folder,
        server.serving(DIALECT, count=tokens, rate=rate) as running,
    ):
        config = databases.configuration(
            Path(folder), url, DIALECT, running.url, endpoint_concurrency=streams
        )
        found = harness.child(
            "benchmarks.carrying", name, url, config, streams, ramp, seconds, preferred=True
        )
        stats = running.stop()
    text = "".join(frames.TOKENS)
    sent = streams * rate * found["seconds"] * len(text) / len(frames.TOKENS)
    ((stored,),) = databases.ask(
        url,
        "SELECT coalesce(sum(length(text)), 0) FROM chunks WHERE created_at"
        f" BETWEEN '{found['from']}' AND '{found['until']}'",
    )
    if name == "spool":
        _check_stored(url, streams, tokens)
    return {
        **found,
        "stored": float(stored) / sent,
        "amplified": found["written"] / max(float(stored), 1),
        "late": stats["late"] / max(stats["chunks"], 1),
        "server": stats["cpu"] / (ramp + seconds + 4),
    }


def _check_stored(url: str, streams: int, tokens: int) -> None:
    """Every word of every stream must be there, in order; a fast loser of words is no winner."""
    ((state, count),) = databases.ask(url, "SELECT status, count(*) FROM prompts GROUP BY status")
    whole, rest = divmod(tokens, len(frames.TOKENS))
    expected = "".join(frames.TOKENS) * whole + "".join(frames.TOKENS[:rest])
    texts = databases.ask(url, "SELECT DISTINCT output FROM results")
    if (state, count) != ("completed", streams) or texts != [(expected,)]:
        raise SystemExit(f"{count} of {streams} are {state}; {len(texts)} different texts")
