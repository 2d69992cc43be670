"""Table 5: claim and finish no-op prompts, and whether that gets slower as history grows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks import databases, harness
from benchmarks.harness import Sample, Table

LEAVES = {
    "spool": "the prompt and its run, fenced",
    "procrastinate": "the job and three events",
    "pgqueuer": "three lines of a log",
    "litequeue": "the message",
}
POSTGRESQL_BATCHES = (10, 100)
LINES = 4  # connections that claim, beside one that ends
SQLITE_BATCHES = (1, 10, 100)
HISTORIES = (1_000, 10_000, 100_000, 1_000_000)


def tables(*, short: bool) -> Iterator[Table]:
    """Rates beside the peers; then rates with more and more finished rows."""
    with databases.databases(all_cores=True) as made:
        yield _beside_peers(made, short=short)
        yield _history(made, short=short)


def _beside_peers(made: databases.Databases, *, short: bool) -> Table:
    table = Table(
        "Queue: claim and finish no-op prompts, one process, all cores for it and the database",
        (
            "system",
            "at a time",
            "jobs/s",
            "Spool, with as many that claim, does x times more",
            "a finished job leaves",
        ),
        notes=[
            databases.NAME,
            harness.versions("procrastinate", "pgqueuer", "asyncpg", "litequeue"),
            "Procrastinate claims one job at a time; `at a time` is its concurrency",
        ],
    )
    rounds = 3 if short else 5
    for batch in POSTGRESQL_BATCHES:
        jobs = {
            "spool": 6000,
            f"spool/{LINES}": 8000,
            "procrastinate": 600 if short else 1500,
            "pgqueuer": 6000,
            f"pgqueuer/{LINES}": 6000,
        }
        _add(table, made, "postgresql", batch, jobs, rounds)
    for batch in SQLITE_BATCHES:
        _add(table, made, "sqlite", batch, {"spool": 5000, "litequeue": 3000}, rounds)
    return table


def _add(
    table: Table,
    made: databases.Databases,
    kind: str,
    batch: int,
    jobs: dict[str, int],
    rounds: int,
) -> None:
    absent = harness.missing(*({_library(name) for name in jobs} - {"spool"}))
    contestants = {
        name: partial(_run, made, name, kind, count, batch)
        for name, count in jobs.items()
        if _library(name) not in absent
    }
    found = harness.alternated(contestants, rounds)
    for name in jobs:
        library, _, lines = name.partition("/")
        shown = f"**Spool**, {kind}" if library == "spool" else library
        if lines:
            shown += f", {lines} connections claim"
        if _library(name) in absent:
            table.add(shown, batch, "missing", "not installed", "")
            continue
        ours = f"spool/{lines}" if lines else "spool"
        ratios = harness.ratios(found[ours], found[name], "rate")
        table.add(
            shown,
            1 if name == "litequeue" else batch,
            harness.rounded(harness.median(found[name], "rate")),
            "1" if name == ours else harness.spread(ratios),
            LEAVES[library],
        )


def _library(name: str) -> str:
    return name.partition("/")[0]


def _run(made: databases.Databases, name: str, kind: str, jobs: int, batch: int) -> Sample:
    url = made.new(kind) if _library(name) == "spool" else made.empty(kind)
    try:
        return harness.child("benchmarks.jobs", name, url, jobs, batch, preferred=True, core=None)
    finally:
        made.drop(url)


def _history(made: databases.Databases, *, short: bool) -> Table:
    sizes = HISTORIES[:3] if short else HISTORIES
    table = Table(
        "Queue: the same with more and more finished prompts in the tables (100 at a time)",
        ("database", *(f"{size:,}" for size in sizes), "first / last"),
        notes=["jobs/s, median of the rounds; prompts and their runs are both there"],
    )
    for kind in databases.KINDS:
        url = made.new(kind)
        rates: list[float] = []
        for before, size in zip((0, *sizes), sizes, strict=False):
            _fill(url, size - before)
            rounds = [
                harness.child("benchmarks.jobs", "spool", url, 5000, 100, preferred=True, core=None)
                for _ in range(3 if short else 5)
            ]
            rates.append(harness.median(rounds, "rate"))
        table.add(kind, *map(harness.rounded, rates), f"{rates[0] / rates[-1]:.2f}")
        made.drop(url)
    return table


def _fill(url: str, count: int) -> None:
    """Finished prompts, with their runs."""
    last = "(SELECT coalesce(max(id), 0) FROM prompts)"
    series = f"generate_series({last} + 1, {last} + {count}) AS n"
    when = "now()"
    if url.startswith("sqlite"):
        series = (
            f"(WITH RECURSIVE c(n) AS (SELECT {last} + 1 UNION ALL SELECT n + 1 FROM c"
            f" LIMIT {count}) SELECT n FROM c)"
        )
        when = "strftime('%Y-%m-%d %H:%M:%f','now')"
    databases.ask(
        url,
        "INSERT INTO prompts (id, prompt, status, attempts, runs, run_id, finished_at)"
        f" SELECT n, 'history', 'completed', 1, 1, n, {when} FROM {series}",
    )
    databases.ask(
        url,
        "INSERT INTO runs (id, prompt_id, attempt, worker_id, endpoint, dialect, status,"
        f" finished_at, finish_reason) SELECT id, id, 1, 'history', 'default', 'd', 'completed',"
        f" {when}, 'stop' FROM prompts WHERE prompt = 'history'"
        " AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.prompt_id = prompts.id)",
    )
    if not url.startswith("sqlite"):
        for table in ("prompts", "runs"):
            databases.ask(url, f"SELECT setval(pg_get_serial_sequence('{table}', 'id'),"
                               f" (SELECT max(id) FROM {table}))")  # fmt: skip
            databases.ask(url, f"VACUUM (ANALYZE) {table}")
        databases.ask(url, "CHECKPOINT")  # history does not come in a moment: its work is done
