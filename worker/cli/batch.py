"""`spool batch IN -o OUT`: add, run until the batch is done, export; as `vllm run-batch`.

Every step is the step of another command, and each may be done twice: what was added is known by
its `custom_id`, what was answered is not asked again, and OUT appears when it is complete.  So the
same command goes on after whatever ended it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.cli.add import Adder
from worker.cli.export import BY_SUFFIX, Passed, Target, spare_the_database, written
from worker.cli.on_complete import run_command
from worker.cli.output import json_line, json_option, talk
from worker.cli.param_types import WholeNumber, key_values, known_endpoint
from worker.cli.session import Session, session
from worker.cli.sources import STDIN
from worker.diagnosis.phrases import counted
from worker.errors import SettingsError, StoreError
from worker.ingest.intake import DEFAULT_ENDPOINT
from worker.records import BATCH_URL
from worker.states import FINAL_PROMPT_STATES, PromptState

if TYPE_CHECKING:
    from worker.cli.add_report import AddReport
    from worker.clock import Clock
    from worker.settings import Settings
    from worker.store import Store
    from worker.store.statements.outcomes import Outcome
    from worker.supervisor.worker import Worker

_LOOK_SECONDS = 0.5
_LOOK_SHARE = 20  # a look costs at most a twentieth of the time between two
_INTERRUPTED = 130
_DIALECT = "openai-chat"  # what most servers speak that are named on a command line
# Options of `add` that a whole batch has no use for.
_ADDS: Mapping[str, Any] = {
    "file_format": None,
    "metadata": {},
    "custom_id": None,
    "dry_run": False,
    "model": None,
}


@click.command(short_help="Add a file, run until it is done, export: all in one.")
@click.argument("source", metavar="IN")
@click.option(
    "-o", "--output", "out", metavar="OUT", required=True, help="A file, or - for stdout."
)
@click.option("--errors", metavar="FILE", help="OpenAI Batch: failures go there, not into OUT.")
@click.option(
    "--format",
    "out_format",
    type=click.Choice(["jsonl", "csv", "parquet", "openai-batch"]),
    help="Of OUT; else by its name, and by what IN holds.",
)
@click.option("--batch", metavar="NAME", help="Name of the batch, instead of the name of IN.")
@click.option("--template", metavar="TEXT", help="Make prompts of rows, as for `spool add`.")
@click.option("--id-column", metavar="NAME", help="The column that holds the custom_id.")
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
    "--limit", metavar="N", type=WholeNumber(1), help="Only the first N prompts, for a trial."
)
@click.option("--priority", type=WholeNumber(-(2**31) + 1, 2**31 - 1), help="Higher goes first.")
@click.option("--max-attempts", type=WholeNumber(1, 2**31 - 1), help="Instead of the setting.")
@click.option("--strict", is_flag=True, help="Do nothing if one line of IN is bad.")
@click.option("--replace", is_flag=True, help="Ask changed prompts anew.")
@click.option("--endpoint", metavar="NAME", help="Send them there, whatever IN says.")
@click.option("--base-url", metavar="URL", help="A server that no spool.toml names.")
@click.option("--dialect", metavar="NAME", help=f"What it speaks; {_DIALECT} with --base-url.")
@click.option("--model", metavar="NAME", help="For prompts that name none.")
@click.option("--api-key-env", metavar="VARIABLE", help="The variable that holds its key.")
@click.option(
    "--on-complete",
    metavar="CMD",
    help="A shell command for the end, with BATCH_NAME, BATCH_OUTPUT, BATCH_COMPLETED, ...",
)
@click.option("--concurrency", type=WholeNumber(1, 100_000), help="Streams at a time.")
@json_option
@session
@click.pass_context
def command(
    ctx: click.Context,
    session: Session,
    /,
    *,
    source: str,
    out: str,
    errors: str | None,
    out_format: str | None,
    on_complete: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Add the prompts of IN, run until all have finished, and write their answers to OUT.

    Called again after an interruption, it goes on: nothing is added or asked twice, and OUT
    appears when it is complete. Other prompts of the database may be answered meanwhile. IN may be
    whatever `spool add` reads; OUT has the format that IN implies: OpenAI Batch lines for OpenAI
    Batch lines, failures among them unless --errors names a file.

    Exits with 0 if all are completed, with 1 if some failed or were left out, or if CMD failed, and
    with 130 if it was interrupted.
    """
    settings = _settings(session, asked)
    name = asked["batch"] or (None if source == STDIN else Path(source).name)
    if name is None:
        raise click.UsageError("standard input has no name: give the batch one with --batch")
    if as_json and out == "-":
        raise click.UsageError("--json and the answers would share standard output: name a file")
    spare_the_database(settings.sqlite_file, (out, errors))
    if source != STDIN and Path(source).resolve() in (
        Path(o).resolve() for o in (out, errors) if o
    ):
        raise click.UsageError("the answers would replace IN: write them to another file")
    asked["batch"] = name
    report = Adder(session, settings, {**_ADDS, **asked}, as_json=False, say=talk).file(source)
    if report.changed or (asked["strict"] and report.failed) or not report.good:
        ctx.exit(1)  # the sentence of `add` says why, and what to do
    store = session.store()
    outcome = _answered(session, settings, store, name, as_json=as_json)
    if outcome.left:
        talk(f"{counted(outcome.left, 'prompt')} still to answer: the same command goes on")
        ctx.exit(_INTERRUPTED)
    target = Target(_format(out_format, out, source, store, name), out, errors, partial=False)
    passed = Passed()
    count = _exported(session, store, target, name, passed)
    done = _Batch(name, out, count, report, outcome)
    _tell(done, as_json=as_json)
    good = on_complete is None or run_command(on_complete, _facts(done))
    if outcome.unanswered or report.failed or passed.unreadable or not good:
        ctx.exit(1)


def _settings(session: Session, asked: dict[str, Any]) -> Settings:
    """The settings in force, with the endpoint that the options describe."""
    base_url, dialect = asked.pop("base_url"), asked.pop("dialect")
    described = {
        "base_url": base_url,
        "dialect": dialect or (_DIALECT if base_url else None),
        "model": asked.pop("model"),
        "api_key_env": asked.pop("api_key_env"),
        "concurrency": asked.pop("concurrency"),
    }
    given = {key: value for key, value in described.items() if value is not None}
    name = asked["endpoint"] or DEFAULT_ENDPOINT
    settings = session.settings(endpoints={name: given} if given else None)
    known_endpoint(asked["endpoint"], settings.endpoints)
    return settings


def _answered(
    session: Session, settings: Settings, store: Store, batch: str, *, as_json: bool
) -> Outcome:
    """Run until nothing of the batch is left, or until told to stop."""
    from worker.app.worker_app import serving
    from worker.cli.run import work
    from worker.clock import SystemClock

    outcome = store.outcome(batch)
    if not outcome.left:
        return outcome
    if unknown := sorted(set(outcome.endpoints) - settings.endpoints.keys()):
        raise SettingsError(
            f"batch {batch} has prompts for the endpoint {unknown[0]!r}, which is not configured:"
            f" configure it, or `spool cancel --batch {batch}`"
        )
    session.loaded().check_keys()
    served = serving(settings, outcome.endpoints)
    hints = store.check_premises(listens=served.listen)
    ends = Ends(store, batch, SystemClock())
    work(session, served, store, hints, drain=True, as_json=as_json, also=ends.follow)
    return store.outcome(batch)


class Ends:
    """Stops a worker when its batch is done, whatever else is queued."""

    def __init__(self, store: Store, batch: str, clock: Clock) -> None:
        self._store = store
        self._batch = batch
        self._clock = clock

    async def follow(self, worker: Worker) -> None:
        """Look until nothing is left."""
        while True:
            began = self._clock.monotonic()
            if await asyncio.to_thread(self._done):
                worker.stop()
                return
            took = self._clock.monotonic() - began
            await self._clock.sleep(max(_LOOK_SECONDS, took * _LOOK_SHARE))

    def _done(self) -> bool:
        try:
            return not self._store.outcome(self._batch).left
        except StoreError:
            return False  # the worker meets it too, and reports it


def _format(given: str | None, out: str, source: str, store: Store, batch: str) -> str:
    """What OUT is to be: as asked, by its name, by the name of IN, by what IN holds."""
    if given is not None:
        return given
    for path in (out, source):
        if (known := BY_SUFFIX.get(Path(path).suffix.lower())) is not None:
            return known
    from worker.store import Selection

    first = next(store.results(Selection(batch=batch), page=1), None)
    asked_for = (first.metadata if first else None) or {}
    return "openai-batch" if BATCH_URL in asked_for else "jsonl"


def _exported(session: Session, store: Store, target: Target, batch: str, passed: Passed) -> int:
    from worker.store import Selection

    if target.file_format == "openai-batch" and target.errors is None:
        target = Target(target.file_format, target.out, target.out, partial=False)
    selection = Selection(batch=batch, states=tuple(FINAL_PROMPT_STATES))
    return written(session, store, target, selection, passed)


@dataclass(frozen=True, slots=True)
class _Batch:
    """What became of it."""

    name: str
    out: str
    written: int
    report: AddReport
    outcome: Outcome


def _tell(batch: _Batch, *, as_json: bool) -> None:
    report, outcome = batch.report, batch.outcome
    total = outcome.number(*PromptState)
    if total > report.good:
        more = counted(total - report.good, "prompt")
        talk(f"batch {batch.name} has {more} beside those of {report.source}: they are written too")
    if as_json:
        json_line(_as_object(batch))
        return
    words = f"{counted(outcome.number(PromptState.COMPLETED), 'prompt')} completed"
    if outcome.unanswered:
        words += f", {outcome.unanswered:,} failed or cancelled"
    where = "standard output" if batch.out == "-" else batch.out
    talk(f"{words}; wrote {counted(batch.written, 'prompt')} to {where}")
    if outcome.unanswered:
        talk(
            f"`spool list --batch {batch.name} --status failed` says why; after"
            f" `spool retry --batch {batch.name}` the same command asks them again"
        )


def _facts(batch: _Batch) -> Mapping[str, Any]:
    """What a command learns, as BATCH_NAME and so on."""
    told = {**_as_object(batch), "name": batch.name}
    del told["batch"]
    return told


def _as_object(batch: _Batch) -> Mapping[str, Any]:
    outcome, report = batch.outcome, batch.report
    return {
        "batch": batch.name,
        "output": batch.out,
        "written": batch.written,
        "added": report.added,
        "existing": report.existing,
        "bad": report.bad,
        **{str(each): outcome.number(each) for each in sorted(FINAL_PROMPT_STATES)},
    }
