"""The figures of worlds as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.harness import Table
from benchmarks.worlds.play import Outcome
from benchmarks.worlds.world import World

COLUMNS = (
    "world",
    "innocents failed",
    "left",
    "runs",
    "tokens paid twice",
    "canaries + probes",
    "to the end",
    "cure to full speed",
)


def table(title: str, worlds: Mapping[str, World], outcomes: Sequence[Outcome]) -> Table:
    """One row a world."""
    made = Table(title, COLUMNS)
    for outcome in outcomes:
        made.add(*row(worlds[outcome.world], outcome))
    return made


def row(world: World, outcome: Outcome) -> tuple[str, ...]:
    total = outcome.innocents + outcome.guilty
    return (
        f"{world.about} (`{world.name}`)",
        f"{outcome.innocents_failed} of {outcome.innocents}{_codes(outcome.failed)}",
        str(outcome.left),
        f"{outcome.runs:,} for {total:,}",
        f"{outcome.paid_twice:,}",
        f"{outcome.canaries:,} + {outcome.probes:,}",
        _time(outcome.end) if not outcome.ended or outcome.end else "; ".join(outcome.ended),
        _time(outcome.full),
    )


def _codes(failed: Mapping[str, int]) -> str:
    return f" ({', '.join(sorted(failed))})" if failed else ""


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def beside(worlds: Mapping[str, World], olds: Iterable[Outcome], news: Iterable[Outcome]) -> Table:
    """Old rule beside new: each cell is `old → new`."""
    made = Table("Old rule → new rule", COLUMNS)
    found = {outcome.world: outcome for outcome in news}
    for old in olds:
        new = found.get(old.world)
        if new is None:
            continue
        world = worlds[old.world]
        before, after = row(world, old), row(world, new)
        cells = [b if b == a else f"{b} → {a}" for b, a in zip(before, after, strict=True)]
        made.add(*cells)
    return made
