"""`spool cancel`."""

from __future__ import annotations

import click

from worker.cli.output import data, json_line, json_option
from worker.cli.selection_options import SelectedPrompts, choosing, required
from worker.cli.session import Session, session
from worker.diagnosis.phrases import counted


@click.command(short_help="Give prompts up, also while they stream.")
@choosing(everything=True)
@json_option
@session
def command(session: Session, /, *, chosen: SelectedPrompts, as_json: bool) -> None:
    """Give prompts up.

    Queued ones are cancelled at once. Those that stream stop within about a flush interval, on
    whatever machine; the text they have so far stays. Finished prompts are left alone.
    """
    required(chosen)
    store = session.store()
    chosen.check(store)
    count = store.cancel(chosen.selection())
    if as_json:
        json_line({"cancelled": count})
    elif count:
        data(f"cancelled {counted(count, 'prompt')}; what still streams stops within moments")
    else:
        data("nothing to cancel: none of these is queued or running")
