"""How an ending travels to the database: its columns, their types, its row.

PostgreSQL takes all endings of a commit as one JSON text, which it reads at a
microsecond for four names: so what is NULL is left out of it.  SQLite takes rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Integer, Text
from sqlalchemy.types import TypeEngine

from worker.records import Ending
from worker.states import target
from worker.store.constructs import Flag, Id, Seconds

ENDING: Mapping[str, TypeEngine[Any]] = {
    "run_id": Id,
    "prompt_id": Id,
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
}
# Columns of `runs` that take what stands under their own name.
SAME_NAME = (
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
)


class _Row(msgspec.Struct, omit_defaults=True):
    """The columns of `ENDING`, in their order; only what may be NULL has a default."""

    run_id: int
    prompt_id: int
    run_state: str
    prompt_state: str
    refund: int
    delay: float
    chars: int
    chunks: int
    done_frame: bool
    first_text_ago: float | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    http_status: int | None = None
    request_id: str | None = None
    error_code: str | None = None
    error: str | None = None


def as_json(endings: Iterable[Ending]) -> str:
    """One JSON text, for `recorded`; in the order of the run ids, which is that of the locks."""
    rows = sorted(map(_row, endings), key=attrgetter("run_id"))
    return msgspec.json.encode(rows).decode()


def as_rows(endings: Iterable[Ending]) -> list[tuple[Any, ...]]:
    """One tuple an ending, for `bound`."""
    return [msgspec.structs.astuple(_row(end)) for end in endings]


def _row(end: Ending) -> _Row:
    ago = end.first_text_seconds_ago
    return _Row(
        end.run_id,
        end.prompt_id,
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
    )


def _storable(words: str | None) -> str | None:
    """What a server said of itself; no odd character in it may keep a run from ending."""
    if words is None or (words.isascii() and "\0" not in words):
        return words
    return words.encode(errors="replace").decode().replace("\0", "\ufffd")
