"""`spool retry`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from worker.cli.output import data, json_line, json_option, talk
from worker.cli.param_types import key_values, known_endpoint
from worker.cli.selection_options import SelectedPrompts, choosing, required
from worker.cli.session import Session, session
from worker.diagnosis.phrases import counted
from worker.states import PromptEvent, PromptState, sources

if TYPE_CHECKING:
    from worker.store import Selection, Store

_PAGE_ROWS = 500
_NAMED = 20  # prompts that are named because they are left out


@click.command(short_help="Queue failed or cancelled prompts again.")
@choosing(everything=True)
@click.option(
    "--option",
    "options",
    metavar="KEY=VALUE",
    multiple=True,
    callback=key_values,
    help="Change a request option, such as max_tokens=4000; repeatable.",
)
@click.option("--endpoint", metavar="NAME", help="Send them there instead.")
@click.option("--model", metavar="NAME", help="Ask this model instead.")
@click.option("--fresh", is_flag=True, help="Begin again; go on with no text that was cut.")
@json_option
@session
@click.pass_context
def command(
    ctx: click.Context,
    session: Session,
    /,
    *,
    chosen: SelectedPrompts,
    options: dict[str, Any],
    endpoint: str | None,
    model: str | None,
    fresh: bool,
    as_json: bool,
) -> None:
    """Queue failed or cancelled prompts again, with all their attempts.

    The text of earlier runs stays, and an answer that was cut goes on where the server can; --fresh
    begins again. Completed prompts are left alone: to ask again, add them again.
    """
    required(chosen)
    retryable = [state for state in sources(PromptEvent.RETRY) if isinstance(state, PromptState)]
    if not set(chosen.states) <= set(retryable):
        raise click.UsageError(f"only prompts that are {' or '.join(retryable)} can be retried")
    known_endpoint(endpoint, session.settings().endpoints)
    if "stream" in options:
        raise click.UsageError("the option `stream` cannot be set: Spool always streams")
    store = session.store()
    chosen.check(store)
    selection = chosen.selection(otherwise=retryable)
    count = 0
    unreadable: list[int] = []
    for part, changed in _parts(store, selection, options, unreadable):
        count += store.retry(part, options=changed, endpoint=endpoint, model=model, fresh=fresh)
    if as_json:
        json_line({"retried": count})
    elif count:
        data(f"queued {counted(count, 'prompt')} again")
    else:
        data("nothing to retry: none of these has failed or was cancelled")
    if unreadable:
        ids = ", ".join(map(str, unreadable[:_NAMED])) + (", ..." if unreadable[_NAMED:] else "")
        talk(f"left out, because their options cannot be read: {ids}; correct them with SQL")
        ctx.exit(1)


def _own_options(store: Store, prompt_id: int) -> Mapping[str, Any] | None:
    """None if nobody can read them."""
    detail = store.prompt(prompt_id)
    own = (detail and detail.options) or {}
    return own if isinstance(own, dict) else None


def _parts(
    store: Store, selection: Selection, options: Mapping[str, Any], unreadable: list[int]
) -> Iterator[tuple[Selection, Mapping[str, Any] | None]]:
    """The selection, in parts whose options become the same when these are put over theirs.

    The store replaces options as a whole; what a prompt had beside the changed ones must stay.
    A prompt whose options nobody can read is left out, and put into `unreadable`.
    """
    if not options:
        yield selection, None
        return
    rows = store.results(selection, page=_PAGE_ROWS)
    while page := list(islice(rows, _PAGE_ROWS)):
        parts: dict[str, list[int]] = {}
        for row in page:
            own = _own_options(store, row.id)
            if own is None:
                unreadable.append(row.id)
                continue
            merged = {**own, **options}
            parts.setdefault(json.dumps(merged, sort_keys=True), []).append(row.id)
        for merged_text, ids in parts.items():
            yield replace(selection, ids=tuple(ids)), json.loads(merged_text)
