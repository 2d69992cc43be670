"""`spool status`: one look at the queue, or a screen that keeps looking."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from worker.cli.concerns import concerns
from worker.cli.output import counted, data, for_terminal, json_line, json_option, span
from worker.cli.pairs import Seconds
from worker.cli.session import Session, session
from worker.clock import SystemClock
from worker.states import PromptState

if TYPE_CHECKING:
    from worker.settings import Settings
    from worker.store import Store
    from worker.store.rows import LiveRun, QueueStatus, WorkerStatus

_LIVE_ROWS = 20  # runs that are listed; the others are counted


@click.command(short_help="The queue, the workers, and what is stuck and why.")
@click.option("-w", "--watch", is_flag=True, help="Keep looking, until Ctrl-C.")
@click.option(
    "--interval",
    metavar="SECONDS",
    type=Seconds(min=0.2),
    default=1.0,
    help="Between two looks of --watch.",
)
@json_option
@session
def command(session: Session, /, *, watch: bool, interval: float, as_json: bool) -> None:
    """Show the queue, the workers and what streams, and say what is stuck and why."""
    settings = session.settings()
    store = session.store()
    if watch:
        asyncio.run(_watch(store, settings, interval, as_json=as_json))
    else:
        _print(store.status(), settings, store.safe_url, as_json=as_json)


def _print(status: QueueStatus, settings: Settings, url: str, *, as_json: bool) -> None:
    if as_json:
        json_line(as_object(status, settings, url))
        return
    for line in lines(status, settings, url):
        data(for_terminal(line))


async def _watch(store: Store, settings: Settings, interval: float, *, as_json: bool) -> None:
    clock = SystemClock()
    if as_json or not sys.stdout.isatty():
        while True:
            _print(store.status(), settings, store.safe_url, as_json=as_json)
            await clock.sleep(interval)
    from rich.live import Live
    from rich.text import Text

    with Live(screen=True, auto_refresh=False) as live:
        while True:
            text = for_terminal("\n".join(lines(store.status(), settings, store.safe_url)))
            live.update(Text(text, overflow="ellipsis", no_wrap=True), refresh=True)
            await clock.sleep(interval)


def lines(status: QueueStatus, settings: Settings, url: str) -> Iterator[str]:
    """The status as a person reads it."""
    total = sum(number for tally in status.tallies for number in tally.counts.values())
    hour = f", {status.completed_last_hour:,} completed in the last hour" if total else ""
    yield f"{url}: {counted(total, 'prompt')}{hour}"
    if status.tallies:
        yield ""
        yield from _queue(status)
    living = [each for each in status.workers if each.stopped_at is None or each.runs]
    if living:
        yield ""
        yield from _workers(living)
    if status.live:
        yield ""
        yield from _live(status.live)
    said = list(concerns(status, settings.endpoints, lease_seconds=settings.lease_seconds))
    if said:
        yield ""
        yield from (f"- {sentence}" for sentence in said)


def _queue(status: QueueStatus) -> Iterator[str]:
    states = list(PromptState)
    rows = [["batch", "endpoint", *map(str, states)]]
    for tally in status.tallies:
        counts = [f"{tally.counts.get(state, 0):,}" for state in states]
        rows.append([tally.batch or "(none)", tally.endpoint, *counts])
    return _table(rows, left=2)


def _workers(workers: Sequence[WorkerStatus]) -> Iterator[str]:
    rows = [["worker", "version", "runs", "lease left"]]
    for each in workers:
        left = "signed off" if each.stopped_at else span(max(0.0, each.lease_seconds_left))
        late = each.lease_seconds_left <= 0 and not each.stopped_at
        rows.append(
            [f"{each.host}:{each.pid}", each.version, f"{each.runs:,}", "ran out" if late else left]
        )
    return _table(rows, left=2)


def _live(runs: Sequence[LiveRun]) -> Iterator[str]:
    rows = [["streaming", "custom_id", "endpoint", "attempt", "for", "last text"]]
    for run in runs[:_LIVE_ROWS]:
        last = f"{span(run.silent_seconds)} ago" if run.chunks else "none yet"
        rows.append(
            [
                f"prompt {run.prompt_id}",
                run.custom_id or "",
                run.endpoint,
                str(run.attempt),
                span(run.seconds),
                last,
            ]
        )
    yield from _table(rows, left=3)
    if len(runs) > _LIVE_ROWS:
        yield f"... and {len(runs) - _LIVE_ROWS:,} more"


def _table(rows: Sequence[Sequence[str]], *, left: int) -> Iterator[str]:
    """Aligned columns: the first `left` ones to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def as_object(status: QueueStatus, settings: Settings, url: str) -> dict[str, Any]:
    """The status as JSON has it."""
    said = concerns(status, settings.endpoints, lease_seconds=settings.lease_seconds)
    return {
        "database": url,
        "queue": [
            {
                "batch": tally.batch,
                "endpoint": tally.endpoint,
                **{str(state): tally.counts.get(state, 0) for state in PromptState},
            }
            for tally in status.tallies
        ],
        "workers": [asdict(each) for each in status.workers],
        "live": [asdict(run) for run in status.live],
        "ready": status.ready,
        "later": status.later,
        "next_in_seconds": status.next_in_seconds,
        "failures": dict(status.failures),
        "crash_capped": list(status.crash_capped),
        "completed_last_hour": status.completed_last_hour,
        "concerns": list(said),
    }
