"""`spool list`: prompts by the page, the newest first."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from worker.cli.output import data, json_line, json_option, talk
from worker.cli.param_types import WholeNumber, known_endpoint
from worker.cli.selection_options import SelectedPrompts, choosing
from worker.cli.session import Session, session
from worker.diagnosis.phrases import counted

if TYPE_CHECKING:
    from worker.store.statements.listing import Entry, Page

_LIMIT = 20
_MOST = 1000
_COLUMNS = 100  # where no terminal says how wide it is
_NAME_COLUMNS = 24
_LEAST_TEXT_COLUMNS = 20
_NAMES = ("id", "status", "batch", "custom_id", "endpoint", "prompt, or why it failed")
_ASKED = re.compile(r'"content"\s*:\s*"((?:[^"\\]|\\.)*)')


@click.command("list", short_help="Prompts by the page, the newest first.")
@choosing(everything=False)
@click.option("--endpoint", metavar="NAME", help="Prompts for this endpoint.")
@click.option(
    "--limit",
    type=WholeNumber(1, _MOST),
    default=_LIMIT,
    show_default=True,
    help="How many, at most.",
)
@click.option("--before", metavar="ID", type=WholeNumber(1), help="Only older ones: the next page.")
@json_option
@session
def command(
    session: Session,
    /,
    *,
    chosen: SelectedPrompts,
    endpoint: str | None,
    limit: int,
    before: int | None,
    as_json: bool,
) -> None:
    """List prompts, the newest first: all, or those that the options name.

    `spool show ID` prints the whole text of one, `spool export` the answers of many. A page with
    conditions looks through 100,000 prompts at most, and says where the next one goes on.
    """
    if endpoint is not None:
        known_endpoint(endpoint, session.settings().endpoints)
    store = session.store()
    chosen.check(store)
    page = store.newest(chosen.selection(endpoint=endpoint), limit=limit, before=before)
    if as_json:
        for row in page.rows:
            json_line(as_object(row))
    else:
        _print(page.rows)
    _go_on(page)


def _print(rows: Sequence[Entry]) -> None:
    if not rows:
        return
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else _COLUMNS
    table = [_NAMES, *map(_cells, rows)]
    widths = [max(_width(row[column]) for row in table) for column in range(len(_NAMES) - 1)]
    room = max(columns - sum(widths) - 2 * len(widths), _LEAST_TEXT_COLUMNS)
    for row in table:
        cells = [_filled(cell, width) for cell, width in zip(row, widths, strict=False)]
        data("  ".join([*cells, _cut(row[-1], room)]).rstrip())


def _cells(row: Entry) -> tuple[str, ...]:
    names = (row.batch or "", row.custom_id or "", row.endpoint)
    shown = [_cut(_plain(name), _NAME_COLUMNS) for name in names]
    return (str(row.id), str(row.status), *shown, _told(row))


def _told(row: Entry) -> str:
    if row.error_code is not None:
        return _plain(f"{row.error_code}: {row.error or ''}")
    return _plain(_asked(row))


def _asked(row: Entry) -> str:
    """What a person would recognise the prompt by: of messages, what the user says first."""
    if not row.is_json:
        return row.text
    user = row.text.partition('"user"')
    for part in (user[0].rpartition("{")[2] + user[2], row.text):
        if (found := _ASKED.search(part)) is not None:
            return re.sub(r"\\[nrt]", " ", found[1]).replace('\\"', '"')
    return row.text


def _plain(text: str) -> str:
    """On one line, without characters that control a terminal, for files as well."""
    words = " ".join(text.split())
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in words)


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _filled(text: str, columns: int) -> str:
    return text + " " * (columns - _width(text))


def _cut(text: str, columns: int) -> str:
    if _width(text) <= columns:
        return text
    from rich.cells import set_cell_size

    return set_cell_size(text, columns - 3).rstrip() + "..."


def _go_on(page: Page) -> None:
    if page.looked_through:
        from worker.store.statements.listing import LOOKED_THROUGH

        found = counted(len(page.rows), "prompt") if page.rows else "no prompt"
        talk(
            f"found {found} among the last {LOOKED_THROUGH:,} looked through;"
            f" --before {page.before} goes on"
        )
    elif page.before is not None:
        talk(f"there are more: --before {page.before} goes on")
    elif not page.rows:
        talk("there is no such prompt")


def as_object(row: Entry) -> dict[str, Any]:
    """A prompt as JSON has it."""
    listed = row._asdict()
    listed["begins"] = listed.pop("text")
    del listed["is_json"]
    return listed
