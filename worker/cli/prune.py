"""`spool prune`: delete what is finished, a page at a time, so that no lock is held for long."""

from __future__ import annotations

from datetime import timedelta

import click

from worker.cli.output import data, json_line, json_option, talk
from worker.cli.selection_options import SelectedPrompts, age, choosing
from worker.cli.session import Session, session
from worker.clock import SystemClock
from worker.diagnosis.phrases import counted
from worker.states import FINAL_PROMPT_STATES


@click.command(short_help="Delete finished prompts and their text.")
@choosing(everything=True)
@click.option("--older-than", metavar="AGE", callback=age, help="Finished before: 12h, 7d, 2w.")
@click.option("--dry-run", is_flag=True, help="Say how many, delete none.")
@json_option
@session
def command(
    session: Session,
    /,
    *,
    chosen: SelectedPrompts,
    older_than: timedelta | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete finished prompts with all their runs and their text, for good.

    Prompts that are queued or running are never touched.
    """
    if not chosen and older_than is None:
        raise click.UsageError(
            "say which prompts: ids, --batch, --status, --error-code, --older-than, or --all"
        )
    if not set(chosen.states) <= set(FINAL_PROMPT_STATES):
        raise click.UsageError("only finished prompts can be pruned; cancel the others first")
    store = session.store()
    chosen.check(store)
    try:
        before = None if older_than is None else SystemClock().now() - older_than
    except OverflowError:
        raise click.UsageError("--older-than reaches back before the calendar begins") from None
    selection = chosen.selection(otherwise=FINAL_PROMPT_STATES, finished_before=before)
    count = 0
    if dry_run:
        count = store.count(selection)
    else:
        try:
            for page in store.prune(selection):
                count += page
        except KeyboardInterrupt:
            talk(f"interrupted after {counted(count, 'prompt')}")
            raise
    if as_json:
        json_line({"pruned": count, "dry_run": dry_run})
    elif count:
        data(f"{'would delete' if dry_run else 'deleted'} {counted(count, 'prompt')}")
    else:
        data("nothing to delete: no finished prompt is among these")
