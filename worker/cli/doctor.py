"""`spool doctor`: can everything be reached, and what to do if not.

Every check ends in a finding, never in a traceback, so that one broken thing
does not hide the next.  Nothing is changed: no file is made, no prompt of the queue is sent; each
endpoint is asked for one token.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import stat
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from worker.cli import answers
from worker.cli.check_result import CheckResult, CheckStatus, broken, doubtful, ok
from worker.cli.output import data, json_line, json_option
from worker.cli.selection_options import SelectedPrompts, age
from worker.cli.session import Session, session
from worker.clock import Clock, SystemClock
from worker.diagnosis.phrases import counted
from worker.errors import StoreError
from worker.version import __version__

if TYPE_CHECKING:
    from worker.settings import Loaded, Settings

_MEBIBYTE = 1024 * 1024
_LITTLE_BYTES = 1024 * _MEBIBYTE
_NO_BYTES = 32 * _MEBIBYTE
_SKEW_SECONDS = 30.0
_BEGINNING = 2026  # a machine whose clock is earlier than this program has the wrong time


@click.command(short_help="Can everything be reached, and what to do if not.")
@click.option("--verify", is_flag=True, help="Is all text of all completed runs stored?")
@click.option("--batch", metavar="NAME", help="With --verify: of prompts of this batch.")
@click.option(
    "--since", metavar="AGE", callback=age, help="With --verify: completed within 12h, 7d, 2w."
)
@json_option
@session
@click.pass_context
def command(
    ctx: click.Context,
    session: Session,
    /,
    *,
    verify: bool,
    batch: str | None,
    since: timedelta | None,
    as_json: bool,
) -> None:
    """Check settings, database, disk, clock, endpoints and models; say what to do.

    Changes nothing, and asks each endpoint for one token. Exits 1 if anything is broken.

    It also looks whether all text of the last 1,000 completed runs is stored; with --verify at
    all completed runs, and at nothing else.
    """
    if not verify and (batch is not None or since is not None):
        raise click.UsageError("--batch and --since go with --verify")
    clock = SystemClock()
    findings = _verify(session, clock, batch, since) if verify else _everything(session, clock)
    sick = any(each.health is CheckStatus.BROKEN for each in findings)
    if as_json:
        json_line({"ok": not sick, "findings": [each.as_object() for each in findings]})
    else:
        for each in findings:
            data(str(each))
    if sick:
        ctx.exit(1)


def _everything(session: Session, clock: Clock) -> list[CheckResult]:
    from worker.cli.doctor_checks import endpoints

    loaded = session.loaded()
    return [
        _program(),
        *_settings(loaded),
        *_database(session, loaded.settings),
        *_disk(loaded.settings),
        *_clock(loaded.settings, clock),
        *endpoints(loaded, clock),
    ]


def _verify(
    session: Session, clock: Clock, batch: str | None, since: timedelta | None
) -> list[CheckResult]:
    store = session.store()
    SelectedPrompts(batch=batch).check(store)
    try:
        moment = None if since is None else clock.now() - since
    except OverflowError:
        raise click.UsageError("--since reaches back before the calendar begins") from None
    return [*answers.whole(store.verify(everything=True, batch=batch, since=moment))]


def _program() -> CheckResult:
    """Without its compiled part nothing is wrong, but whoever wonders about speed should know."""
    from worker.wire.framing.template import pour

    compiled = "with" if pour else "without"
    python = platform.python_version()
    return ok("program", f"Spool {__version__} {compiled} its compiled part, Python {python}")


def _settings(loaded: Loaded) -> Iterator[CheckResult]:
    count = counted(len(loaded.settings.endpoints), "endpoint")
    yield ok("settings", f"{loaded.file or 'no file, all defaults'}; {count}")
    for hint in loaded.hints:
        yield doubtful("settings", hint)


def _database(session: Session, settings: Settings) -> Iterator[CheckResult]:
    where = settings.safe_database_url
    if session.is_new_sqlite():
        yield doubtful(
            "database", f"{where} does not exist yet", "`spool add` or `spool run` makes it"
        )
        return
    from worker.store.diagnostics import vitals

    try:
        version = vitals(settings.database_url).version
        store = session.store()
        status = store.status()
        crowded = store.check_premises(listens=settings.listen)
        stored = [*answers.durable(store, settings), *answers.whole(store.verify())]
    except StoreError as error:
        yield broken("database", f"{where}: {error.message}")
        return
    total = sum(number for tally in status.tallies for number in tally.counts.values())
    kind = "SQLite" if settings.sqlite_file else "PostgreSQL"
    yield ok("database", f"{where}, {kind} {version}, {counted(total, 'prompt')}")
    for hint in crowded:
        yield doubtful("database", hint)
    yield from stored


def _disk(settings: Settings) -> Iterator[CheckResult]:
    """SQLite only: the disk of a server is not ours to see."""
    if settings.sqlite_file is None:
        return
    file = settings.sqlite_file.absolute()
    folder = file.parent
    if not folder.is_dir():
        yield broken("disk", f"there is no directory {folder}", "make it, or change database_url")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        cure = "SQLite writes files beside the database; let this user write there"
        yield broken("disk", f"{folder} cannot be written", cure)
        return
    if file.exists() and not os.access(file, os.W_OK):
        yield broken("disk", f"{file} cannot be written", "let this user write the database")
        return
    if file.exists() and file.stat().st_mode & stat.S_IROTH:
        cure = f"`chmod 600 {shlex.quote(str(file))}` keeps them to yourself"
        yield doubtful("disk", f"every user of this machine can read {file}, answers and all", cure)
    free = shutil.disk_usage(folder).free
    said = f"{free // _MEBIBYTE:,} MiB free in {folder}"
    if free < _NO_BYTES:
        yield broken("disk", said, "make room; workers wait meanwhile and lose nothing")
    elif free < _LITTLE_BYTES:
        yield doubtful("disk", said, "`spool prune --older-than 30d` deletes old results")
    else:
        yield ok("disk", said)


def _clock(settings: Settings, clock: Clock) -> Iterator[CheckResult]:
    now = clock.now()
    if now.year < _BEGINNING:
        yield broken("clock", f"this machine thinks it is {now:%Y-%m-%d}", "set its time")
        return
    if settings.sqlite_file:
        yield ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC")
        return
    from worker.store.diagnostics import vitals

    try:
        theirs = vitals(settings.database_url).now
    except StoreError:
        return  # the finding about the database says it
    skew = (clock.now() - theirs).total_seconds()
    if abs(skew) > _SKEW_SECONDS:
        which = "ahead of" if skew > 0 else "behind"
        yield doubtful(
            "clock",
            f"this machine is {abs(skew):.0f} s {which} the database",
            "leases go by the database, so nothing breaks; but set the time of one of them",
        )
    else:
        yield ok(
            "clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, within {_SKEW_SECONDS:.0f} s of the database"
        )
