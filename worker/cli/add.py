"""`spool add`: prompts in, from files, standard input and text.

Good lines are queued as they are read, a page a transaction; bad ones are told
with their number and do not stop the others, unless `--strict` asks for all or
nothing: then the whole source is read once before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import click

from worker.cli.output import counted, data, json_line, json_option, talk
from worker.cli.pairs import Whole, key_values, known_endpoint
from worker.cli.session import Session, session
from worker.cli.sources import STDIN, Source, opened
from worker.errors import InputError

if TYPE_CHECKING:
    from worker.ingest import BadLine, Intake
    from worker.records import NewPrompt
    from worker.settings import Settings
    from worker.store import Store

_SHOWN_FAULTS = 10
_SHOWN_REQUESTS = 3
_BATCH_NAME_CHARS_MAX = 512  # it has an index
_BAR_FROM_BYTES = 1 << 20


@dataclass(slots=True)
class Report:
    """What became of one source."""

    source: str
    batch: str | None
    good: int = 0
    added: int = 0
    existing: int = 0
    bad: int = 0
    faults: list[BadLine] = field(default_factory=list)
    end: str | None = None  # why reading ended before the end

    @property
    def failed(self) -> bool:
        """Whether anything of the source was left out."""
        return bool(self.bad or self.end)

    def unit(self, number: int) -> str:
        """What the source is made of: lines, rows, requests, or prompts that were typed."""
        unit = self.faults[0].unit if self.faults else "line"
        return ("prompt" if unit == self.source else unit) + ("" if number == 1 else "s")


@click.command(short_help="Queue prompts: files, standard input, or text.")
@click.argument("files", metavar="[FILE|-]...", nargs=-1)
@click.option(
    "-p", "--prompt", "texts", metavar="TEXT", multiple=True, help="A prompt; repeatable."
)
@click.option("--batch", metavar="NAME", help="Name of the batch; for files, their own name.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["jsonl", "json", "csv", "parquet", "lines"]),
    help="Instead of guessing from name and content. OpenAI and Anthropic batch files are jsonl or"
    " json.",
)
@click.option(
    "--template",
    metavar="TEXT",
    help="Make prompts of rows: 'Summarise: {{ text }}' (Jinja2), or @FILE.",
)
@click.option("--id-column", metavar="NAME", help="The column that holds the custom_id.")
@click.option("--custom-id", metavar="ID", help="For a single -p.")
@click.option("--endpoint", metavar="NAME", help="Send them there, whatever the file says.")
@click.option("--model", metavar="NAME", help="Ask this model, whatever the file says.")
@click.option("--system", metavar="TEXT", help="System prompt.")
@click.option(
    "--option",
    "options",
    metavar="KEY=VALUE",
    multiple=True,
    callback=key_values,
    help="Request option such as temperature=0; repeatable.",
)
@click.option(
    "--metadata", metavar="KEY=VALUE", multiple=True, callback=key_values, help="Kept with them."
)
@click.option("--priority", type=Whole(-(2**31) + 1, 2**31 - 1), help="Higher goes first.")
@click.option("--max-attempts", type=Whole(1, 2**31 - 1), help="Instead of the setting.")
@click.option("--strict", is_flag=True, help="All or nothing: one bad line refuses the file.")
@click.option(
    "--dry-run", is_flag=True, help="Check everything, show the first requests, add none."
)
@json_option
@session
@click.pass_context
def command(
    ctx: click.Context,
    session: Session,
    /,
    *,
    files: tuple[str, ...],
    texts: tuple[str, ...],
    as_json: bool,
    **asked: Any,
) -> None:
    """Queue prompts from files, from standard input (-), or as text (-p).

    Reads JSON Lines ({"prompt": ...} or {"messages": [...]}), OpenAI Batch and Anthropic batch
    files, CSV, Parquet and plain lines. Adding the same file twice adds nothing twice: lines are
    known by their custom_id, or else by their number and content.
    """
    settings = session.settings()
    _check_usage(files, texts, asked, settings)
    adder = _Adder(session, settings, asked, as_json=as_json)
    reports = [adder.texts(texts)] if texts else []
    reports += [adder.file(path) for path in files]
    if any(report.failed for report in reports):
        ctx.exit(1)


def _check_usage(
    files: tuple[str, ...], texts: tuple[str, ...], asked: Mapping[str, Any], settings: Settings
) -> None:
    if not files and not texts:
        raise click.UsageError("give a FILE, - for standard input, or -p TEXT")
    if files.count(STDIN) > 1:
        raise click.UsageError("standard input (-) can be read only once")
    if asked["custom_id"] is not None and (files or len(texts) != 1):
        raise click.UsageError("--custom-id goes with a single -p; files name theirs themselves")
    batch = asked["batch"]
    if batch is not None and not (0 < len(batch) <= _BATCH_NAME_CHARS_MAX and batch.isprintable()):
        raise click.UsageError(
            f"a batch needs a printable name of 1 to {_BATCH_NAME_CHARS_MAX} characters"
        )
    known_endpoint(asked["endpoint"], settings.endpoints)


class _Adder:
    """Adds sources one after the other, and tells what became of each."""

    def __init__(
        self, session: Session, settings: Settings, asked: Mapping[str, Any], *, as_json: bool
    ) -> None:
        self._session = session
        self._settings = settings
        self._asked = asked
        self._as_json = as_json
        self._template = _template(asked["template"])

    def texts(self, texts: tuple[str, ...]) -> Report:
        """Prompts from the command line; they are new each time unless they have a custom_id."""
        from worker.ingest import from_texts

        report = Report("-p", self._asked["batch"])
        intake = self._intake("-p", report.batch)
        self._add(report, from_texts(texts, intake, self._asked["custom_id"]))
        return self._told(report)

    def file(self, path: str) -> Report:
        """Prompts from a file or from standard input."""
        with opened(path, twice=self._asked["strict"]) as source:
            report = Report(source.name, self._asked["batch"] or source.batch)
            self._read(source, report)
        return self._told(report)

    def _read(self, source: Source, report: Report) -> None:
        from worker.ingest import Format, detect, prompts

        try:
            asked = self._asked["file_format"]
            found = Format(asked) if asked else detect(source.path, source.file)
        except InputError as error:
            report.end = error.message
            return
        if self._asked["strict"] and not self._asked["dry_run"]:
            checked = Report(source.name, report.batch)
            intake = self._intake(source.path, report.batch)
            for _ in _sorted_out(prompts(source.file, found, intake), checked):
                pass
            if checked.failed:
                report.bad, report.faults, report.end = checked.bad, checked.faults, checked.end
                return
            source.rewind()
        items = prompts(source.file, found, self._intake(source.path, report.batch))
        self._add(report, items, source)

    def _intake(self, path: str, batch: str | None) -> Intake:
        from pathlib import Path

        from worker.ingest import Intake

        asked = self._asked
        return Intake(
            endpoints=self._settings.endpoints,
            name=Path(path).name,
            batch=batch,
            max_line_bytes=self._settings.max_line_bytes,
            endpoint=asked["endpoint"],
            model=asked["model"],
            system=asked["system"],
            options=asked["options"],
            priority=asked["priority"],
            max_attempts=asked["max_attempts"],
            metadata=asked["metadata"],
            template=self._template,
            id_column=asked["id_column"],
        )

    def _add(
        self,
        report: Report,
        items: Iterable[NewPrompt | BadLine],
        source: Source | None = None,
    ) -> None:
        from worker.cli.progress import watched

        good = _sorted_out(items, report)
        if (first := next(good, None)) is None:
            return  # no database is made for nothing
        store = None if self._asked["dry_run"] else self._session.store(create=True)
        size = source.size if source and (source.size or 0) >= _BAR_FROM_BYTES else None
        with watched(
            chain([first], good),
            size,
            lambda _: source.file.tell() if source else 0,
            quiet=self._as_json,
        ) as shown:
            if store is None:
                self._show_requests(iter(shown))
            else:
                self._put(store, report, shown, source.path if source else report.source)

    def _put(self, store: Store, report: Report, prompts: Iterable[NewPrompt], path: str) -> None:
        try:
            added = store.add(prompts, batch=report.batch, source=path)
        except KeyboardInterrupt:
            if report.batch is not None:
                talk(f"interrupted; add {report.source} again to go on: nothing is added twice")
            raise
        report.added, report.existing = added.added, added.existing

    def _show_requests(self, prompts: Iterator[NewPrompt]) -> None:
        from worker.cli.preview import preview

        for prompt in islice(prompts, _SHOWN_REQUESTS):
            json_line(preview(prompt, self._settings.endpoints))
        for _ in prompts:  # the rest is checked, not shown
            pass

    def _told(self, report: Report) -> Report:
        for fault in report.faults:
            talk(str(fault) if fault.unit == report.source else f"{report.source}: {fault}")
        if more := report.bad - len(report.faults):
            are = "is" if more == 1 else "are"
            talk(f"{report.source}: {more:,} more {report.unit(more)} {are} bad")
        if report.end:
            talk(f"{report.source} {report.end}")
        if self._as_json and not self._asked["dry_run"]:
            json_line(_as_json(report))
        elif self._asked["dry_run"]:
            talk(f"{counted(report.good, 'prompt')} would be added; nothing was")
        else:
            data(_sentence(report, strict=self._asked["strict"]))
        return report


def _sorted_out(items: Iterable[NewPrompt | BadLine], report: Report) -> Iterator[NewPrompt]:
    """The good ones; the report keeps count of the others, and of why a file ended early."""
    from worker.ingest import BadLine

    try:
        for item in items:
            if isinstance(item, BadLine):
                report.bad += 1
                if len(report.faults) < _SHOWN_FAULTS:
                    report.faults.append(item)
            else:
                report.good += 1
                yield item
    except InputError as error:
        # Raised further, it would take the good prompts of the page at hand with it.
        report.end = error.message


def _template(given: str | None) -> Any:
    if given is None:
        return None
    from pathlib import Path

    from worker.ingest.template import Template

    try:
        text = Path(given[1:]).read_text(encoding="utf-8") if given.startswith("@") else given
        return Template(text)
    except OSError as error:
        raise InputError(f"the template {given[1:]} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the template {given[1:]} is not UTF-8: save it as UTF-8") from error


def _sentence(report: Report, *, strict: bool) -> str:
    where = f" to batch {report.batch}" if report.batch else ""
    if strict and report.failed:
        return f"{report.source}: nothing was added, because --strict allows no bad line"
    if not report.good and not report.failed:
        return f"{report.source} holds no prompts; nothing was added"
    if report.existing and not report.added:
        return (
            f"nothing new: {counted(report.existing, 'prompt')} of {report.source} are already in"
            f" batch {report.batch} (another --batch would take them again)"
        )
    if not report.good:
        return f"{report.source}: nothing was added"
    words = f"added {counted(report.added, 'prompt')}{where}"
    if report.existing:
        words += f"; {report.existing:,} were there already"
    if report.bad:
        words += f"; {report.bad:,} {report.unit(report.bad)} left out"
    return words


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "source": report.source,
        "batch": report.batch,
        "added": report.added,
        "existing": report.existing,
        "bad": report.bad,
        "errors": [
            {"unit": fault.unit, "number": fault.number, "reason": fault.reason}
            for fault in report.faults
        ],
        "error": report.end,
    }
