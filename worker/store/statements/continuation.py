"""Statements by which a run goes on with the text of an earlier one.

The text that is kept is copied into the new run, so that whoever reads a run needs no other.  What
the earlier run had itself copied is then deleted there: no character is stored more than twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Delete,
    Integer,
    Select,
    Text,
    Update,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.sql.dml import Insert

from worker.records import Beginning, Earlier, Kind
from worker.store.database.engine import Database
from worker.store.database.prepared import Borrowed
from worker.store.database.sql_expressions import Id, elapsed, inserting
from worker.store.schema.tables import also, chunks, metadata, prompts, run_extras, runs

EARLIER_MAX = 100  # runs of a prompt that are looked at, the latest ones

# Workers may not delete text; this deletes what a later run of the same prompt has word for word.
_DROP_COPIED = """
CREATE FUNCTION spool_drop_copied(earlier bigint, later bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    DELETE FROM chunks c USING chunks d, runs a, runs b
    WHERE a.id = earlier AND b.id = later
        AND b.continues_run_id = a.id AND b.prompt_id = a.prompt_id
        AND c.run_id = a.id AND d.run_id = b.id
        AND d.seq = c.seq AND d.kind = c.kind AND d.text = c.text
        AND c.seq < a.carried_chunks
$$
"""

also(metadata, "postgresql", _DROP_COPIED)


def _bound(name: str) -> Any:
    return bindparam(name, type_=BigInteger())


@cache
def earlier() -> Select[Any]:
    """The runs of prompt `of_prompt`, without `but_run`, that answer what it asks now."""
    first = select(func.coalesce(prompts.c.first_attempt, literal_column("1"))).where(
        prompts.c.id == _bound("of_prompt")
    )
    return (
        select(
            runs.c.id,
            runs.c.attempt,
            runs.c.endpoint,
            runs.c.dialect,
            runs.c.request_hash,
            runs.c.error_code,
            runs.c.finish_reason,
            runs.c.chars,
            func.coalesce(runs.c.completion_tokens, runs.c.frames),
            runs.c.started_at,
            runs.c.finished_at,
            runs.c.continues_run_id,
            runs.c.carried_chars,
            runs.c.carried_tokens,
        )
        .where(
            runs.c.prompt_id == _bound("of_prompt"),
            runs.c.id != _bound("but_run"),
            runs.c.attempt >= first.scalar_subquery(),
            runs.c.finished_at.is_not(None),
        )
        .order_by(runs.c.attempt.desc())
        .limit(EARLIER_MAX)
    )


@cache
def pieces() -> Select[int, str, str]:
    """The chunks of run `of_run`, in their order."""
    return (
        select(chunks.c.seq, chunks.c.kind, chunks.c.text)
        .where(chunks.c.run_id == _bound("of_run"))
        .order_by(chunks.c.seq)
    )


@cache
def has_extras() -> Select[bool]:
    """Whether run `of_run` has more than chunks."""
    return select(exists().where(run_extras.c.run_id == _bound("of_run")))


@cache
def copy_chunks(*, is_sqlite: bool) -> Insert:
    """Copy chunks `from_seq` to `to_seq` of run `from_run` to run `to_run`; those there stay.

    Of chunk `last_seq` only `last_text` is copied.
    """
    there = chunks.alias("there")
    seq = chunks.c.seq
    is_last = seq == bindparam("last_seq", type_=Integer())
    picked = select(
        _bound("to_run"),
        seq,
        chunks.c.kind,
        case((is_last, bindparam("last_text", type_=Text())), else_=chunks.c.text),
    ).where(
        chunks.c.run_id == _bound("from_run"),
        seq >= bindparam("from_seq", type_=Integer()),
        seq < bindparam("to_seq", type_=Integer()),
        ~exists().where(there.c.run_id == _bound("to_run"), there.c.seq == seq),
    )
    rows = inserting(chunks, is_sqlite=is_sqlite)
    return rows.from_select(["run_id", "seq", "kind", "text"], picked, False)


@cache
def note_beginning() -> Update:
    """Write down how run `to_run` began; sent again, it changes nothing."""
    return (
        update(runs)
        .where(runs.c.id == _bound("to_run"))
        .values(
            continues_run_id=bindparam("source", type_=Id),
            carried_chars=bindparam("carried", type_=Id),
            carried_chunks=bindparam("in_chunks", type_=Integer()),
            carried_tokens=bindparam("with_tokens", type_=Id),
            dropped_chars=bindparam("dropped", type_=Id),
            continued_by=bindparam("by", type_=Text()),
            not_continued=bindparam("why_not", type_=Text()),
        )
    )


@cache
def drop_copied_sqlite() -> Delete:
    """Delete of run `from_run` what it had copied itself and run `to_run` has word for word."""
    later = chunks.alias("later")
    copied = select(runs.c.carried_chunks).where(runs.c.id == _bound("from_run")).scalar_subquery()
    same = exists().where(
        later.c.run_id == _bound("to_run"),
        later.c.seq == chunks.c.seq,
        later.c.kind == chunks.c.kind,
        later.c.text == chunks.c.text,
    )
    return delete(chunks).where(chunks.c.run_id == _bound("from_run"), chunks.c.seq < copied, same)


@cache
def drop_copied_postgresql() -> Select[Any]:
    """The same, where a worker may not delete text."""
    return select(func.spool_drop_copied(_bound("from_run"), _bound("to_run")))


# --- what people are shown --------------------------------------------------------------------


def of_attempt() -> list[ColumnElement[Any]]:
    """What `attempts` tells of the seam of a run."""
    names = ("continues_run_id", "carried_chars", "carried_chunks", "dropped_chars")
    return [runs.c[name] for name in (*names, "continued_by", "not_continued")]


def of_result() -> list[ColumnElement[Any]]:
    """What `results` tells of all runs of a prompt together, and of the seam of the latest."""
    of_all = runs.alias("of_all")
    first = func.coalesce(prompts.c.first_attempt, literal_column("1"))
    asked = (of_all.c.prompt_id == prompts.c.id, of_all.c.attempt >= first)

    def total(name: str) -> ColumnElement[Any]:
        summed = select(cast(func.sum(of_all.c[name]), BigInteger)).where(*asked)
        several = (prompts.c.runs > literal_column("1"), summed.scalar_subquery())
        return case(several, else_=runs.c[name]).label(f"total_{name}")  # most have a single run

    return [
        runs.c.continued_by,
        runs.c.carried_chars,
        total("prompt_tokens"),
        total("completion_tokens"),
        elapsed(runs.c.started_at, runs.c.first_text_at).label("first_text_seconds"),
    ]


def of_whole_answer() -> ColumnElement[Any]:
    """The tokens of an answer, those that were carried over included."""
    carried = func.coalesce(runs.c.carried_tokens, literal_column("0"))
    return (runs.c.completion_tokens + carried).label("completion_tokens")


class ContinuingSide:
    """The part of the store that puts a run behind the text of an earlier one."""

    _work_db: Database

    def earlier_runs(self, prompt_id: int, run_id: int) -> list[Earlier]:
        """The runs of a prompt before this one that answer what it asks now, latest first."""
        given = {"of_prompt": prompt_id, "but_run": run_id}
        with self._work_db.reading() as connection:
            return [_earlier(*row) for row in connection.execute(earlier(), given)]

    def pieces(self, run_id: int) -> tuple[Sequence[tuple[int, Kind, str]], bool]:
        """The chunks of a run, and whether it has more than chunks."""
        given = {"of_run": run_id}
        with self._work_db.reading() as connection:
            rows = [
                (seq, Kind(kind), text) for seq, kind, text in connection.execute(pieces(), given)
            ]
            return rows, bool(connection.execute(has_extras(), given).scalar_one())

    def _copy(self, connection: Borrowed, beginning: Beginning, bounds: Sequence[int]) -> None:
        """Copy what is kept for the run, from the first of these bounds to the last."""
        copy = self._work_db.prepared(copy_chunks(is_sqlite=self._work_db.is_sqlite))
        last_seq, last_text = beginning.chunks - 1, beginning.last_text
        copy.count(
            connection,
            {
                "from_run": beginning.continues_run_id,
                "to_run": beginning.run_id,
                "from_seq": bounds[0],
                "to_seq": bounds[-1],
                "last_seq": last_seq,
                "last_text": last_text,
            },
        )

    def _note(self, connection: Borrowed, beginnings: Sequence[Beginning]) -> None:
        """Write down how runs began, and let go of what their sources had copied themselves."""
        for beginning in beginnings:
            self._note_one(connection, beginning)

    def _note_one(self, connection: Borrowed, beginning: Beginning) -> None:
        self._work_db.prepared(note_beginning()).count(
            connection,
            {
                "to_run": beginning.run_id,
                "source": beginning.continues_run_id,
                "carried": None if beginning.continues_run_id is None else beginning.chars,
                "in_chunks": beginning.chunks or None,
                "with_tokens": beginning.tokens,
                "dropped": beginning.dropped_chars if beginning.chunks else None,
                "by": beginning.continued_by,
                "why_not": beginning.not_continued,
            },
        )
        if not beginning.chunks:
            return
        pair = {"from_run": beginning.continues_run_id, "to_run": beginning.run_id}
        if self._work_db.is_sqlite:
            self._work_db.prepared(drop_copied_sqlite()).count(connection, pair)
        else:
            self._work_db.prepared(drop_copied_postgresql()).run(connection, pair)


def _earlier(*row: Any) -> Earlier:
    (run_id, attempt, endpoint, dialect, request_hash, code, finish_reason, chars, *rest) = row
    tokens, started_at, finished_at, source, carried_chars, carried_tokens = rest
    return Earlier(
        run_id=run_id,
        attempt=attempt,
        endpoint=endpoint,
        dialect=dialect,
        request_hash=request_hash,
        code=code,
        finish_reason=finish_reason,
        chars=chars,
        tokens=tokens,
        seconds=(finished_at - started_at).total_seconds(),
        continues_run_id=source,
        carried_chars=carried_chars,
        carried_tokens=carried_tokens,
    )
