"""Statements that write what runs produced, and how they ended.

Who may write is for the fence to say (fence.py); a chunk is stored once.  Whoever takes a
guard away finds a test in `tests/store` that notices.

Run before prompt is the order of the locks, and no lock of a stranger is waited for.  The
foreign key of a chunk locks its run only against deletion, not against a change of its
status: the fence does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    String,
    Text,
    Update,
    bindparam,
    case,
    exists,
    func,
    null,
    select,
    true,
    update,
)
from sqlalchemy.sql.dml import Insert, ReturningUpdate
from sqlalchemy.types import TypeEngine

from worker.errors import ErrorCode
from worker.records import Kind
from worker.states import PROGRESS_CHARS, PromptEvent, PromptState, target
from worker.store.database.sql_expressions import (
    Columns,
    Id,
    bound,
    in_list,
    in_states,
    inlined,
    inserting,
    later,
    now,
    recorded,
    unnested,
)
from worker.store.ending_rows import ENDING
from worker.store.schema.tables import CANCEL_WANTED, chunks, prompts, run_extras, runs
from worker.store.statements.fence import CARRIED, STREAMING, all_stored, carried, own


@cache
def close_stray() -> Update:
    """End a run whose prompt was taken away by hand: nobody else would."""
    own = (
        select(runs.c.id)
        .where(runs.c.id == bindparam("run"), runs.c.worker_id == bindparam("worker"))
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return (
        update(runs)
        .where(
            runs.c.id == own,
            in_states(runs.c.status, STREAMING),
            ~exists().where(*carried()),
        )
        .values(
            status=bindparam("state"),
            finished_at=now(),
            error_code=bindparam("code"),
            error=bindparam("words"),
            **measured(),
        )
    )


# --- chunks ---------------------------------------------------------------------------------

CHUNK: Mapping[str, TypeEngine[Any]] = {
    "run_id": Id,
    "seq": Integer(),
    "kind": Text(),
    "text": Text(),
}


@cache
def add_chunks(*, is_sqlite: bool) -> Insert:
    """Insert chunks; one that is there is left alone, so a lost commit can be sent again."""
    key = ["run_id", "seq"]
    if is_sqlite:
        rows = inserting(chunks, is_sqlite=True).values(dict(bound(CHUNK)))
        return rows.on_conflict_do_nothing(index_elements=key)
    # PostgreSQL would log an ON CONFLICT twice; this refuses what is just being stored (faults.py).
    given = unnested(CHUNK)
    there = exists().where(*(chunks.c[name] == given[name] for name in key))
    return chunks.insert().from_select(list(CHUNK), select(*given.values()).where(~there), False)


@cache
def stored_chunks() -> Select[int, int, str]:
    """The chunks of run `run` with seq in `seqs`."""
    return select(chunks.c.run_id, chunks.c.seq, chunks.c.text).where(
        chunks.c.run_id == bindparam("run"), in_list(chunks.c.seq, "seqs")
    )


EXTRA: Mapping[str, TypeEngine[Any]] = {
    "run_id": Id,
    "seq": Integer(),
    "kind": Text(),
    "data": Text(),
}


@cache
def add_extras(*, is_sqlite: bool) -> Insert:
    """Insert what runs have besides their text; what is there is left alone."""
    key = ["run_id", "seq"]
    if is_sqlite:
        rows = inserting(run_extras, is_sqlite=True).values(dict(bound(EXTRA)))
        return rows.on_conflict_do_nothing(index_elements=key)
    given = unnested(EXTRA)
    there = exists().where(*(run_extras.c[name] == given[name] for name in key))
    fresh = select(*given.values()).where(~there)
    return run_extras.insert().from_select(list(EXTRA), fresh, False)


REQUEST: Mapping[str, TypeEngine[Any]] = {"run_id": Id, "request_hash": Text()}


@cache
def note_requests(*, is_sqlite: bool) -> Update:
    """Write down what runs asked; sent again, it changes nothing."""
    given = bound(REQUEST) if is_sqlite else unnested(REQUEST)
    return (
        update(runs)
        .where(runs.c.id == given["run_id"], runs.c.request_hash.is_(None))
        .values(request_hash=given["request_hash"])
    )


# --- tool calls -----------------------------------------------------------------------------


@cache
def tool_pieces() -> Select[int, str]:
    """The pieces of tool calls that the runs `ids` have stored, in their order."""
    return (
        select(chunks.c.run_id, chunks.c.text)
        .where(in_list(chunks.c.run_id, "ids"), chunks.c.kind == inlined(Kind.TOOL_CALLS))
        .order_by(chunks.c.run_id, chunks.c.seq)
    )


@cache
def keep_tool_calls() -> Update:
    """Write down the whole tool calls of run `run`."""
    kept = bindparam("calls", type_=Text())
    return update(runs).where(runs.c.id == bindparam("run", type_=Id)).values(tool_calls=kept)


# --- endings --------------------------------------------------------------------------------

_SAME_NAME = (
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "chars",
    "chunks",
    "http_status",
    "request_id",
    "error_code",
    "error",
    "done_frame",
    "cut_id",
    "frames",
)


@cache
def end_runs_sqlite() -> Update:
    """Apply an ending to its run."""
    return _end_runs(bound(ENDING))


@cache
def end_prompts_sqlite() -> Update:
    """Apply an ending to its prompt."""
    return _end_prompts(bound(ENDING))


@cache
def end_postgresql() -> ReturningUpdate[int]:
    """Hold the runs of `endings`; end those that could be held, and their prompts.

    Returns the runs that ended.  Locks are taken in the order of the endings.
    """
    given = recorded(ENDING, "endings")
    # Who is locked by somebody else is left out, so that all others end.
    mine = (
        select(runs.c.id)
        .select_from(runs, prompts)
        .where(*own(given), *carried(), all_stored(given))
        .with_for_update(of=[runs, prompts], key_share=True, skip_locked=True)
        .lateral("mine")
    )
    # Always true, and to the planner so rare that it looks each run up by its key.  It would
    # else compare every ending with every run that the worker has under way.
    few = given["run_id"] == given["run_id"] + 0
    held = select(*given.values()).join(mine, true()).where(few).cte("held")
    rows = {name: held.c[name] for name in ENDING}
    ended = _end_runs(rows).returning(runs.c.id).cte("ended")
    return _end_prompts(rows).add_cte(ended).returning(prompts.c.run_id)


def _end_runs(given: Columns) -> Update:
    return (
        update(runs)
        .where(
            runs.c.id == given["run_id"],
            runs.c.worker_id == bindparam("worker", type_=String()),
            in_states(runs.c.status, STREAMING).is_(true()),  # hides the index of streaming runs
        )
        .values(
            status=given["run_state"],
            finished_at=now(),
            first_text_at=later(given["first_text_ago"]),
            request_hash=func.coalesce(given["request_hash"], runs.c.request_hash),
            **{name: given[name] for name in _SAME_NAME},
        )
    )


def _end_prompts(given: Columns) -> Update:
    # What its owner wants cancelled is not queued again.
    queued = given["prompt_state"] == inlined(PromptState.QUEUED)
    unwanted = queued & prompts.c.cancel_requested_at.is_not(None)
    return (
        update(prompts)
        .where(
            prompts.c.id == given["prompt_id"],
            prompts.c.run_id == given["run_id"],
            in_states(prompts.c.status, CARRIED),
        )
        .values(
            status=case(
                (unwanted, inlined(target(PromptEvent.CANCEL))), else_=given["prompt_state"]
            ),
            finished_at=case((queued & ~unwanted, null()), else_=now()),
            available_at=case((queued, later(given["delay"])), else_=prompts.c.available_at),
            attempts=less(prompts.c.attempts, given["refund"]),
            **_place(given, queued),
            error_code=case((unwanted, inlined(ErrorCode.CANCELLED)), else_=given["error_code"]),
            error=given["error"],
            runs_without_progress=func.coalesce(given["in_vain"], prompts.c.runs_without_progress),
        )
    )


# Ends that are the worker's own doing, or the database's: the prompt is not to blame.
OURS = (
    ErrorCode.SHUTDOWN,
    ErrorCode.LEASE_LOST,
    ErrorCode.LEASE_EXPIRED,
    ErrorCode.HANDED_BACK,
    ErrorCode.COMMITS_FORGOTTEN,
    ErrorCode.NOT_CONTINUED,
    ErrorCode.LENGTH_CONTINUED,
)


def _place(given: Columns, queued: ColumnElement[bool]) -> dict[str, Any]:
    """Whether a prompt that is queued again goes before those that never ran.

    Only if its run was ended by us, or made progress: one that fails by itself, again and again,
    must not block those behind it.
    """
    other = runs.alias("other")
    longest = (
        select(func.coalesce(func.max(other.c.chars), 0))
        .where(other.c.prompt_id == prompts.c.id, other.c.id != given["run_id"])
        .scalar_subquery()
    )
    # Subtracted from what is ours: who knows what others have written there.
    progress = given["chars"] - PROGRESS_CHARS >= longest
    ours = given["error_code"].in_([inlined(code) for code in OURS])
    return {
        "keeps_place": case((queued, ours | progress), else_=null()),
    }


def less(count: ColumnElement[int], by: ColumnElement[int] | int) -> ColumnElement[int]:
    """`count` less `by`, but never below zero."""
    return case((count > by, count - by), else_=0)


# --- how far a run came -----------------------------------------------------------------------


@cache
def measure() -> Update:
    """Write down how far the runs `ids` of `worker` came, by what is stored of them."""
    mine = runs.c.worker_id == bindparam("worker", type_=String())
    return update(runs).where(in_list(runs.c.id, "ids"), mine).values(measured())


def measured() -> dict[str, Any]:
    """What a run produced, as values of an UPDATE of it."""
    # Nobody is left to say how far the run came; its chunks are.
    own = chunks.c.run_id == runs.c.id
    chars = func.sum(func.length(chunks.c.text)).filter(chunks.c.kind == inlined(Kind.TEXT))
    first = select(chunks.c.created_at).where(own).order_by(chunks.c.seq).limit(1)
    return {
        "chars": select(func.coalesce(chars, 0)).where(own).scalar_subquery(),
        "chunks": select(func.count()).select_from(chunks).where(own).scalar_subquery(),
        "first_text_at": first.scalar_subquery(),
    }


# --- what a worker asks ---------------------------------------------------------------------


@cache
def owned() -> Select[int, int, int | None]:
    """Run, prompt and nonce of everything that `worker` has under way."""
    return select(runs.c.id, runs.c.prompt_id, runs.c.nonce).where(
        runs.c.worker_id == bindparam("worker", type_=String()),
        in_states(runs.c.status, STREAMING),
    )


@cache
def cancel_requests() -> Select[int]:
    """Runs of `worker` whose prompt is to be cancelled."""
    return (
        select(runs.c.id)
        .join(prompts, prompts.c.run_id == runs.c.id)
        .where(
            CANCEL_WANTED,
            in_states(prompts.c.status, CARRIED),
            runs.c.worker_id == bindparam("worker", type_=String()),
            in_states(runs.c.status, STREAMING),
        )
    )
