"""How an ending travels to the database: its columns, their types, its row.

PostgreSQL takes all endings of a commit as one JSON text, and reading its names takes an
eighth of the time of an ending: so what is NULL is left out.  SQLite takes rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Integer, Text
from sqlalchemy.types import TypeEngine

from worker.errors import ErrorCode, ImpossibleTransition
from worker.records import Ending
from worker.states import PromptEvent, PromptState, RunEvent, RunState, after, target
from worker.store.database.column_types import Flag, Seconds
from worker.store.database.sql_expressions import Id
from worker.store.statements.fence import Fence

FORGOTTEN = "the database lost text of this run that it had acknowledged: it went back in time"
ENDING: Mapping[str, TypeEngine[Any]] = {
    "run_id": Id,
    "prompt_id": Id,
    "nonce": BigInteger(),
    "before": Integer(),
    "run_state": Text(),
    "prompt_state": Text(),
    "refund": Integer(),
    "delay": Seconds(),
    "chars": BigInteger(),
    "chunks": Integer(),
    "done_frame": Flag(),
    "first_text_ago": Seconds(),
    "finish_reason": Text(),
    "prompt_tokens": BigInteger(),
    "completion_tokens": BigInteger(),
    "http_status": Integer(),
    "request_id": Text(),
    "error_code": Text(),
    "error": Text(),
    "request_hash": Text(),
    "in_vain": Integer(),
    "cut_id": Id,
    "frames": Integer(),
}


def as_json(endings: Iterable[Ending], fences: Mapping[int, Fence]) -> str:
    """One JSON text, for `recorded`; in the order of the run ids, which is that of the locks."""
    rows = sorted(as_rows(endings, fences), key=itemgetter(0))
    said = [
        {name: value for name, value in zip(ENDING, row, strict=True) if value is not None}
        for row in rows
    ]
    return msgspec.json.encode(said).decode()


def as_rows(endings: Iterable[Ending], fences: Mapping[int, Fence]) -> list[tuple[Any, ...]]:
    """One tuple an ending, for `bound`; in the order of `ENDING`."""
    return [_row(end, fences[end.run_id]) for end in endings]


def _row(end: Ending, fence: Fence) -> tuple[Any, ...]:
    ago = end.first_text_seconds_ago
    return (
        end.run_id,
        end.prompt_id,
        fence.nonce,
        fence.before or None,
        target(end.run_event).value,
        target(end.prompt_event).value,
        0 if end.charged else 1,
        end.delay_seconds,
        end.chars or 0,
        end.chunks,
        end.done_frame,
        None if ago is None else -ago,
        _storable(end.finish_reason),
        end.usage.prompt_tokens,
        end.usage.completion_tokens,
        end.http_status,
        _storable(end.request_id),
        end.error_code,
        _storable(end.error),
        end.request_hash,
        end.runs_without_progress,
        end.cut_id,
        end.frames,
    )


def _storable(words: str | None) -> str | None:
    """What a server said of itself; no odd character in it may keep a run from ending."""
    if words is None or (words.isascii() and "\0" not in words):
        return words
    return words.encode(errors="replace").decode().replace("\0", "\ufffd")


def forgotten_end(run_id: int, prompt_id: int, nonce: int | None) -> Ending:
    """The end of a run of which the database has less than it had acknowledged; uncharged."""
    return Ending(
        run_id,
        prompt_id,
        RunEvent.INTERRUPT,
        PromptEvent.REQUEUE,
        error_code=ErrorCode.COMMITS_FORGOTTEN,
        error=FORGOTTEN,
        charged=False,
        chars=None,
        nonce=nonce,
    )


def by_run(endings: Sequence[Ending]) -> dict[int, Ending]:
    """The endings by run; raises ImpossibleTransition for what the state table forbids."""
    ends = {end.run_id: end for end in endings}
    if len(ends) != len(endings):
        raise ImpossibleTransition("a run cannot end twice in one commit")
    for end in endings:
        after(RunState.STREAMING, end.run_event)
        after(PromptState.RUNNING, end.prompt_event)
        if end.run_event is RunEvent.COMPLETE and not end.done_frame and end.finish_reason is None:
            raise ImpossibleTransition(f"run {end.run_id} has no done frame: it is not complete")
    return ends
