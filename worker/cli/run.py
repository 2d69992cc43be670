"""`spool run`: the worker."""

from __future__ import annotations

import click

from worker.cli.output import counted, json_line, json_option, talk
from worker.cli.session import Session, session


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
    from worker.cli.service import run_async, serve, serving

    loaded = session.loaded(keys=True)
    settings = serving(loaded.settings, names)
    store = session.store(create=True)
    log = session.log()
    for hint in loaded.hints:
        log("settings_hint", hint=hint)
    summary = run_async(lambda: serve(settings, store, log, drain=drain))
    if as_json:
        json_line(
            {
                "completed": summary.completed,
                "failed": summary.failed,
                "cancelled": summary.cancelled,
                "requeued": summary.requeued,
                "lost": summary.lost,
                "unstored": summary.unstored,
            }
        )
    else:
        talk(
            f"{counted(summary.completed, 'prompt')} completed, {summary.failed:,} failed,"
            f" {summary.cancelled:,} cancelled; {counted(summary.requeued, 'run')} queued again"
        )
    if summary.unstored:
        talk(
            f"the database did not take the last text of {counted(summary.unstored, 'run')};"
            " their prompts are taken back by the next worker"
        )
    if summary.unstored or (fail_on_error and summary.failed):
        raise click.exceptions.Exit(1)
