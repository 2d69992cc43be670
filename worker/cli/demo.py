"""`spool demo`: prompts to answers in SQL, with nothing but this program.

It is an ordinary worker with one endpoint of its own, `demo`, that takes its
prompts from a file that is shipped: it carries no prompt of anybody else, and
what was answered once is not asked again.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.cli.output import data, for_terminal, talk
from worker.cli.session import Session, session
from worker.diagnosis.phrases import counted
from worker.errors import InputError
from worker.records import Endpoint, NewPrompt
from worker.states import PromptState

if TYPE_CHECKING:
    from worker.settings import Settings
    from worker.store import Store
    from worker.store.demo_query import DemoQuery

NAME = "demo"  # of the batch and of the endpoint
PROMPTS = "prompts-demo.jsonl"
CONCURRENCY = 4
FLUSH_SECONDS = 0.25  # people watch
OPTIONS = {"temperature": 0, "max_tokens": 120}


@click.command(short_help="Prompts to answers in SQL with the embedded model.")
@session
@click.pass_context
def command(ctx: click.Context, session: Session) -> None:
    """Stream a dozen prompts to answers in SQL, with the embedded model.

    Writes into the configured database, spool.db if there is none. Doing it twice adds nothing
    twice; what was interrupted goes on.
    """
    from worker.embedded import model_path
    from worker.store import demo_query

    settings = _settings(session.settings(log_level="error"))
    model_path(settings.endpoints[NAME].model)  # before anything is written
    store = session.store(create=True)
    added = store.add(_prompts(settings), batch=NAME, source=PROMPTS)
    if added.added:
        talk(f"queued {counted(added.added, 'prompt')} as batch {NAME!r}")
    if added.existing:
        talk(f"{counted(added.existing, 'prompt')} of batch {NAME!r} were there already")
    _answer(session, settings, store)
    if _count(store, PromptState.COMPLETED):
        _tell(demo_query.QUERY, demo_query.look(settings.database_url), settings)
        _tell_what_was_cut(store)
    if not _all_answered(store):
        ctx.exit(1)


def _settings(settings: Settings) -> Settings:
    """The person's settings with one endpoint, and in a hurry to show something."""
    endpoint = Endpoint(
        name=NAME,
        dialect="openai-chat",
        base_url="",
        model="smollm2",
        concurrency=CONCURRENCY,
        options=OPTIONS,
        embedded=True,
    )
    return settings.model_copy(
        update={
            "endpoints": {NAME: endpoint},
            "flush_seconds": FLUSH_SECONDS,
            "shutdown_grace_seconds": 0.0,
            "metrics_port": 0,  # which a worker of theirs may be using
        }
    )


def _prompts(settings: Settings) -> Iterator[NewPrompt]:
    from worker.ingest import BadLine, Format, Intake, prompts
    from worker.installation.package_files import config_dir

    intake = Intake(
        endpoints=settings.endpoints,
        name=PROMPTS,
        batch=NAME,
        max_line_bytes=settings.max_line_bytes,
        endpoint=NAME,
    )
    with (config_dir() / PROMPTS).open("rb") as file:
        for item in prompts(file, Format.JSONL, intake):
            if isinstance(item, BadLine):
                raise InputError(f"{PROMPTS}: {item}")
            yield item


def _answer(session: Session, settings: Settings, store: Store) -> None:
    """Carry what is left of the batch, and show how it goes."""
    backlog = store.backlog([NAME])
    left = backlog.ready + backlog.later + backlog.running
    if not left:
        talk("nothing is left to do, and nothing was done twice")
        return
    from worker.app.worker_app import run_async, serve
    from worker.cli.demo_progress import Progress

    talk(f"starting the embedded model for {counted(left, 'prompt')}; Ctrl-C loses nothing")
    progress = Progress(store, NAME)
    run_async(lambda: serve(settings, store, session.log(), drain=True, beside=progress.follow))
    progress.finish()


def _all_answered(store: Store) -> bool:
    """Whether it is, and if not, what to do about it."""
    left = _count(store, PromptState.QUEUED, PromptState.RUNNING)
    if left:
        talk(f"{counted(left, 'prompt')} still to answer: `spool demo` goes on where it stopped")
    failed = _count(store, PromptState.FAILED, PromptState.CANCELLED)
    if failed:
        talk(f"{counted(failed, 'prompt')} without an answer: `spool status` says why")
    return not (left or failed)


def _count(store: Store, *states: PromptState) -> int:
    from worker.store import Selection

    return store.count(Selection(batch=NAME, states=states))


def _tell(query: str, found: DemoQuery, settings: Settings) -> None:
    """The query as it was run, and its rows."""
    talk("the answers are rows now:")
    click.echo(f"\n{query};\n", err=True)
    for line in _table(found.columns, found.rows):
        data(line)
    click.echo(err=True)
    one = f"{_program()} show {found.rows[0][0]}"
    talk(f"they are in {settings.safe_database_url}; `{one}` prints all that it says")


def _tell_what_was_cut(store: Store) -> None:
    """The demo is short on purpose: nobody should take half an answer for what models say."""
    from worker.store import Selection

    rows = list(store.results(Selection(batch=NAME, states=(PromptState.COMPLETED,))))
    if cut := sum(row.truncated for row in rows):
        talk(
            f"{cut} of {counted(len(rows), 'answer')} were cut at the demo's limit of"
            f" {OPTIONS['max_tokens']} tokens; the column `truncated` says which"
        )


def _program() -> str:
    """How this program can be called from here."""
    if shutil.which("spool"):
        return "spool"
    if Path(sys.argv[0]).name == "__main__.py":
        return f"{shlex.quote(os.path.relpath(sys.executable))} -m worker"
    return shlex.quote(os.path.relpath(sys.argv[0]))


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Aligned lines; numbers to the right, text on one line."""
    shown = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *shown, strict=True)]
    yield "  ".join(name.ljust(width) for name, width in zip(columns, widths, strict=True)).rstrip()
    yield "  ".join("-" * width for width in widths)
    for row, cells in zip(rows, shown, strict=True):
        yield "  ".join(
            cell.rjust(width) if isinstance(value, int | float) else cell.ljust(width)
            for value, cell, width in zip(row, cells, widths, strict=True)
        ).rstrip()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.1f}"
    return for_terminal(" ".join(str(value).split()))
