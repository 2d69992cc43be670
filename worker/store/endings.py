"""How an ending travels to the database: its columns, their types, its row.

PostgreSQL takes all endings of a commit as one JSON text, and reading its names takes an
eighth of the time of an ending: so what is NULL is left out.  SQLite takes rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
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
    "request_hash": Text(),
    "in_vain": Integer(),
    "cut_id": Id,
}


def as_json(endings: Iterable[Ending]) -> str:
    """One JSON text, for `recorded`; in the order of the run ids, which is that of the locks."""
    rows = sorted(as_rows(endings), key=itemgetter(0))
    said = [
        {name: value for name, value in zip(ENDING, row, strict=True) if value is not None}
        for row in rows
    ]
    return msgspec.json.encode(said).decode()


def as_rows(endings: Iterable[Ending]) -> list[tuple[Any, ...]]:
    """One tuple an ending, for `bound`; in the order of `ENDING`."""
    return list(map(_row, endings))


def _row(end: Ending) -> tuple[Any, ...]:
    ago = end.first_text_seconds_ago
    return (
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
        end.request_hash,
        end.runs_without_progress,
        end.cut_id,
    )


def _storable(words: str | None) -> str | None:
    """What a server said of itself; no odd character in it may keep a run from ending."""
    if words is None or (words.isascii() and "\0" not in words):
        return words
    return words.encode(errors="replace").decode().replace("\0", "\ufffd")
