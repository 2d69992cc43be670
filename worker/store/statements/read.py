"""Statements that only ask."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    Text,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
)

from worker.errors import ErrorCode, spellings
from worker.records import Kind
from worker.states import PromptState
from worker.store.database.column_types import Seconds
from worker.store.database.sql_expressions import (
    elapsed,
    in_list,
    in_states,
    inlined,
    later,
    moment,
    one_of,
)
from worker.store.rows import PromptDetail, Selection
from worker.store.schema.tables import (
    CLAIMABLE,
    TRUNCATED,
    UNDER_WAY,
    batches,
    chunks,
    prompts,
    runs,
    workers,
)
from worker.store.schema.views import source
from worker.store.statements import continuation

_HOUR_AGO = select(later(bindparam("hour", -3600.0, type_=Seconds()))).scalar_subquery()
_MINUTE_AGO = select(later(bindparam("minute", -60.0, type_=Seconds()))).scalar_subquery()

# --- selections -----------------------------------------------------------------------------


def chosen(selection: Selection, *, walking: bool = False) -> list[ColumnElement[bool]]:
    """The conditions that a selection puts on prompts.

    `walking`: for those who go through the table in the order of ids, page by page. The index on
    batches is of no use to them: it would find, and sort, the whole batch again for every page.
    """
    conditions: list[ColumnElement[bool]] = []
    if selection.ids:
        conditions.append(one_of(prompts.c.id, selection.ids))
    if selection.batch is not None:
        named = select(batches.c.id).where(batches.c.name == selection.batch)
        batch_id = prompts.c.batch_id + 0 if walking else prompts.c.batch_id
        conditions.append(batch_id == named.scalar_subquery())
    if selection.states:
        conditions.append(in_states(prompts.c.status, selection.states))
    if (code := selection.error_code) is not None:
        conditions.append(or_(*(prompts.c.error_code == each for each in spellings(code))))
    if selection.endpoint is not None:
        conditions.append(prompts.c.endpoint == selection.endpoint)
    if selection.finished_before is not None:
        conditions.append(prompts.c.finished_at < selection.finished_before)
    return conditions


def count(selection: Selection) -> Select[int]:
    """How many prompts a selection holds."""
    return select(func.count()).select_from(prompts).where(*chosen(selection))


def any_of(selection: Selection) -> Select[int]:
    """The id of a prompt of a selection, if it holds any."""
    return select(prompts.c.id).where(*chosen(selection)).limit(1)


@cache
def batch_names() -> Select[str]:
    """The batches that hold prompts, the oldest first."""
    holds = exists().where(prompts.c.batch_id == batches.c.id)
    return select(batches.c.name).where(holds).order_by(batches.c.id)


@cache
def waiting() -> Select[int, int, float | None]:
    """Of all queued prompts: ready, waiting, seconds until the first of those is ready."""
    ready = prompts.c.available_at <= moment()
    return select(
        func.count().filter(ready).label("ready"),
        func.count().filter(~ready).label("later"),
        elapsed(moment(), func.min(prompts.c.available_at).filter(~ready)).label("seconds"),
    ).where(CLAIMABLE)


@cache
def waiting_for() -> Select[int, int, float | None]:
    """The same for the prompts of `endpoints`."""
    return waiting().where(in_list(prompts.c.endpoint, "endpoints"))


@cache
def running_for() -> Select[int]:
    """How many runs of `endpoints` are under way."""
    under_way = (UNDER_WAY, in_list(runs.c.endpoint, "endpoints"))
    return select(func.count()).select_from(runs).where(*under_way)


@cache
def clock() -> Select[datetime]:
    """What time it is."""
    return select(moment())


@cache
def strays() -> Select[int]:
    """Runs of `worker` that are under way though their prompt is not running them."""
    carried = in_states(prompts.c.status, (PromptState.RUNNING,)) & (prompts.c.run_id == runs.c.id)
    return (
        select(runs.c.id)
        .join(prompts, prompts.c.id == runs.c.prompt_id)
        .where(runs.c.worker_id == bindparam("worker", type_=String()), UNDER_WAY, ~carried)
    )


@cache
def prompt_states() -> Select[int, str]:
    """How the prompts `ids` stand."""
    return select(prompts.c.id, prompts.c.status).where(in_list(prompts.c.id, "ids"))


def _as_stored(column: ColumnElement[Any]) -> ColumnElement[str]:
    """A JSON column as its text: who only hands it on need not be able to read it."""
    return cast(column, Text).label(f"{column.name}_json")


def _seconds(found: ColumnElement[float]) -> ColumnElement[float]:
    """0 where no moment is known."""
    return func.coalesce(found, literal_column("0.0"))


def _text_run() -> ColumnElement[int]:
    """The run whose output stands for the prompt at hand, as in the view `results`."""
    found = literal_column(source("prompts", "runs"), type_=BigInteger())
    return found.label("text_run_id")


# --- one prompt -----------------------------------------------------------------------------


@cache
def prompt() -> Select[Any]:
    """Everything about prompt `id` but its texts."""
    told = {field.name for field in fields(PromptDetail)}
    columns: list[ColumnElement[Any]] = [column for column in prompts.c if column.name in told]
    columns += [_as_stored(prompts.c[name]) for name in ("messages", "options", "metadata")]
    return (
        select(batches.c.name.label("batch"), *columns, _text_run(), runs.c.finish_reason)
        .select_from(prompts.outerjoin(batches).outerjoin(runs, runs.c.id == prompts.c.run_id))
        .where(prompts.c.id == bindparam("id", type_=Integer()))
    )


@cache
def find(*, in_batch: bool) -> Select[int]:
    """Ids of the prompts called `custom_id`, in one batch or in any."""
    named = prompts.c.custom_id == bindparam("custom_id", type_=String())
    found = select(prompts.c.id).where(named).order_by(prompts.c.id)
    if not in_batch:
        return found
    return found.join(batches).where(batches.c.name == bindparam("batch", type_=String()))


@cache
def attempts() -> Select[Any]:
    """The runs of prompt `id`; one that is under way has its length counted."""
    so_far = (
        select(func.coalesce(func.sum(func.length(chunks.c.text)), 0))
        .where(chunks.c.run_id == runs.c.id, chunks.c.kind == inlined(Kind.TEXT))
        .scalar_subquery()
    )
    return (
        select(
            runs.c.id.label("run_id"),
            runs.c.attempt,
            runs.c.status,
            runs.c.worker_id,
            runs.c.started_at,
            runs.c.finished_at,
            runs.c.finish_reason,
            case((UNDER_WAY, so_far), else_=runs.c.chars).label("chars"),
            runs.c.error_code,
            runs.c.error,
            *continuation.of_attempt(),
        )
        .where(runs.c.prompt_id == bindparam("id", type_=Integer()))
        .order_by(runs.c.attempt)
    )


@cache
def text() -> Select[int, str]:
    """The next `page` chunks of one `kind` of run `id` behind `after`."""
    return (
        select(chunks.c.seq, chunks.c.text)
        .where(
            chunks.c.run_id == bindparam("id", type_=Integer()),
            chunks.c.seq > bindparam("after", type_=Integer()),
            chunks.c.kind == bindparam("kind", type_=String()),
        )
        .order_by(chunks.c.seq)
        .limit(bindparam("page", type_=Integer()))
    )


@cache
def lengths() -> Select[int, int]:
    """How many characters of text the runs `ids` have stored."""
    return (
        select(chunks.c.run_id, func.sum(func.length(chunks.c.text)).label("chars"))
        .where(in_list(chunks.c.run_id, "ids"), chunks.c.kind == inlined(Kind.TEXT))
        .group_by(chunks.c.run_id)
    )


def span(selection: Selection) -> Select[int | None, int | None]:
    """Before the first and at the last id among which the prompts of a selection are."""
    batch = Selection(batch=selection.batch)
    return select(func.min(prompts.c.id) - 1, func.max(prompts.c.id)).where(*chosen(batch))


def results(selection: Selection) -> Select[Any]:
    """The next `page` prompts of a selection behind `after`, with their latest runs."""
    ended = func.coalesce(runs.c.finished_at, moment())
    return (
        select(
            prompts.c.id,
            batches.c.name.label("batch"),
            prompts.c.custom_id,
            prompts.c.endpoint,
            func.coalesce(runs.c.model, prompts.c.model).label("model"),
            prompts.c.prompt,
            prompts.c.system,
            _as_stored(prompts.c.messages),
            prompts.c.status,
            prompts.c.run_id,
            runs.c.finish_reason,
            runs.c.prompt_tokens,
            continuation.of_whole_answer(),
            runs.c.http_status,
            runs.c.request_id,
            prompts.c.attempts,
            elapsed(runs.c.started_at, ended).label("seconds"),
            prompts.c.error_code,
            prompts.c.error,
            _as_stored(prompts.c.metadata),
            prompts.c.created_at,
            prompts.c.finished_at,
            _text_run(),
            *continuation.of_result(),
        )
        .select_from(prompts.outerjoin(batches).outerjoin(runs, runs.c.id == prompts.c.run_id))
        .where(
            *chosen(selection, walking=True),
            prompts.c.id > bindparam("after", type_=BigInteger()),
            prompts.c.id <= bindparam("last", type_=BigInteger()),
        )
        .order_by(prompts.c.id)
        .limit(bindparam("page", type_=Integer()))
    )


# --- the whole queue ------------------------------------------------------------------------


@cache
def tallies() -> Select[Any]:
    """Prompts by batch, endpoint, state and reason of failure: one walk over the table."""
    failed = in_states(prompts.c.status, (PromptState.FAILED,))
    completed = in_states(prompts.c.status, (PromptState.COMPLETED,))
    why = case((failed, prompts.c.error_code)).label("why")
    recent = func.count().filter(completed, prompts.c.finished_at > _HOUR_AGO)
    lately = func.count().filter(completed, prompts.c.finished_at > _MINUTE_AGO)
    grouped = (
        select(
            prompts.c.batch_id,
            prompts.c.endpoint,
            prompts.c.status,
            why,
            func.count().label("number"),
            recent.label("recent"),
            lately.label("lately"),
        )
        .group_by(prompts.c.batch_id, prompts.c.endpoint, prompts.c.status, literal_column("why"))
        .subquery()
    )
    return (
        select(batches.c.name.label("batch"), grouped)
        .select_from(grouped.outerjoin(batches, batches.c.id == grouped.c.batch_id))
        .order_by(batches.c.id.nulls_first(), grouped.c.endpoint)
    )


@cache
def truncated() -> Select[int]:
    """How many completed prompts have an answer that was cut; an index holds only such runs."""
    done = in_states(prompts.c.status, (PromptState.COMPLETED,))
    answers = runs.join(
        prompts, (prompts.c.id == runs.c.prompt_id) & (prompts.c.run_id == runs.c.id)
    )
    return select(func.count()).select_from(answers).where(TRUNCATED, done)


@cache
def crash_capped() -> Select[int]:
    """The newest `page` prompts that were given up because workers died with them."""
    return (
        select(prompts.c.id)
        .where(
            in_states(prompts.c.status, (PromptState.FAILED,)),
            prompts.c.error_code == inlined(ErrorCode.TOO_MANY_CRASHES),
        )
        .order_by(prompts.c.id.desc())
        .limit(bindparam("page", type_=Integer()))
    )


@cache
def living() -> Select[Any]:
    """Workers that were alive in the last hour, or still hold runs."""
    holding = (
        select(func.count())
        .select_from(runs)
        .where(runs.c.worker_id == workers.c.id, UNDER_WAY)
        .scalar_subquery()
    )
    recent = workers.c.stopped_at.is_(None) & (workers.c.lease_until > _HOUR_AGO)
    return (
        select(
            workers.c.id,
            workers.c.host,
            workers.c.pid,
            workers.c.version,
            workers.c.started_at,
            workers.c.stopped_at,
            _seconds(elapsed(moment(), workers.c.lease_until)).label("lease_seconds_left"),
            workers.c.endpoints,
            holding.label("runs"),
        )
        .where(or_(recent, holding > 0))
        .order_by(workers.c.started_at, workers.c.id)
    )


@cache
def live() -> Select[Any]:
    """Runs under way, the longest first."""
    own = chunks.c.run_id == runs.c.id
    last = select(chunks.c.created_at).where(own).order_by(chunks.c.seq.desc()).limit(1)
    seen = func.coalesce(last.scalar_subquery(), runs.c.started_at)
    return (
        select(
            runs.c.id.label("run_id"),
            runs.c.prompt_id,
            batches.c.name.label("batch"),
            prompts.c.custom_id,
            runs.c.endpoint,
            runs.c.model,
            runs.c.worker_id,
            runs.c.attempt,
            runs.c.started_at,
            _seconds(elapsed(runs.c.started_at, moment())).label("seconds"),
            _seconds(elapsed(seen, moment())).label("silent_seconds"),
            select(func.count()).select_from(chunks).where(own).scalar_subquery().label("chunks"),
        )
        .select_from(
            runs.join(prompts, prompts.c.id == runs.c.prompt_id).outerjoin(
                batches, batches.c.id == prompts.c.batch_id
            )
        )
        .where(UNDER_WAY)
        .order_by(runs.c.started_at, runs.c.id)
    )
