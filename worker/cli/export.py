"""`spool export`: results out, to standard output or to files that appear when they are whole."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

import click

from worker.app.process_tuning import give_back
from worker.cli.output import talk
from worker.cli.progress import watched
from worker.cli.selection_options import SelectedPrompts, choosing
from worker.cli.session import Session, session
from worker.diagnosis.phrases import counted
from worker.states import FINAL_PROMPT_STATES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.export import Ahead
    from worker.store import Selection, Store
    from worker.store.rows import ResultRow

BY_SUFFIX = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}
_PAGE_ROWS = 500
_NAMED = 20  # prompts that are named because they cannot be read


@dataclass(frozen=True, slots=True)
class Target:
    """What to write, and where; in OpenAI Batch files, failures may stand among the answers."""

    file_format: str
    out: str
    errors: str | None
    partial: bool


@click.command(short_help="Results as JSON Lines, CSV, Parquet or OpenAI Batch files.")
@choosing(everything=False)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["jsonl", "csv", "parquet", "openai-batch"]),
    help="Instead of guessing from the name of the file; jsonl otherwise.",
)
@click.option("-o", "--output", "out", metavar="FILE", default="-", help="Instead of stdout.")
@click.option("--errors", metavar="FILE", help="openai-batch: where failed and cancelled ones go.")
@click.option(
    "--partial", is_flag=True, help="Unfinished prompts too, with the text they have so far."
)
@session
@click.pass_context
def command(
    ctx: click.Context,
    session: Session,
    /,
    *,
    chosen: SelectedPrompts,
    file_format: str | None,
    out: str,
    errors: str | None,
    partial: bool,
) -> None:
    """Write finished prompts with their answers: all, or those that the options name.

    `output` is only ever the text of a completed run; --partial adds `partial_output`, what the
    latest run of any other prompt left. A file appears under its name when it is complete.
    """
    guessed = BY_SUFFIX.get(Path(out).suffix.lower(), "jsonl")
    target = Target(file_format or guessed, out, errors, partial)
    _check_usage(target, chosen)
    spare_the_database(session.settings().sqlite_file, (target.out, target.errors))
    give_back()
    store = session.store()
    chosen.check(store)
    everything = partial and target.file_format != "openai-batch"
    selection = chosen.selection(otherwise=() if everything else FINAL_PROMPT_STATES)
    passed = Passed()
    count = written(session, store, target, selection, passed)
    if out != "-":
        talk(f"wrote {counted(count, 'prompt')} to {out}")
    elif not count and target.file_format != "openai-batch":
        others = "" if partial else "; --partial writes unfinished ones too"
        talk(f"nothing was written: no finished prompt is among these{others}")
    if passed.unreadable:
        ctx.exit(1)


def written(
    session: Session, store: Store, target: Target, selection: Selection, passed: Passed
) -> int:
    """Write the prompts of a selection, and say what was cut; how many were written."""
    from worker import export
    from worker.store.bulk_text import BulkTexts

    with closing(BulkTexts(session.settings().database_url)) as answers:
        texts = export.Ahead(answers, store, page=_PAGE_ROWS)
        count = _write(target, store, selection, texts, passed)
    if passed.cut:
        where = "" if target.file_format == "openai-batch" else ": their `truncated` is true"
        talk(f"{counted(passed.cut, 'answer')} cut at the length limit{where}")
    return count


def _check_usage(target: Target, chosen: SelectedPrompts) -> None:
    batch_file = target.file_format == "openai-batch"
    if target.errors is not None and not batch_file:
        raise click.UsageError("--errors goes with --format openai-batch; other formats hold all")
    if target.errors is not None and target.errors == target.out:
        raise click.UsageError("--errors and --output name the same file")
    if batch_file and target.partial:
        raise click.UsageError("OpenAI Batch files have no place for --partial text")
    if batch_file and not set(chosen.states) <= set(FINAL_PROMPT_STATES):
        raise click.UsageError(
            "OpenAI Batch files hold finished prompts: completed, failed or cancelled"
        )
    if target.file_format == "parquet" and target.out == "-" and sys.stdout.isatty():
        raise click.UsageError("Parquet is not for the eye: name a file with --output")


def spare_the_database(database: Path | None, names: Iterable[str | None]) -> None:
    """Raise UsageError for a file that would take the name of the database, and all in it."""
    if database is None:
        return
    taken = [database.with_name(database.name + ending) for ending in ("", "-wal", "-shm")]
    for name in names:
        if name is not None and any(Path(name).resolve() == each.resolve() for each in taken):
            raise click.UsageError(f"{name} is the database itself: choose another name")


@dataclass(slots=True)
class Passed:
    """What has to be told of the rows that passed.

    Attributes:
        cut: how many have an answer that was cut at its length limit.
        unreadable: how many hold what nobody can read; all others are written as they are.
    """

    cut: int = 0
    unreadable: int = 0

    def counted(self, rows: Iterable[ResultRow]) -> Iterator[ResultRow]:
        """The same rows."""
        for row in rows:
            self.cut += row.truncated
            yield row

    def name(self, prompt_id: int, why: str) -> None:
        """Say that a prompt cannot be read, up to a number of them."""
        self.unreadable += 1
        if self.unreadable <= _NAMED:
            talk(f"prompt {prompt_id} cannot be read as it is ({why}): correct it with SQL")
        elif self.unreadable == _NAMED + 1:
            talk("more prompts cannot be read as they are, and are not listed")


def _write(target: Target, store: Store, selection: Selection, texts: Ahead, passed: Passed) -> int:
    from worker import export

    with ExitStack() as files:
        found = files.enter_context(_rows(store, selection, target, passed))
        rows = texts.rows(passed.counted(found))
        if target.file_format == "parquet":
            raw = files.enter_context(_binary(target.out))
            return export.parquet.write(rows, texts, raw, partial=target.partial)
        out = files.enter_context(_text(target.out))
        if target.file_format != "openai-batch":
            writer: Callable[..., int]
            writer = export.csv_file.write if target.file_format == "csv" else export.jsonl.write
            return writer(rows, texts, out, partial=target.partial)
        errors = out if target.errors == target.out else None
        if target.errors and errors is None:
            errors = files.enter_context(_text(target.errors))
        lines = export.openai_batch.write(rows, texts, out, errors)
    if lines.left_out:
        talk(
            f"{counted(lines.left_out, 'prompt')} failed or cancelled and NOT in the output:"
            " --errors FILE writes them"
        )
    elif target.errors and target.errors != target.out:
        talk(f"wrote {counted(lines.errors, 'failure')} to {target.errors}")
    return lines.output + (lines.errors if target.errors == target.out else 0)


@contextmanager
def _rows(
    store: Store, selection: Selection, target: Target, passed: Passed
) -> Iterator[Iterable[ResultRow]]:
    quiet = target.out == "-"
    total = None if quiet or not sys.stderr.isatty() else store.count(selection)
    rows = store.results(selection, page=_PAGE_ROWS, report=passed.name)
    with watched(rows, total, lambda count: count, quiet=quiet) as shown:
        yield shown


@contextmanager
def _binary(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    from worker.export import whole_file

    with whole_file(Path(path)) as file:
        yield file


@contextmanager
def _text(path: str) -> Iterator[TextIO]:
    with _binary(path) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        try:
            yield text
        finally:
            # The raw file is closed by whoever opened it; standard output is not ours to close.
            text.detach()
