"""The page of `spool status`, as lines: what waits, who works, what is stuck, what streams.

Printed once, the page ends with what needs a person, where the eye is.  On the screen of
`--watch` that stands above the streams, of which there are as many as the window has room for.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from worker.diagnosis.concerns import concerns, lives
from worker.diagnosis.phrases import counted, span
from worker.endpoints.breaker import BreakerState
from worker.states import FINAL_PROMPT_STATES, PromptState

if TYPE_CHECKING:
    from worker.settings import Settings
    from worker.store.rows import LiveRun, QueueStatus, Tally, WorkerStatus

STREAMS = 10  # that a page lists when it has room for any number; the others are counted
_LEAST_STREAMS = 3  # that a screen lists, however small
_LEAST_BATCHES = 5
_NAME_CHARACTERS = 24


class Lengths(Protocol):
    """What is asked of the store about the streams that are listed."""

    def lengths(self, run_ids: Collection[int]) -> Mapping[int, int]:
        """Characters stored by run."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `kind` says what it is, for those who colour it."""

    text: str
    kind: str = ""


Lines = Iterator[Line]


def page(
    status: QueueStatus,
    settings: Settings,
    url: str,
    store: Lengths,
    *,
    pace: str = "",
    columns: int | None = None,
    rows: int | None = None,
) -> Lines:
    """The whole page; `columns` of a terminal, and `rows` of a window that it has to fit into."""
    said = [
        Line(part, "concern") for each in _said(status, settings) for part in _item(each, columns)
    ]
    head = [*_head(status, url, pace), *_apart(_queue(status.tallies, rows))]
    if any(each.stopped_at is None or each.runs for each in status.workers):
        head += [*_apart(_endpoints(status, settings)), *_apart(_workers(status.workers))]
    yield from head
    if rows is None:
        yield from _apart(_streams(status.live, store, STREAMS))
        yield from _apart(iter(said))
        return
    yield from _apart(iter(said))
    room = rows - len(head) - (len(said) + 1 if said else 0) - 3  # blank, names, "and more"
    yield from _apart(_streams(status.live, store, max(_LEAST_STREAMS, room)))


def _said(status: QueueStatus, settings: Settings) -> Iterator[str]:
    return concerns(status, settings.endpoints, lease_seconds=settings.lease_seconds)


def _item(sentence: str, columns: int | None) -> Sequence[str]:
    if columns is None:
        return [f"- {sentence}"]
    return textwrap.wrap(f"- {sentence}", columns, subsequent_indent="  ", break_on_hyphens=False)


def _head(status: QueueStatus, url: str, pace: str) -> Lines:
    total = sum(number for tally in status.tallies for number in tally.counts.values())
    hour = f", {status.completed_last_hour:,} completed in the last hour" if total else ""
    yield Line(f"{url}: {counted(total, 'prompt')}{hour}", "title")
    if pace:
        yield Line(pace)


def _apart(lines: Lines) -> Lines:
    """A blank line before them, if there are any."""
    for number, line in enumerate(lines):
        if not number:
            yield Line("")
        yield line


def _queue(tallies: Sequence[Tally], rows: int | None) -> Lines:
    if not tallies:
        return
    states = list(PromptState)
    shown = tallies if rows is None else _some(tallies, max(_LEAST_BATCHES, rows // 4))
    table = [["batch", "endpoint", *map(str, states)]]
    for tally in shown:
        counts = [f"{tally.counts.get(state, 0):,}" for state in states]
        table.append([_short(tally.batch or "(none)"), tally.endpoint, *counts])
    yield from _table(table, left=2)
    if more := len(tallies) - len(shown):
        yield Line(f"... and {more:,} more (`spool status` lists all)")


def _some(tallies: Sequence[Tally], number: int) -> Sequence[Tally]:
    """The ones with something to do, then the newest, in their order."""
    if len(tallies) <= number:
        return tallies

    def rank(place: int) -> tuple[bool, int]:
        counts = tallies[place].counts
        return any(n for state, n in counts.items() if state not in FINAL_PROMPT_STATES), place

    kept = sorted(range(len(tallies)), key=rank)[-number:]
    return [tallies[place] for place in sorted(kept)]


def _endpoints(status: QueueStatus, settings: Settings) -> Lines:
    """How each endpoint stands, as the living workers told it last."""
    told: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for worker in filter(lives, status.workers):
        for name, said in (worker.endpoints or {}).items():
            told[name].append(said)
    streams: dict[str, int] = defaultdict(int)
    for run in status.live:
        streams[run.endpoint] += 1
    table = [["endpoint", "state", "workers", "streams"]]
    table += [
        [name, _state(told[name]), f"{len(told[name]):,}", f"{streams[name]:,}"]
        for name in sorted({*settings.endpoints, *told, *streams})
    ]
    return _table(table, left=2)


def _state(told: Sequence[Mapping[str, Any]]) -> str:
    states = [each.get("state") for each in told]
    if not told:
        return "nobody serves it"
    if down := states.count(BreakerState.OPEN):
        return "down" if down == len(told) else f"down for {down} of {len(told)} workers"
    if any("paused_until" in each for each in told):
        return "asks for patience"
    return "being tried" if BreakerState.HALF_OPEN in states else "up"


def _workers(workers: Sequence[WorkerStatus]) -> Lines:
    table = [["worker", "version", "runs", "lease left"]]
    for each in workers:
        if each.stopped_at is not None and not each.runs:
            continue
        left = "signed off" if each.stopped_at else span(max(0.0, each.lease_seconds_left))
        late = each.lease_seconds_left <= 0 and not each.stopped_at
        table.append(
            [f"{each.host}:{each.pid}", each.version, f"{each.runs:,}", "ran out" if late else left]
        )
    return _table(table, left=2)


def _streams(runs: Sequence[LiveRun], store: Lengths, number: int) -> Lines:
    """Those first that have been silent for longest."""
    if not runs:
        return
    shown = sorted(runs, key=lambda run: (-run.silent_seconds, run.run_id))[:number]
    chars = store.lengths([run.run_id for run in shown])
    table = [
        ["slowest", "custom_id", "endpoint", "attempt", "for", "chars", "chars/s", "last text"]
    ]
    for run in shown:
        stored = chars.get(run.run_id, 0)
        table.append(
            [
                f"prompt {run.prompt_id}",
                _short(run.custom_id or ""),
                run.endpoint,
                str(run.attempt),
                span(run.seconds),
                f"{stored:,}",
                f"{stored / run.seconds:,.0f}" if run.seconds else "",
                # Stored or counted a moment later than the run was looked at.
                f"{span(run.silent_seconds)} ago" if run.chunks or stored else "none yet",
            ]
        )
    yield from _table(table, left=3)
    if len(runs) > number:
        yield Line(f"... and {len(runs) - number:,} more")


def _short(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else f"{name[: _NAME_CHARACTERS - 3]}..."


def _table(rows: Sequence[Sequence[str]], *, left: int) -> Lines:
    """Aligned columns under their names: the first `left` ones to the left, the others right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield Line("  ".join(cells).rstrip(), "" if number else "names")
