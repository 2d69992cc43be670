"""`spool add`: prompts in, from files, standard input and text.

Good lines are queued as they are read, a page a transaction; bad ones are told
with their number and do not stop the others, unless `--strict` asks for all or
nothing: then the whole source is read once before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import click

from worker.cli.add_report import AddReport, as_json, elsewhere, foreseen, located, sentence
from worker.cli.output import data, json_line, json_option, talk
from worker.cli.param_types import WholeNumber, key_values, known_endpoint
from worker.cli.session import Session, session
from worker.cli.sources import STDIN, opened, typed_text
from worker.errors import InputError

if TYPE_CHECKING:
    from worker.cli.sources import Folder, Source
    from worker.ingest import BadLine, Intake
    from worker.records import NewPrompt
    from worker.settings import Settings
    from worker.store import Store

_SHOWN_FAULTS = 10
_SHOWN_REQUESTS = 3
_BATCH_NAME_CHARS_MAX = 512  # it has an index
_BAR_FROM_BYTES = 1 << 20


@click.command(short_help="Queue prompts: files, standard input, or text.")
@click.argument("files", metavar="[FILE|DIRECTORY|-]...", nargs=-1)
@click.option(
    "-p",
    "--prompt",
    "texts",
    metavar="TEXT",
    multiple=True,
    help="A prompt, or @FILE for the text of a file; repeatable.",
)
@click.option("--batch", metavar="NAME", help="Name of the batch; for files, their own name.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["jsonl", "json", "csv", "parquet", "lines", "text"]),
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
@click.option("--priority", type=WholeNumber(-(2**31) + 1, 2**31 - 1), help="Higher goes first.")
@click.option("--max-attempts", type=WholeNumber(1, 2**31 - 1), help="Instead of the setting.")
@click.option(
    "--limit",
    metavar="N",
    type=WholeNumber(1),
    help="Only the first N prompts of each file, for a trial; added again without it, the rest.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="All or nothing: one bad line, or one changed prompt, refuses the file.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Queue changed prompts anew: those that the batch has with other content.",
)
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

    Reads JSON Lines ({"prompt": ...} or {"messages": [...]}), JSON arrays, CSV, Parquet, batch
    files of OpenAI and Anthropic, plain lines, and directories of texts, one prompt a file; gzip is
    unpacked. Adding the same file twice adds nothing twice: lines are known by their custom_id, or
    else by their number and content. A prompt that the batch has with other content is left as it
    is and named in the exit code (1); --replace queues it anew.
    """
    settings = session.settings()
    _check_usage(files, texts, asked, settings)
    adder = Adder(session, settings, asked, as_json=as_json)
    reports = [adder.texts(texts)] if texts else []
    reports += [adder.file(path) for path in files]
    if any(report.failed for report in reports):
        ctx.exit(1)


def _check_usage(
    files: tuple[str, ...], texts: tuple[str, ...], asked: Mapping[str, Any], settings: Settings
) -> None:
    if not files and not texts:
        raise click.UsageError("give a FILE, - for standard input, or -p TEXT")
    if files.count(STDIN) + texts.count(f"@{STDIN}") > 1:
        raise click.UsageError("standard input (-) can be read only once")
    if asked["custom_id"] is not None and (files or len(texts) != 1):
        raise click.UsageError("--custom-id goes with a single -p; files name theirs themselves")
    batch = asked["batch"]
    if batch is not None and not (0 < len(batch) <= _BATCH_NAME_CHARS_MAX and batch.isprintable()):
        raise click.UsageError(
            f"a batch needs a printable name of 1 to {_BATCH_NAME_CHARS_MAX} characters"
        )
    known_endpoint(asked["endpoint"], settings.endpoints)


class Adder:
    """Adds sources one after the other, and tells what became of each."""

    def __init__(
        self,
        session: Session,
        settings: Settings,
        asked: Mapping[str, Any],
        *,
        as_json: bool,
        say: Callable[[str], None] = data,
    ) -> None:
        """asked: the options of `spool add` by name; say: where the last sentence goes."""
        self._say = say
        self._session = session
        self._settings = settings
        self._asked = asked
        self._as_json = as_json
        self._template = _template(asked["template"])

    def texts(self, texts: tuple[str, ...]) -> AddReport:
        """Prompts from the command line; they are new each time unless they have a custom_id."""
        from worker.ingest import from_texts

        report = AddReport("-p", self._asked["batch"])
        typed = [typed_text(text, self._settings.max_line_bytes) for text in texts]
        intake = self._intake("-p", report)
        self._add(report, from_texts(typed, intake, self._asked["custom_id"]))
        return self._told(report)

    def file(self, path: str) -> AddReport:
        """Prompts from a file, a folder or standard input."""
        from worker.ingest import Format

        asked = self._asked["file_format"]
        found = Format(asked) if asked else None
        with opened(path, twice=self._asked["strict"], asked=found) as source:
            report = AddReport(source.name, self._asked["batch"] or source.batch)
            self._read(source, report)
            report.layout = source.layout
        return self._told(report)

    def _read(self, source: Source | Folder, report: AddReport) -> None:
        if self._asked["strict"] and not self._asked["dry_run"]:
            items = source.prompts(self._intake(source.path, report))
            self._compare(_sorted_out(items, report), report, source)
            if report.failed:
                report.good = report.added = 0
                return
            report.good = 0
        self._add(report, source.prompts(self._intake(source.path, report)), source)

    def _intake(self, path: str, report: AddReport) -> Intake:
        from pathlib import Path

        from worker.ingest import Intake

        asked = self._asked
        intake = Intake(
            endpoints=self._settings.endpoints,
            name=Path(path).name,
            batch=report.batch,
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
        report.taken = intake.taken
        return intake

    def _add(
        self,
        report: AddReport,
        items: Iterable[NewPrompt | BadLine],
        source: Source | Folder | None = None,
    ) -> None:
        from worker.cli.progress import watched

        good = islice(_sorted_out(items, report), self._asked["limit"])
        if (first := next(good, None)) is None:
            return  # no database is made for nothing
        size = source.size if source and (source.size or 0) >= _BAR_FROM_BYTES else None
        with watched(
            chain([first], good),
            size,
            lambda _: source.position() if source else 0,
            quiet=self._as_json,
        ) as shown:
            if self._asked["dry_run"]:
                self._compare(self._showing(shown), report, source)
            else:
                self._put(self._session.store(create=True), report, shown, source)

    def _put(
        self,
        store: Store,
        report: AddReport,
        prompts: Iterable[NewPrompt],
        source: Source | Folder | None,
    ) -> None:
        kept = source.kept_as if source else report.source
        try:
            report.counted(
                store.add(prompts, batch=report.batch, source=kept, replace=self._asked["replace"])
            )
        except KeyboardInterrupt:
            if report.batch is not None:
                talk(f"interrupted; add {report.source} again to go on: nothing is added twice")
            raise

    def _compare(
        self, prompts: Iterable[NewPrompt], report: AddReport, source: Source | Folder | None
    ) -> None:
        """Read all of it, and see what the database has already, if there is one."""
        if self._session.is_new_sqlite():
            report.added = sum(1 for _ in prompts)
            return
        kept = source.kept_as if source else report.source
        store = self._session.store()
        report.counted(store.compare(prompts, batch=report.batch, source=kept))
        if self._asked["replace"]:
            report.changed, report.replaced = 0, report.changed

    def _showing(self, prompts: Iterable[NewPrompt]) -> Iterator[NewPrompt]:
        from worker.cli.preview import preview

        for number, prompt in enumerate(prompts):
            if number < _SHOWN_REQUESTS:
                json_line(preview(prompt, self._settings.endpoints))
            yield prompt

    def _told(self, report: AddReport) -> AddReport:
        for fault in report.faults:
            talk(located(fault, report.source))
        if more := report.bad - len(report.faults):
            are = "is" if more == 1 else "are"
            talk(f"{report.source}: {more:,} more {report.unit(more)} {are} bad")
        if report.end:
            talk(f"{report.source} {report.end}")
        if report.good and (taken := str(report.taken or "")):
            talk(f"{report.source}: {taken}")
        if hint := elsewhere(report, named=self._asked["batch"] is not None):
            talk(hint)
        if self._as_json and not self._asked["dry_run"]:
            json_line(as_json(report))
        elif self._asked["dry_run"]:
            talk(foreseen(report))
        else:
            self._say(sentence(report, strict=self._asked["strict"]))
        return report


def _sorted_out(items: Iterable[NewPrompt | BadLine], report: AddReport) -> Iterator[NewPrompt]:
    """The good ones; the report keeps count of the others, and of why a file ended early."""
    from worker.ingest import BadLine
    from worker.ingest.several_answers import expanded

    try:
        for item in expanded(items):
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
