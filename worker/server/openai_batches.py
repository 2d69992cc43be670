"""OpenAI's Batches and Models: create, retrieve, list, cancel, and what ends them."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.errors import SpoolError
from worker.ingest.openai_batch import DIALECT_OF_URL
from worker.server.batch_input import cancel, validate
from worker.server.batch_output import error_id, output_id
from worker.server.context import Context, context_of, owner_of, unix
from worker.server.errors import ApiError, not_found
from worker.server.openai_files import as_list
from worker.server.query import number_of
from worker.states import PromptState
from worker.store.client_batches import AskedBatch

BATCHES_PER_PAGE = 100
USUAL_PER_PAGE = 20
METADATA_PAIRS_MAX, METADATA_KEY_CHARS, METADATA_VALUE_CHARS = 16, 64, 512
WINDOW_DAYS_MAX = 365
SWEEP_SECONDS = 5.0
ANOTHERS_SECONDS = 60.0  # so long the server that made a batch is left to validate it
_WINDOW = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86400}
_KEY_CHARS = 255
_URLS = tuple(url for url in DIALECT_OF_URL if url != "/v1/messages")


async def create(request: Request) -> Response:
    """Make a batch of an uploaded file; its lines are checked after the answer."""
    context, owner = context_of(request), owner_of(request)
    asked = await _json(request)
    endpoint, file_id = asked.get("endpoint"), asked.get("input_file_id")
    if endpoint not in _URLS:
        raise ApiError(400, f"endpoint must be one of: {', '.join(_URLS)}", param="endpoint")
    if not isinstance(file_id, str) or "\0" in file_id:
        raise ApiError(400, "input_file_id must be the id of a file", param="input_file_id")
    stored = await context.call(context.store.file, file_id, owner=owner)
    if stored is None:
        raise not_found("file", file_id)
    window = asked.get("completion_window")
    batch = await context.call(
        context.store.add_batch,
        f"batch_{uuid.uuid4().hex}",
        owner=owner,
        endpoint=endpoint,
        input_file_id=file_id,
        completion_window=str(window),
        window_seconds=_window_seconds(window),
        metadata=_metadata(asked.get("metadata")),
        idempotency_key=_idempotency_key(request),
    )
    _validate_soon(context, batch)
    return JSONResponse(as_batch(batch))


def _validate_soon(context: Context, batch: AskedBatch) -> None:
    if batch.validated_at or batch.failed_at:
        return

    async def run() -> None:
        try:
            await context.call(validate, context, batch.id, batch.owner)
        except SpoolError:  # the database: the sweep tries again
            return

    task = asyncio.create_task(run())
    context.tasks.add(task)
    task.add_done_callback(context.tasks.discard)


async def _json(request: Request) -> dict[str, Any]:
    try:
        asked = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is not valid JSON") from None
    if not isinstance(asked, dict):
        raise ApiError(400, "the body is not a JSON object")
    return asked


def _window_seconds(window: Any) -> float:
    found = _WINDOW.fullmatch(window) if isinstance(window, str) else None
    seconds = int(found[1]) * _UNIT_SECONDS[found[2]] if found else 0
    if not 0 < seconds <= WINDOW_DAYS_MAX * 86400:
        message = f"completion_window must be such as 30m, 24h or 7d, at most {WINDOW_DAYS_MAX}d"
        raise ApiError(400, message, param="completion_window")
    return float(seconds)


def _metadata(given: Any) -> dict[str, str] | None:
    if given is None:
        return None
    good = (
        isinstance(given, dict)
        and len(given) <= METADATA_PAIRS_MAX
        and all(isinstance(value, str) for value in given.values())
        and all(len(key) <= METADATA_KEY_CHARS for key in given)
        and all(len(value) <= METADATA_VALUE_CHARS for value in given.values())
    )
    if not good:
        message = (
            f"metadata must be at most {METADATA_PAIRS_MAX} pairs of text, keys of at most"
            f" {METADATA_KEY_CHARS} and values of at most {METADATA_VALUE_CHARS} characters"
        )
        raise ApiError(400, message, param="metadata")
    try:
        unfit = "\0" in "".join([*given, *given.values()])
        json.dumps(given, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        unfit = True
    if unfit:
        raise ApiError(400, "metadata holds what no database stores", param="metadata")
    return dict(given)


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= _KEY_CHARS:
        raise ApiError(400, f"Idempotency-Key must have 1 to {_KEY_CHARS} characters")
    return key


async def retrieve(request: Request) -> Response:
    """Describe one batch."""
    return JSONResponse(as_batch(await _found(request)))


async def listed(request: Request) -> Response:
    """List the batches of a key, the newest first."""
    context, owner = context_of(request), owner_of(request)
    limit = number_of(request, "limit", USUAL_PER_PAGE, least=1, most=BATCHES_PER_PAGE)
    after = request.query_params.get("after")
    before = None if after is None else (await _named(context, after, owner)).number
    found = await context.call(
        context.store.asked_batches, owner=owner, limit=limit + 1, before=before
    )
    return JSONResponse(as_list([as_batch(each) for each in found], limit))


async def cancel_batch(request: Request) -> Response:
    """Cancel what is open of a batch; a body is ignored."""
    context, batch = context_of(request), await _found(request)
    if status_of(batch) not in ("validating", "in_progress", "cancelling"):
        raise ApiError(409, f"the batch is {status_of(batch)}: nothing of it can be cancelled")
    await context.call(context.store.mark_cancelled, batch.id)
    await context.call(cancel, context, batch.id)
    return JSONResponse(as_batch(await _found(request)))


async def models(request: Request) -> Response:
    """List the models of the endpoints."""
    names = dict.fromkeys(each.model for each in context_of(request).endpoints.values())
    data = [{"id": n, "object": "model", "created": 0, "owned_by": "spool"} for n in names]
    return JSONResponse({"object": "list", "data": data})


async def _found(request: Request) -> AskedBatch:
    name = request.path_params["batch_id"]
    return await _named(context_of(request), name, owner_of(request))


async def _named(context: Context, name: str, owner: str) -> AskedBatch:
    batch = None
    if "\0" not in name:
        batch = await context.call(context.store.asked_batch, name, owner=owner)
    if batch is None:
        raise not_found("batch", name)
    return batch


def status_of(batch: AskedBatch) -> str:
    """Return OpenAI's word for where a batch stands."""
    if batch.failed_at:
        return "failed"
    if batch.cancel_requested_at:
        checked = batch.validated_at or batch.expired_at
        return "cancelling" if batch.open or not checked else "cancelled"
    if batch.expired_at:
        return "finalizing" if batch.open else "expired"
    if not batch.validated_at:
        return "validating"
    return "in_progress" if batch.open else "completed"


def as_batch(batch: AskedBatch) -> dict[str, Any]:
    """Return a batch as OpenAI's clients read it, every field present."""
    status = status_of(batch)
    ended = unix(batch.last_finished_at or batch.expired_at or batch.cancel_requested_at)
    counts = batch.counts
    failed = counts.get(PromptState.FAILED, 0) + counts.get(PromptState.CANCELLED, 0)
    usage = {
        "input_tokens": batch.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": batch.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": batch.prompt_tokens + batch.completion_tokens,
    }
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": None,
        "errors": {"object": "list", "data": batch.errors} if batch.failed_at else None,
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": status,
        "output_file_id": output_id(batch),
        "error_file_id": error_id(batch),
        "created_at": unix(batch.created_at),
        "in_progress_at": unix(batch.validated_at),
        "expires_at": unix(batch.deadline_at),
        "finalizing_at": ended if status == "completed" else None,
        "completed_at": ended if status == "completed" else None,
        "failed_at": unix(batch.failed_at),
        "expired_at": unix(batch.expired_at) if status == "expired" else None,
        "cancelling_at": unix(batch.cancel_requested_at),
        "cancelled_at": ended if status == "cancelled" else None,
        "request_counts": {
            "total": batch.total,
            "completed": counts.get(PromptState.COMPLETED, 0),
            "failed": failed,
        },
        "usage": usage,
        "metadata": batch.metadata,
    }


def sweep(context: Context, *, another_seconds: float = ANOTHERS_SECONDS) -> None:
    """End batches whose window has closed, go on with validation that broke, drop old files."""
    store = context.store
    for name, _ in store.late_batches():
        store.mark_expired(name)
        cancel(context, name)
    for name, owner in store.batches_to_validate(older_than_seconds=another_seconds):
        validate(context, name, owner)
    store.sweep_files()


ROUTES = (
    Route("/v1/batches", create, methods=["POST"]),
    Route("/v1/batches", listed, methods=["GET"]),
    Route("/v1/batches/{batch_id}", retrieve, methods=["GET"]),
    Route("/v1/batches/{batch_id}/cancel", cancel_batch, methods=["POST"]),
    Route("/v1/models", models, methods=["GET"]),
)
