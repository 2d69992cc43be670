"""What people do with the database: queue prompts, read what came of them, change their mind.

Long answers come by the page, in the order of ids, each page a transaction of its own: memory
stays flat, and nobody who reads slowly keeps a transaction open.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable, RowMapping

from worker.errors import ErrorCode, StoreError, Verdict
from worker.records import Added, Json, Kind, NewPrompt
from worker.states import FINAL_PROMPT_STATES, PromptState, RunState
from worker.store import enqueue
from worker.store.database.engine import Database
from worker.store.database.prepared import Prepared
from worker.store.database.sessions import follow_an_index
from worker.store.rows import (
    Attempt,
    LiveRun,
    PromptDetail,
    QueueStatus,
    ResultRow,
    Selection,
    Tally,
    WorkerStatus,
)
from worker.store.statements import listing, manage, outcomes, read

PAGE = 1000  # prompts that change in one transaction
# Chunks that are read at once: as many as make an eighth of a million characters, of which
# one takes four bytes if there is an emoji among them.
TEXT_PAGE_CHARS = 131_072
TEXT_PAGE_LEAST = 2
TEXT_PAGE_MOST = 512
# Prompts that are read at once: likewise; the first page is one prompt, for nobody knows yet.
RESULTS_PAGE_CHARS = 1_048_576
RESULTS_PAGE_GROWTH = 4
_STATUS = ResultRow._fields.index("status")
_STATES = {state.value: state for state in PromptState}
FINAL = frozenset(FINAL_PROMPT_STATES)
Report = Callable[[int, str], object]  # of a prompt: its id, and what of it nobody can read
S = TypeVar("S", PromptState, RunState)
NAMED = 20  # prompts that `status` lists by their ids


class ClientStore:
    """The part of the store that commands use."""

    _db: Database
    _work_db: Database

    # --- queue ------------------------------------------------------------------------------

    def add(
        self,
        prompts: Iterable[NewPrompt],
        *,
        batch: str | None = None,
        source: str | None = None,
        replace: bool = False,
    ) -> Added:
        """Queue prompts, a page of at most 1,000 in each transaction, in bounded memory.

        A prompt whose `custom_id` the batch has already is counted and left alone, so the same
        file may be added twice.  One that asks something else is counted apart, and with `replace`
        queued anew; the runs that answered the old request stay.  Without a batch nothing is
        recognised.  Raises InputError, naming the prompt, for what no database can store; earlier
        pages stay.
        """
        return enqueue.add(self._db, prompts, batch=batch, source=source, replace=replace)

    def compare(
        self, prompts: Iterable[NewPrompt], *, batch: str | None = None, source: str | None = None
    ) -> Added:
        """What `add` would do with these prompts; nothing is written."""
        return enqueue.compare(self._db, prompts, batch=batch, source=source)

    # --- read -------------------------------------------------------------------------------

    def prompt(self, prompt_id: int) -> PromptDetail | None:
        """Everything about one prompt but its texts; None if there is no such prompt."""
        with self._db.reading() as connection:
            row = connection.execute(read.prompt(), {"id": prompt_id}).mappings().first()
        if row is None:
            return None
        state = _known(PromptState, row["status"], f"prompt {prompt_id}")
        return PromptDetail(**{**row, "status": state})

    def find(self, custom_id: str, batch: str | None = None) -> list[int]:
        """Ids of the prompts with that custom id, in one batch or in any."""
        statement = read.find(in_batch=batch is not None)
        with self._db.reading() as connection:
            found = connection.execute(statement, {"custom_id": custom_id, "batch": batch})
            return list(found.scalars())

    def attempts(self, prompt_id: int) -> list[Attempt]:
        """Every run of a prompt, the first one first."""
        with self._db.reading() as connection:
            rows = connection.execute(read.attempts(), {"id": prompt_id}).mappings().all()
        return [
            Attempt(**{**row, "status": _known(RunState, row["status"], f"run {row['run_id']}")})
            for row in rows
        ]

    def text(
        self, run_id: int, kind: Kind = Kind.TEXT, after_seq: int = -1
    ) -> Iterator[tuple[int, str]]:
        """The chunks of one kind behind `after_seq`, as (seq, text), in their order."""
        page = TEXT_PAGE_LEAST
        while True:
            given = {"id": run_id, "kind": kind.value, "after": after_seq, "page": page}
            with self._db.reading() as connection:
                rows = connection.execute(read.text(), given).all()
            yield from ((seq, text) for seq, text in rows)
            if len(rows) < page:
                return
            after_seq = rows[-1].seq
            chars = sum(len(text) for _, text in rows)
            page = min(max(TEXT_PAGE_CHARS * page // (chars + 1), TEXT_PAGE_LEAST), TEXT_PAGE_MOST)

    def results(
        self, selection: Selection, *, page: int = 500, report: Report | None = None
    ) -> Iterator[ResultRow]:
        """The prompts of a selection in the order of their ids, without texts.

        Args:
            selection: which prompts.
            page: how many are read at once, at most; fewer where prompts are long.
            report: called for each prompt that holds what nobody can read; its row comes without
                that value, or is left out if its status is unknown.
        """
        with self._db.reading() as connection:
            after, last = connection.execute(read.span(selection)).one()
        if last is None:
            return
        statement = Prepared(read.results(selection), self._db.engine.dialect)
        size = 1
        while True:
            # Without statistics, as on tables that have just been filled, PostgreSQL would sort
            # all that is left for every page: here it may only walk along the index.
            with self._work_db.reading() as connection:
                given = {"after": after, "last": last, "page": size}
                rows = statement.rows(connection, given)
            characters = 1
            for values in rows:  # the columns are in the order of the fields
                state = _STATES.get(values[_STATUS])
                if state is None:
                    _unreadable(report, values[0], f"unknown status {values[_STATUS]!r}")
                    continue
                values[_STATUS] = state
                row = ResultRow._make(values)
                if row.created_at is None or (row.finished_at is None and state in FINAL):
                    _unreadable(report, row.id, "created_at or finished_at is no moment")
                characters += row.characters
                yield row
            if len(rows) < size:
                return
            after = values[0]
            fitting = max(RESULTS_PAGE_CHARS * size // characters, 1)
            size = min(page, size * RESULTS_PAGE_GROWTH, fitting)

    def count(self, selection: Selection) -> int:
        """How many prompts a selection holds."""
        with self._db.reading() as connection:
            return connection.execute(read.count(selection)).scalar_one()

    def newest(
        self, selection: Selection, *, limit: int, before: int | None = None
    ) -> listing.Page:
        """At most `limit` prompts of a selection, the newest first, with ids below `before`.

        With conditions at most `listing.LOOKED_THROUGH` prompts are looked through for a page.
        """
        # As for `results`: PostgreSQL may only walk along the key here, and sorts nothing.
        with self._work_db.reading() as connection:
            return listing.newest(connection, selection, limit=limit, before=before)

    def status(self) -> QueueStatus:
        """The whole queue at one glance."""
        with self._db.reading() as connection:
            groups = connection.execute(read.tallies()).all()
            ready, later, seconds = connection.execute(read.waiting()).one()
            workers = connection.execute(read.living()).mappings().all()
            live = connection.execute(read.live()).mappings().all()
            truncated = connection.execute(read.truncated()).scalar_one()
            failures = _failures(groups)
            capped: Iterable[int] = ()
            if ErrorCode.TOO_MANY_CRASHES in failures:
                capped = connection.execute(read.crash_capped(), {"page": NAMED}).scalars().all()
        return QueueStatus(
            tallies=_tallies(groups),
            workers=tuple(map(_worker, workers)),
            live=tuple(LiveRun(**row) for row in live),
            ready=ready,
            later=later,
            next_in_seconds=None if seconds is None else max(0.0, seconds),
            failures=failures,
            crash_capped=tuple(capped),
            completed_last_hour=sum(group.recent for group in groups),
            completed_last_minute=sum(group.lately for group in groups),
            truncated=truncated,
        )

    def outcome(self, batch: str) -> outcomes.Outcome:
        """How far the prompts of a batch are."""
        with self._db.reading() as connection:
            return outcomes.look(connection, outcomes.of_batch(), batch)

    def unfinished(self) -> outcomes.Outcome:
        """All prompts that are not finished."""
        with self._db.reading() as connection:
            return outcomes.look(connection, outcomes.unfinished())

    def unanswered(self) -> int:
        """How many prompts have failed or were cancelled."""
        with self._db.reading() as connection:
            return outcomes.look(connection, outcomes.unanswered()).unanswered

    def has_batch(self, name: str) -> bool:
        """Whether a batch of this name holds any prompt."""
        with self._db.reading() as connection:
            return connection.execute(read.any_of(Selection(batch=name))).first() is not None

    def batch_names(self) -> list[str]:
        """The names of all batches that hold prompts."""
        with self._db.reading() as connection:
            return list(connection.execute(read.batch_names()).scalars())

    def workers(self) -> tuple[WorkerStatus, ...]:
        """Workers that were alive in the last hour and have not signed off, or hold runs."""
        with self._db.reading() as connection:
            rows = connection.execute(read.living()).mappings().all()
        return tuple(map(_worker, rows))

    def lengths(self, run_ids: Collection[int]) -> dict[int, int]:
        """How many characters of text these runs have stored; those without any are left out."""
        with self._db.reading() as connection:
            rows = connection.execute(read.lengths(), {"ids": list(run_ids)}).all()
        return {row.run_id: row.chars for row in rows}

    # --- decide -----------------------------------------------------------------------------

    def cancel(self, selection: Selection) -> int:
        """Cancel what is queued, and ask the workers to cancel what runs.

        Returns how many prompts that concerns; those already asked for are not counted again.
        """
        pages = self._in_pages(selection, manage.to_cancel(selection), _with(manage.cancel()))
        return sum(pages)

    def retry(
        self,
        selection: Selection,
        *,
        options: Mapping[str, Json] | None = None,
        endpoint: str | None = None,
        model: str | None = None,
        fresh: bool = False,
    ) -> int:
        """Queue failed and cancelled prompts again, as if they were new; returns how many.

        `options`, `endpoint` and `model` replace the prompt's own where given.  Runs and texts of
        earlier attempts stay, and a text that was cut is gone on with, unless `fresh`.
        """
        given = {"options": options, "endpoint": endpoint, "model": model}
        changed = {name: value for name, value in given.items() if value is not None}
        statement = manage.retry(tuple(changed), fresh=fresh)
        values = {f"new_{name}": value for name, value in changed.items()}
        change = _with(statement, values)
        return sum(self._in_pages(selection, manage.to_retry(selection), change))

    def prune(self, selection: Selection, *, page: int | None = None) -> Iterator[int]:
        """Delete finished prompts, with their runs and texts.

        Yields how many each transaction has deleted, which are at most `page`: 1,000.
        """
        change = _with(manage.prune())
        yield from self._in_pages(selection, manage.to_prune(selection), change, page)

    def _in_pages(
        self,
        selection: Selection,
        find: Executable,
        change: Callable[[Connection, Any], int],
        page: int | None = None,
    ) -> Iterator[int]:
        page = page or PAGE
        with self._db.reading() as connection:
            after, last = connection.execute(read.span(selection)).one()
        while last is not None:
            with self._db.writing() as connection:
                follow_an_index(connection)
                found = connection.execute(find, {"after": after, "last": last, "page": page})
                ids = found.scalars().all()
                changed = change(connection, ids) if ids else 0
            if changed:
                yield changed
            if len(ids) < page:
                return
            after = ids[-1]


def _with(
    statement: Executable, values: Mapping[str, Any] | None = None
) -> Callable[[Connection, Any], int]:
    """A step that applies a statement to the prompts of a page, and counts them."""

    def change(connection: Connection, ids: Any) -> int:
        counted = connection.execution_options(preserve_rowcount=True)
        return counted.execute(statement, {"ids": ids, **(values or {})}).rowcount

    return change


def _unreadable(report: Report | None, prompt_id: int, why: str) -> None:
    if report is not None:
        report(prompt_id, why)


def _known(states: type[S], word: str, whose: str) -> S:
    """The state of this name; raises StoreError for a word that this version does not know."""
    try:
        return states(word)
    except ValueError:
        message = f"{whose} has the status {word!r}, which this version of Spool does not know"
        raise StoreError(message, code=ErrorCode.INTERNAL_ERROR, verdict=Verdict.STOP) from None


def _worker(row: RowMapping) -> WorkerStatus:
    """What a worker says of its endpoints is left out if it is not what workers write."""
    said = row["endpoints"]
    sound = isinstance(said, dict) and all(isinstance(each, dict) for each in said.values())
    return WorkerStatus(**{**row, "endpoints": said if sound else None})


def _failures(groups: Iterable[Any]) -> dict[str, int]:
    failures: dict[str, int] = defaultdict(int)
    for group in groups:
        if group.status == PromptState.FAILED:
            failures[group.why or ErrorCode.INTERNAL_ERROR.value] += group.number
    return dict(failures)


def _tallies(groups: Iterable[Any]) -> tuple[Tally, ...]:
    counts: dict[tuple[str | None, str], dict[PromptState, int]] = {}
    for group in groups:
        own = counts.setdefault((group.batch, group.endpoint), {})
        state = _STATES.get(group.status)
        if state is None:
            continue  # `export` names such prompts
        own[state] = own.get(state, 0) + group.number
    return tuple(Tally(batch, endpoint, own) for (batch, endpoint), own in counts.items())
