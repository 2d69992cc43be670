"""`spool run`: the worker."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from worker.app.process_tuning import give_back, without
from worker.cli.output import json_line, json_option, talk
from worker.cli.session import Session, session
from worker.diagnosis.phrases import counted
from worker.events import Event

if TYPE_CHECKING:
    from worker.settings import Settings
    from worker.store import Store
    from worker.supervisor.active_runs import Summary
    from worker.supervisor.worker import Worker

    Beside = Callable[[Worker], Awaitable[None]]


@click.command(short_help="Carry runs: stream prompts to answers.")
@click.option("--drain", is_flag=True, help="End when nothing is left to do.")
@click.option(
    "--fail-on-error", is_flag=True, help="With --drain: exit 1 if any prompt failed meanwhile."
)
@click.option(
    "--endpoint",
    "names",
    multiple=True,
    metavar="NAME",
    help="Serve only this endpoint; may be given several times.",
)
@json_option
@session
def command(
    session: Session, /, *, drain: bool, fail_on_error: bool, names: tuple[str, ...], as_json: bool
) -> None:
    """Carry runs: stream prompts to answers.

    Stop it with Ctrl-C or SIGTERM: streams may go on for shutdown_grace_seconds, then their text is
    flushed and their prompts are handed back. A second signal hands them back at once. Start as
    many as you like on one database.
    """
    if fail_on_error and not drain:
        raise click.UsageError("--fail-on-error needs --drain: only then is there an end to judge")
    with without("rich", "pygments"):
        from worker import log  # noqa: F401 - here, so that it too comes without
        from worker.app.worker_app import serving

    settings = serving(session.settings(keys=True), names)
    store = session.store(create=True)
    crowded = store.check_premises(listens=settings.listen)
    if not store.is_sqlite:
        give_back()
    summary = work(session, settings, store, crowded, drain=drain, as_json=as_json)
    if as_json:
        json_line(
            {
                "completed": summary.completed,
                "truncated": summary.truncated,
                "failed": summary.failed,
                "cancelled": summary.cancelled,
                "requeued": summary.requeued,
                "lost": summary.lost,
                "unstored": summary.unstored,
            }
        )
    else:
        talk(
            f"{counted(summary.completed, 'prompt')} completed{_cut(summary)},"
            f" {summary.failed:,} failed,"
            f" {summary.cancelled:,} cancelled; {counted(summary.requeued, 'run')} queued again"
            f"{'; `spool status` says why they failed' if summary.failed else ''}"
        )
    if summary.unstored:
        talk(
            f"the database did not take the last text of {counted(summary.unstored, 'run')};"
            " their prompts are taken back by the next worker"
        )
    if summary.unstored or (fail_on_error and summary.failed):
        raise click.exceptions.Exit(1)


def _cut(summary: Summary) -> str:
    """An answer that its length limit cut is complete for the server alone."""
    return f" ({summary.truncated:,} cut at their length limit)" if summary.truncated else ""


def work(
    session: Session,
    settings: Settings,
    store: Store,
    crowded: list[str],
    *,
    drain: bool,
    as_json: bool,
    also: Beside | None = None,
) -> Summary:
    """Live the worker's life: with a line that moves for a person, a line an event otherwise.

    also: what else happens meanwhile; cancelled when the worker has ended.
    """
    from worker.app.worker_app import run_async, serve
    from worker.cli import run_progress
    from worker.clock import SystemClock
    from worker.diagnosis.wait_reasons import Announcer

    watched = run_progress.wanted(
        log_format=settings.log_format,
        log_level=settings.log_level,
        verbose=session.verbose,
        as_json=as_json,
    )
    foreground = run_progress.in_foreground
    line = run_progress.StatusLine(sys.stderr, foreground=foreground) if watched else None
    log = session.log(line)
    for hint in [*session.loaded().hints, *crowded]:
        log(Event.SETTINGS_HINT, hint=hint)
    if line is None:
        announcer = Announcer(store, log, SystemClock())
        beside = _both(announcer.follow, also)
        return run_async(lambda: serve(settings, store, log, drain=drain, beside=beside))
    progress = run_progress.RunProgress(
        store,
        tuple(settings.endpoints),
        line,
        SystemClock(),
        grace_seconds=settings.shutdown_grace_seconds,
    )
    sparing = run_progress.Sparing(log)
    beside = _both(progress.follow, also)
    return run_async(lambda: serve(settings, store, sparing, drain=drain, beside=beside))


def _both(shown: Beside, also: Beside | None) -> Beside:
    if also is None:
        return shown

    async def together(worker: Worker) -> None:
        # A gather would be over with the first that ends: a server must be waited for.
        both = [asyncio.ensure_future(each(worker)) for each in (shown, also)]
        try:
            await asyncio.gather(*both)
        finally:
            for each in both:
                each.cancel()
            await asyncio.wait(both)

    return together
