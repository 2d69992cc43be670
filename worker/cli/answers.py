"""The part of `spool doctor` that looks for text which the database has forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from worker.cli.check_result import CheckResult, broken, doubtful, ok
from worker.diagnosis.phrases import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.settings import Settings
    from worker.store import Store
    from worker.store.statements.verify import Incomplete, Page

NAMED = 100  # runs that are named; the query in docs/sql.md lists all
_CURE = "`spool add --replace` asks again what its prompt asks"


def whole(pages: Iterable[Page]) -> Iterator[CheckResult]:
    """Findings about completed runs: one for each that misses text, and how many were looked at."""
    looked_at = missing = 0
    for page in pages:
        looked_at += page.looked_at
        for run in page.incomplete:
            missing += 1
            if missing <= NAMED:
                yield broken("answers", _words(run), _CURE)
    if not missing:
        yield ok("answers", f"all text of {counted(looked_at, 'completed run')} is stored")
        return
    more = "; docs/sql.md has a query that lists all" if missing > NAMED else ""
    said = f"{missing:,} of {counted(looked_at, 'completed run')} miss text{more}"
    yield broken("answers", said)


def _words(run: Incomplete) -> str:
    who = f"run {run.run_id} of prompt {run.prompt_id} is completed, and"
    if run.stored == run.chunks:
        return f"{who} its chunks are numbered up to {run.last_seq}, though there are {run.stored}"
    return f"{who} {run.stored} of its {counted(run.chunks, 'chunk')} are stored"


def durable(store: Store, settings: Settings) -> Iterator[CheckResult]:
    """Findings about what may make the database forget what it has acknowledged."""
    if store.is_sqlite:
        mode = settings.sqlite_synchronous
        lost = "the last commits may be lost" if mode == "NORMAL" else "nothing is lost"
        yield ok("commits", f"synchronous = {mode}: when this machine loses power, {lost}")
        return
    hints = store.forgets()
    for hint in hints:
        yield doubtful("commits", hint)
    if not hints:
        yield ok("commits", "the server keeps what it has acknowledged")
