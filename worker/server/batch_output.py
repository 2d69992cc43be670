"""The output and error files of a batch: queries over its rows, under the name of a file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from worker.export import openai_batch
from worker.server.context import unix
from worker.server.errors import not_found
from worker.states import PromptState
from worker.store import ResultRow, Selection, Store
from worker.store.client_batches import AskedBatch

MADE_PREFIX = "file-of-"
_BATCH_PREFIX = "batch_"
_STATES = {
    "output": (PromptState.COMPLETED,),
    "error": (PromptState.FAILED, PromptState.CANCELLED),
}
PIECE_CHARS = 1 << 16
EXPIRED = ("batch_expired", "This request could not be executed before the window closed.")


def output_id(batch: AskedBatch) -> str | None:
    """Return the id of the file of answers; None while the batch runs, or if there is none."""
    return _made_id(batch, "output")


def error_id(batch: AskedBatch) -> str | None:
    """Return the id of the file of failures; None while the batch runs, or if there is none."""
    return _made_id(batch, "error")


def _made_id(batch: AskedBatch, kind: str) -> str | None:
    ended = batch.validated_at is not None or batch.expired_at is not None
    some = any(batch.counts.get(state) for state in _STATES[kind])
    if batch.open or not ended or not some:
        return None
    return f"{MADE_PREFIX}{kind}-{batch.id.removeprefix(_BATCH_PREFIX)}"


def _find(store: Store, name: str, owner: str) -> tuple[AskedBatch, str]:
    kind, _, batch = name.removeprefix(MADE_PREFIX).partition("-")
    known = kind in _STATES and batch.isalnum()
    found = store.asked_batch(f"{_BATCH_PREFIX}{batch}", owner=owner) if known else None
    if found is None or name != _made_id(found, kind):
        raise not_found("file", name)
    return found, kind


def made_file(store: Store, name: str, owner: str) -> dict[str, Any]:
    """Describe such a file; its length is that of its lines, which are made and counted."""
    batch, kind = _find(store, name, owner)
    return {
        "id": name,
        "object": "file",
        "bytes": sum(map(len, _lines(store, batch, kind))),
        "created_at": unix(batch.last_finished_at),
        "filename": f"{batch.id}_{kind}.jsonl",
        "purpose": "batch_output",
        "status": "processed",
        "status_details": None,
        "expires_at": None,
    }


def output_bytes(store: Store, name: str, owner: str) -> Iterator[bytes]:
    """Yield the lines of such a file, some at a time; raises ApiError if there is none."""
    batch, kind = _find(store, name, owner)
    return _lines(store, batch, kind)


def _lines(store: Store, batch: AskedBatch, kind: str) -> Iterator[bytes]:
    out = io.StringIO()
    for row in store.results(Selection(batch=batch.id, states=_STATES[kind])):
        openai_batch.write([_said(row, batch)], store, out, out)
        if out.tell() >= PIECE_CHARS:
            yield out.getvalue().encode()
            out = io.StringIO()
    if out.tell():
        yield out.getvalue().encode()


def _said(row: ResultRow, batch: AskedBatch) -> ResultRow:
    """Name the window as what ended a prompt, where it did."""
    if row.status is not PromptState.CANCELLED or batch.expired_at is None:
        return row
    code, message = EXPIRED
    return row._replace(error_code=code, error=message, http_status=None)
