"""What a worker does with the database; one method, one transaction.

`commit` is the heart: whatever the runs of a worker produced and however they ended
goes in together, or not at all.  It may be sent again when the answer to it was lost.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection

from worker.errors import ErrorCode, StoreError, Verdict
from worker.records import Beginning, Chunk, Ending, Owned, Refusals, Rescued, Run
from worker.states import PromptState, RunEvent, target
from worker.store import claiming
from worker.store.claimed import as_run
from worker.store.database.column_types import dumps
from worker.store.database.prepared import Borrowed
from worker.store.database.sql_expressions import parameters
from worker.store.ending_rows import ENDING, as_json, as_rows, by_run, forgotten_end
from worker.store.rows import Backlog
from worker.store.statements import commit as commits
from worker.store.statements import fence, manage, priority_levels, read, rescue
from worker.store.statements.conditions import INTEGER_MAX
from worker.store.statements.continuation import ContinuingSide
from worker.store.statements.endpoint_states import EndpointStates
from worker.store.statements.fence import STREAMING, Fence, beginnings_of, fences_of
from worker.store.statements.suspects import NO_SUSPECTS
from worker.store.statements.workers import WorkerRows
from worker.wire.tool_calls import assemble_tool_calls

_CRASHED = "the worker that carried it stopped renewing its lease"
_KILLED = "the worker that carried it was told to stop, and was killed before it had handed it back"
_CAME_BACK = "its worker was paused for longer than its lease, and lives"
_ENDING_COLUMNS = parameters(ENDING)
_CHUNK_COLUMNS = parameters(commits.CHUNK)
_EXTRA_COLUMNS = parameters(commits.EXTRA)
_REQUEST_COLUMNS = parameters(commits.REQUEST)
_FENCE_COLUMNS = parameters(fence.FENCE)
_NONCE_BITS = 63
_STRAY = "its prompt was changed by hand while it was streaming"


class WorkerStore(WorkerRows, EndpointStates, ContinuingSide):
    """The part of the store that workers use."""

    _filled: set[str]  # endpoints whose last claim got all it asked for: there will be more

    # --- claim ------------------------------------------------------------------------------

    def claim(
        self,
        worker_id: str,
        endpoint: str,
        limit: int,
        *,
        dialect: str,
        model: str,
        max_attempts: int,
        max_crashes: int = 0,
        suspects: int = INTEGER_MAX,
        without: Collection[int] = (),
    ) -> list[Run]:
        """Start runs of up to `limit` prompts: highest priority first, then who keeps its place.

        Claims nothing for a worker without a valid lease.  `model` and `max_attempts` are
        what NULL in a prompt means.  Of the prompts that `max_crashes` would fail after the next
        crash, a worker is given one at a time; 0 means that nobody counts.

        Of those that broke off twice without evidence and progress, at most `suspects` are given,
        and none of the batches `without` (0: of prompts without a batch).
        """
        nonce = secrets.randbits(_NONCE_BITS)
        given = {
            "worker": worker_id,
            "for_endpoint": endpoint,
            "limit": limit,
            "in_dialect": dialect,
            "default_model": model,
            "default_max_attempts": max_attempts,
            "suspect_from": max_crashes - 1 if max_crashes > 1 else NO_SUSPECTS,
            "suspects": suspects,
            **({"without": sorted(without)} if without else {}),
            "nonce": nonce,
        }
        if self._work_db.is_sqlite and not self._anything_ready(endpoint):
            return []
        rows = claiming.claim(self._work_db, given)
        (self._filled.add if len(rows) == limit else self._filled.discard)(endpoint)
        found = [as_run(row, nonce) for row in sorted(rows, key=itemgetter(0))]
        unreadable = [each for each in found if isinstance(each, Ending)]
        if unreadable:
            self.commit(worker_id, [], unreadable)
        return [each for each in found if isinstance(each, Run)]

    def _anything_ready(self, endpoint: str) -> bool:
        if endpoint in self._filled:
            return True
        with self._work_db.reading() as connection:
            ready = self._work_db.prepared(priority_levels.anything_ready())
            return bool(ready.run(connection, {"for_endpoint": endpoint}))

    # --- commit -----------------------------------------------------------------------------

    def commit(
        self, worker_id: str, chunks: Sequence[Chunk], endings: Sequence[Ending]
    ) -> Refusals:
        """Store chunks and endings in one transaction; returns the runs that were lost.

        A run is lost if it is not this worker's, or not streaming any more, or if its prompt
        was changed by hand, or if the database has less of it than it had acknowledged; nothing of
        it is written.  A run is blocked while another transaction holds its row, or, when it ends,
        that of its prompt.  The same call may be repeated after a commit whose answer was lost: it
        writes nothing twice and loses no run.
        """
        ends = by_run(endings)
        flushes = {chunk.run_id for chunk in chunks} - ends.keys()
        if not ends and not flushes:
            return Refusals()
        unmeasured = {end.run_id for end in endings if end.chars is None}
        calling = {end.run_id for end in endings if end.calls_tools} | unmeasured
        fences = fences_of(chunks, endings)
        several = chunks or calling
        beginnings = beginnings_of(chunks)
        self._copy_ahead(worker_id, beginnings)
        with self._work_db.writing() if several else self._work_db.single() as connection:
            self._copy_held(connection, worker_id, beginnings)
            live = self._hold(connection, worker_id, [fences[run_id] for run_id in flushes])
            live |= self._end(connection, worker_id, endings, fences)
            self._insert(connection, [chunk for chunk in chunks if chunk.run_id in live])
            self._note(connection, [b for b in beginnings.values() if b.run_id in live])
            self._keep_tool_calls(connection, calling & live)
            if measured := unmeasured & live:
                self._measure(connection, worker_id, measured)
        refused = [fences[run_id] for run_id in fences.keys() - live]
        return self._explain(worker_id, refused, ends) if refused else Refusals()

    def _copy_ahead(self, worker_id: str, beginnings: Mapping[Fence, Beginning]) -> None:
        """Of a long text that is copied, all but the end: each part in a transaction of its own."""
        for held, beginning in beginnings.items():
            for bounds in pairwise((0, *beginning.bounds[:-1])):
                with self._work_db.writing() as connection:
                    if self._hold(connection, worker_id, [held]):
                        self._copy(connection, beginning, bounds)

    def _copy_held(
        self, connection: Borrowed, worker_id: str, beginnings: Mapping[Fence, Beginning]
    ) -> None:
        """Copy what runs begin with, before the fence asks whether it is there."""
        copying = {held: each for held, each in beginnings.items() if each.chunks}
        live = self._hold(connection, worker_id, list(copying))
        for each in copying.values():
            if each.run_id in live:
                self._copy(connection, each, (0, *each.bounds)[-2:])

    def _measure(self, connection: Borrowed, worker_id: str, ids: Collection[int]) -> None:
        given = {"ids": sorted(ids), "worker": worker_id}
        self._work_db.prepared(commits.measure()).count(connection, given)

    def _fenced(self, worker_id: str, fences: Sequence[Fence]) -> dict[str, Any]:
        """The parameters of a statement that asks the fence for these runs."""
        if self._work_db.is_sqlite:
            return {"fence": fences, "worker": worker_id}
        columns = zip(_FENCE_COLUMNS, zip(*fences, strict=True), strict=True)
        return {**dict(columns), "worker": worker_id}

    def _hold(self, connection: Borrowed, worker_id: str, fences: Sequence[Fence]) -> set[int]:
        if not fences:
            return set()
        hold = self._work_db.prepared(fence.hold_flushing(is_sqlite=self._work_db.is_sqlite))
        rows = hold.run(connection, self._fenced(worker_id, fences))
        return {run_id for (run_id,) in rows}

    def _end(
        self,
        connection: Borrowed,
        worker_id: str,
        endings: Sequence[Ending],
        fences: Mapping[int, Fence],
    ) -> set[int]:
        if not endings:
            return set()
        prepared = self._work_db.prepared
        if not self._work_db.is_sqlite:
            wanted = {"endings": as_json(endings, fences), "worker": worker_id}
            ended = prepared(commits.end_postgresql()).run(connection, wanted)
            return {run_id for (run_id,) in ended}
        given = self._fenced(worker_id, [fences[end.run_id] for end in endings])
        held = {run_id for (run_id,) in prepared(fence.hold_ending_sqlite()).run(connection, given)}
        rows = as_rows((end for end in endings if end.run_id in held), fences)
        if rows:
            for statement in (commits.end_runs_sqlite(), commits.end_prompts_sqlite()):
                prepared(statement).count_each(connection, _ENDING_COLUMNS, rows, worker=worker_id)
        return held

    def _insert(self, connection: Borrowed, chunks: Sequence[Chunk]) -> None:
        if not chunks:
            return
        rows = [(chunk.run_id, chunk.seq, chunk.kind.value, chunk.text) for chunk in chunks]
        is_sqlite = self._work_db.is_sqlite
        prepared = self._work_db.prepared(commits.add_chunks(is_sqlite=is_sqlite))
        insert = prepared.count_each if is_sqlite else prepared.count_arrays
        if insert(connection, _CHUNK_COLUMNS, rows) != len(rows):
            self._check_same(connection, chunks)
        first = [(each.run_id, each.request_hash) for each in chunks if each.request_hash]
        if first:
            prepared = self._work_db.prepared(commits.note_requests(is_sqlite=is_sqlite))
            note = prepared.count_each if is_sqlite else prepared.count_arrays
            note(connection, _REQUEST_COLUMNS, first)
        extras = [extra for chunk in chunks for extra in chunk.extras]
        if extras:
            prepared = self._work_db.prepared(commits.add_extras(is_sqlite=is_sqlite))
            add = prepared.count_each if is_sqlite else prepared.count_arrays
            add(connection, _EXTRA_COLUMNS, [(e.run_id, e.seq, e.kind, e.data) for e in extras])

    def _keep_tool_calls(self, connection: Borrowed, ids: Collection[int]) -> None:
        """Put the calls of runs that have ended together, by what is stored of them."""
        if not ids:
            return
        pieces: dict[int, list[str]] = {}
        stored = self._work_db.prepared(commits.tool_pieces())
        for run_id, text in stored.run(connection, {"ids": sorted(ids)}):
            pieces.setdefault(run_id, []).append(text)
        keep = self._work_db.prepared(commits.keep_tool_calls())
        for run_id, texts in pieces.items():
            calls = dumps(assemble_tool_calls("".join(texts)))
            keep.count(connection, {"run": run_id, "calls": calls})

    def _check_same(self, connection: Borrowed, sent: Sequence[Chunk]) -> None:
        """Some chunks were there before, as after a lost answer; another text is lost words."""
        stored = self._work_db.prepared(commits.stored_chunks())
        for run_id in {chunk.run_id for chunk in sent}:
            texts = {chunk.seq: chunk.text for chunk in sent if chunk.run_id == run_id}
            for _, seq, text in stored.run(connection, {"run": run_id, "seqs": list(texts)}):
                if text != texts[seq]:
                    raise _bug(f"chunk {seq} of run {run_id} is stored already, with another text")

    def _explain(
        self, worker_id: str, refused: Sequence[Fence], ends: Mapping[int, Ending]
    ) -> Refusals:
        """Why the fence refused these runs; strays, and what the database forgot, are ended."""
        lost = {run_id for run_id, _, _ in refused}
        forgotten: dict[int, Ending] = {}
        blocked: dict[int, int] = {}
        nonces = {run_id: nonce for run_id, nonce, _ in refused}
        with self._work_db.writing() as connection:
            ask = self._work_db.prepared(fence.refused(is_sqlite=self._work_db.is_sqlite))
            found = ask.run(connection, self._fenced(worker_id, refused))
            for run_id, prompt_id, state, code, prompt_state, carried, stored in found:
                if state not in STREAMING:
                    end = ends.get(run_id)
                    if end and (state, code) == (target(end.run_event), end.error_code):
                        lost.discard(run_id)
                elif not carried:
                    self._close_stray(connection, worker_id, run_id, prompt_state)
                elif stored:
                    blocked[run_id] = prompt_id
                else:
                    forgotten[run_id] = forgotten_end(run_id, prompt_id, nonces[run_id])
            endings = list(forgotten.values())
            ended = self._end(connection, worker_id, endings, fences_of([], endings))
            if ended:
                self._keep_tool_calls(connection, ended)
                self._measure(connection, worker_id, ended)
            _take_back_crashes(connection, worker_id, lost - blocked.keys())
        blocked |= {run_id: forgotten[run_id].prompt_id for run_id in forgotten.keys() - ended}
        refusals = Refusals(lost - blocked.keys())
        refusals.forgotten, refusals.blocked = frozenset(ended), blocked
        return refusals

    def _close_stray(
        self, connection: Connection, worker_id: str, run_id: int, prompt_state: str
    ) -> None:
        unwanted = prompt_state == PromptState.CANCELLED
        connection.execute(
            commits.close_stray(),
            {
                "run": run_id,
                "worker": worker_id,
                "state": target(RunEvent.CANCEL if unwanted else RunEvent.INTERRUPT),
                "code": ErrorCode.CANCELLED if unwanted else ErrorCode.LEASE_LOST,
                "words": _STRAY,
            },
        )

    # --- rescue -----------------------------------------------------------------------------

    def rescue(
        self,
        worker_id: str = "",
        *,
        max_crashes: int,
        limit: int = 100,
        fair: Callable[[datetime], bool] = lambda _now: True,
        dead: Collection[str] = (),
    ) -> list[Rescued]:
        """Take back runs of workers other than this one whose lease ran out; their text stays.

        A crash uses up no attempt, but `max_crashes` of them fail the prompt.  `fair` is
        told the time by which leases run, when SQLite's one write lock is held: whoever waited
        for it, so did those who live.  The workers `dead` are known to be gone: theirs is taken
        back in any case, and their leases are over.
        """
        with self._work_db.writing() as connection:
            if dead:
                connection.execute(rescue.bury(), {"dead": sorted(dead)})
            is_fair = fair(connection.execute(read.clock()).scalar_one())
            if not is_fair and not dead:
                return []
            given = {"limit": limit, "rescuer": worker_id, "dead": sorted(dead)}
            orphans = rescue.orphans(of_dead=not is_fair)
            ids = _takeable(connection, connection.execute(orphans, given).all())
            if not ids:
                return []
            words = {"words": _CRASHED, "leaving_words": _KILLED}
            given = {"ids": ids, **words, "max_crashes": max_crashes}
            taken = connection.execute(rescue.interrupt_orphans(), given).all()
            run_ids = [run_id for run_id, _, _ in taken]
            prompt_ids = [prompt_id for _, prompt_id, _ in taken]
            given = {**given, "ids": run_ids, "prompt_ids": prompt_ids}
            connection.execute(rescue.requeue_orphans(), given)
            self._keep_tool_calls(connection, run_ids)
            rows = connection.execute(read.prompt_states(), {"ids": prompt_ids}).all()
            states = {prompt_id: PromptState(state) for prompt_id, state in rows}
        return [
            Rescued(run_id, prompt_id, worker_id, states[prompt_id])
            for run_id, prompt_id, worker_id in sorted(taken)
            if prompt_id in states  # or somebody deleted it, past the foreign keys
        ]

    def take_back_crashes(self, worker_id: str, run_ids: Collection[int]) -> None:
        """These runs were rescued although their worker lives: they count as no crash."""
        with self._work_db.writing() as connection:
            _take_back_crashes(connection, worker_id, run_ids)

    # --- questions --------------------------------------------------------------------------

    def owned(self, worker_id: str) -> dict[int, Owned]:
        """Everything that the worker has under way, by run id."""
        with self._work_db.reading() as connection:
            rows = connection.execute(commits.owned(), {"worker": worker_id}).all()
            return {run_id: Owned(prompt_id, nonce) for run_id, prompt_id, nonce in rows}

    def strays(self, worker_id: str) -> frozenset[int]:
        """Of those, the runs whose prompt was changed by hand: it is not theirs any more."""
        with self._work_db.reading() as connection:
            rows = connection.execute(read.strays(), {"worker": worker_id})
            return frozenset(rows.scalars())

    def cancel_requests(self, worker_id: str) -> frozenset[int]:
        """Runs of the worker whose owner wants them cancelled."""
        with self._work_db.reading() as connection:
            rows = connection.execute(commits.cancel_requests(), {"worker": worker_id})
            return frozenset(rows.scalars())

    def cancel_queued(self) -> int:
        """Cancel queued prompts that carry a request, page by page; returns how many."""

        def page() -> int:
            with self._work_db.writing() as connection:
                return connection.execute(manage.cancel_queued()).rowcount

        return sum(iter(page, 0))

    def backlog(self, endpoints: Collection[str]) -> Backlog:
        """What these endpoints still have to do, and when the next of it may start."""
        given = {"endpoints": sorted(endpoints)}
        with self._work_db.reading() as connection:
            ready, later, seconds = connection.execute(read.waiting_for(), given).one()
            running = connection.execute(read.running_for(), given).scalar_one()
        return Backlog(ready, later, running, None if seconds is None else max(0.0, seconds))


def _takeable(connection: Connection, found: Sequence[Any]) -> list[int]:
    """Of these runs and their prompts, the runs whose prompts nobody else has locked."""
    given = {"ids": [prompt_id for _, prompt_id in found]}
    free = set(connection.execute(rescue.hold_prompts(), given).scalars())
    there = {row.id for row in connection.execute(read.prompt_states(), given)}
    return [run_id for run_id, prompt_id in found if prompt_id in free or prompt_id not in there]


def _take_back_crashes(connection: Connection, worker_id: str, run_ids: Collection[int]) -> None:
    given = {"ids": sorted(run_ids), "worker": worker_id}
    found = connection.execute(rescue.uncounted(), given).all()
    for run_id, prompt_id in found:
        connection.execute(rescue.uncount_prompt(), {"of_run": run_id, "of_prompt": prompt_id})
    if found:
        given = {**given, "ids": [run_id for run_id, _ in found], "words": _CAME_BACK}
        connection.execute(rescue.uncount_runs(), given)


def _bug(message: str) -> StoreError:
    return StoreError(message, code=ErrorCode.INTERNAL_ERROR, verdict=Verdict.STOP)
