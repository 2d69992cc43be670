"""The figures of worlds as tables: of one checkout, or of two beside each other."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from benchmarks.harness import Table
from benchmarks.worlds.play import Outcome
from benchmarks.worlds.world import World

COLUMNS = (
    "world",
    "innocents failed",
    "runs",
    "tokens paid twice",
    "canaries + probes",
    "to the end",
    "cure to full speed",
)


def table(title: str, worlds: Mapping[str, World], outcomes: Iterable[Outcome]) -> Table:
    """One row a world."""
    made = Table(title, COLUMNS)
    for name, found in _by_world(worlds, outcomes).items():
        made.add(_about(worlds[name], found), *_figures(worlds[name], found))
    return made


def beside(worlds: Mapping[str, World], olds: Iterable[Outcome], news: Iterable[Outcome]) -> Table:
    """Each cell is what the one checkout has, and what the other one has."""
    made = Table("The one checkout → the other", COLUMNS)
    after = _by_world(worlds, news)
    for name, found in _by_world(worlds, olds).items():
        if name not in after:
            continue
        world = worlds[name]
        cells = zip(_figures(world, found), _figures(world, after[name]), strict=True)
        made.add(_about(world, found), *(b if b == a else f"{b} → {a}" for b, a in cells))
    return made


def _by_world(
    worlds: Mapping[str, World], outcomes: Iterable[Outcome]
) -> Mapping[str, list[Outcome]]:
    """In the order of the worlds; several outcomes of one world are its seeds."""
    found: dict[str, list[Outcome]] = {name: [] for name in worlds}
    for outcome in outcomes:
        if outcome.world in found:
            found[outcome.world].append(outcome)
    return {name: each for name, each in found.items() if each}


def _about(world: World, found: Sequence[Outcome]) -> str:
    first = found[0]
    total = first.innocents + first.guilty
    return f"{world.about}; {total:,} prompt{'s' if total != 1 else ''} (`{world.name}`)"


def _figures(world: World, found: Sequence[Outcome]) -> tuple[str, ...]:
    """Failures of all seeds together; of the rest the median."""
    failed = sum(outcome.innocents_failed for outcome in found)
    codes = sorted({code for outcome in found for code in outcome.failed})
    innocents = sum(outcome.innocents for outcome in found)
    left = sum(outcome.left for outcome in found)
    return (
        (f"{failed:,} of {innocents:,}" if failed else "0")
        + (f" ({', '.join(codes)})" if codes else "")
        + (f"; {left:,} left" if left else ""),
        f"{_median(outcome.runs for outcome in found):,.0f}",
        f"{_median(outcome.paid_twice for outcome in found):,.0f}",
        " + ".join(
            f"{_median(counts):,.0f}"
            for counts in (
                [outcome.canaries for outcome in found],
                [outcome.probes for outcome in found],
            )
        ),
        _end(world, found),
        _time([outcome.full for outcome in found]),
    )


def _end(world: World, found: Sequence[Outcome]) -> str:
    if any(outcome.left for outcome in found):
        gave_up = [outcome.ended[-1] for outcome in found if outcome.ended]
        after = gave_up[0].partition(":")[0] if gave_up else f"{world.horizon / 3600:g} h"
        return f"ended after {after}" if gave_up else f"not in {after}"
    end = _time([outcome.end for outcome in found])
    if not all(outcome.guilty and outcome.innocents for outcome in found):
        return end
    return f"{end}, innocents {_time([outcome.innocents_end for outcome in found])}"


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def _time(times: Sequence[float | None]) -> str:
    known = [seconds for seconds in times if seconds is not None]
    if not known:
        return "-"
    seconds = statistics.median(known)
    if seconds < 180:
        return f"{seconds:.0f} s"
    if seconds < 10_800:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
