"""`spool status`: one look at the queue, or a screen that keeps looking."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

import click

from worker.cli.output import data, for_terminal, json_line, json_option, talk
from worker.cli.param_types import Seconds
from worker.cli.session import Session, session
from worker.cli.status_page import Line, page
from worker.cli.throughput import Throughput
from worker.clock import Clock, SystemClock
from worker.diagnosis.concerns import concerns
from worker.errors import StoreBusy
from worker.states import PromptState

if TYPE_CHECKING:
    from rich.text import Text

    from worker.settings import Settings
    from worker.store import Store
    from worker.store.rows import QueueStatus

_LOOK_SHARE = 5  # a look takes at most a fifth of the time between two: queues are long
_STYLES = {"": "", "title": "bold", "names": "dim", "concern": "yellow"}


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
        _print(store.status(), settings, store, as_json=as_json)


def _print(status: QueueStatus, settings: Settings, store: Store, *, as_json: bool) -> None:
    if as_json:
        json_line(as_object(status, settings, store.safe_url))
        return
    pace = Throughput().words(status, SystemClock().monotonic())
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in page(status, settings, store.safe_url, store, pace=pace, columns=columns):
        data(for_terminal(line.text))


async def _watch(store: Store, settings: Settings, interval: float, *, as_json: bool) -> NoReturn:
    clock = SystemClock()
    if not as_json and sys.stdout.isatty():
        await _screen(store, settings, interval, clock)
    while True:
        try:
            _print(store.status(), settings, store, as_json=as_json)
        except StoreBusy as error:
            talk(f"{error.message}; asking again")
        await clock.sleep(interval)


async def _screen(store: Store, settings: Settings, interval: float, clock: Clock) -> NoReturn:
    """Look again and again, on a screen of its own, until Ctrl-C."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    pace, text = Throughput(), Text()
    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            began = clock.monotonic()
            try:
                status = store.status()
                text = _coloured(
                    page(
                        status,
                        settings,
                        store.safe_url,
                        store,
                        pace=pace.words(status, clock.monotonic()),
                        columns=console.width,
                        rows=console.height,
                    )
                )
            except StoreBusy as error:
                away = f"{store.safe_url}: {error.message}; asking again"
                text = Text("\n").join([Text(away, "yellow"), *text.split()[1:]])
            text.no_wrap, text.overflow = True, "ellipsis"
            live.update(text, refresh=True)
            await clock.sleep(max(interval, (clock.monotonic() - began) * _LOOK_SHARE))


def _coloured(lines: Iterable[Line]) -> Text:
    """The page with a little colour; NO_COLOR leaves the weight of the letters."""
    from rich.text import Text

    return Text("\n").join(Text(for_terminal(line.text), _STYLES[line.kind]) for line in lines)


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
        "completed_last_minute": status.completed_last_minute,
        "truncated": status.truncated,
        "concerns": list(said),
    }
