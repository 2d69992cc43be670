"""OpenAI's Files: upload, list, retrieve, content, delete."""

from __future__ import annotations

import uuid
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from worker.server.batch_output import MADE_PREFIX, made_file, output_bytes
from worker.server.context import Context, context_of, owner_of, unix
from worker.server.errors import ApiError, not_found
from worker.server.query import number_of, word_of
from worker.store.files import StoredFile
from worker.store.schema.batch_files import PART_BYTES

FILE_BYTES_MAX = 200_000_000
PARTS_AT_ONCE = 16
FILES_PER_PAGE = 10_000
EXPIRES_SECONDS_MIN, EXPIRES_SECONDS_MAX = 3600, 2_592_000
_FILENAME_CHARS = 255


async def upload(request: Request) -> Response:
    """Store a file of a multipart form, whichever of its fields comes first."""
    context, owner = context_of(request), owner_of(request)
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ApiError(400, "send the file as multipart/form-data, with `file` and `purpose`")
    async with request.form(max_files=1, max_fields=16) as form:
        given, seconds = _checked(form)
        file_id = f"file-{uuid.uuid4().hex}"
        size = await _store(context, file_id, given)
        stored = await context.call(
            context.store.add_file,
            file_id,
            owner=owner,
            filename=(given.filename or "upload.jsonl")[:_FILENAME_CHARS],
            purpose="batch",
            size=size,
            expires_seconds=seconds,
        )
    return JSONResponse(as_file(stored))


def _checked(form: FormData) -> tuple[UploadFile, float | None]:
    given = form.get("file")
    if not isinstance(given, UploadFile):
        raise ApiError(400, "the form has no `file`", param="file")
    if form.get("purpose") != "batch":
        raise ApiError(400, "only the purpose `batch` is known here", param="purpose")
    if given.size is not None and given.size > FILE_BYTES_MAX:
        raise ApiError(413, f"the file is longer than {FILE_BYTES_MAX:,} bytes: split it")
    if "\0" in (given.filename or ""):
        raise ApiError(400, "the name of the file holds U+0000", param="file")
    anchor, seconds = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return given, None
    number = int(seconds) if isinstance(seconds, str) and seconds.isdecimal() else 0
    if anchor != "created_at" or not EXPIRES_SECONDS_MIN <= number <= EXPIRES_SECONDS_MAX:
        limits = f"{EXPIRES_SECONDS_MIN} to {EXPIRES_SECONDS_MAX} seconds after `created_at`"
        raise ApiError(400, f"expires_after must be {limits}", param="expires_after")
    return given, float(number)


async def _store(context: Context, file_id: str, given: UploadFile) -> int:
    size = seq = 0
    parts: list[bytes] = []
    while data := await given.read(PART_BYTES):
        parts.append(data)
        size += len(data)
        if len(parts) == PARTS_AT_ONCE:
            await context.call(context.store.add_parts, file_id, seq, parts)
            seq, parts = seq + len(parts), []
    await context.call(context.store.add_parts, file_id, seq, parts)
    return size


async def listed(request: Request) -> Response:
    """List the uploaded files of a key."""
    context, owner = context_of(request), owner_of(request)
    limit = number_of(request, "limit", FILES_PER_PAGE, least=1, most=FILES_PER_PAGE)
    order = word_of(request, "order", "desc", ("asc", "desc"))
    after = request.query_params.get("after")
    behind = None
    if after is not None and (behind := await context.call(_find, context, after, owner)) is None:
        raise not_found("file", after)
    found = await context.call(
        context.store.files,
        owner=owner,
        limit=limit + 1,
        purpose=request.query_params.get("purpose"),
        behind=behind,
        newest_first=order == "desc",
    )
    return JSONResponse(as_list([as_file(each) for each in found], limit))


async def retrieve(request: Request) -> Response:
    """Describe one file."""
    return JSONResponse(await _described(request))


async def content(request: Request) -> Response:
    """Stream the bytes of one file."""
    context, owner, name = context_of(request), owner_of(request), request.path_params["file_id"]
    if name.startswith(MADE_PREFIX):
        source = await context.call(output_bytes, context.store, name, owner)
    else:
        await _described(request)
        source = context.store.file_bytes(name)
    return StreamingResponse(context.pieces(source), media_type="application/octet-stream")


async def delete(request: Request) -> Response:
    """Delete one uploaded file; the files of answers are made from rows, and stay."""
    context, owner, name = context_of(request), owner_of(request), request.path_params["file_id"]
    if name.startswith(MADE_PREFIX):
        raise ApiError(409, "this file is made from the answers: `spool prune` deletes those")
    if not await context.call(context.store.delete_file, name, owner=owner):
        raise not_found("file", name)
    return JSONResponse({"id": name, "object": "file", "deleted": True})


async def _described(request: Request) -> dict[str, Any]:
    context, owner, name = context_of(request), owner_of(request), request.path_params["file_id"]
    if name.startswith(MADE_PREFIX):
        return await context.call(made_file, context.store, name, owner)
    stored = await context.call(_find, context, name, owner)
    if stored is None:
        raise not_found("file", name)
    return as_file(stored)


def _find(context: Context, name: str, owner: str) -> StoredFile | None:
    return None if "\0" in name else context.store.file(name, owner=owner)


def as_file(stored: StoredFile) -> dict[str, Any]:
    """Return a file as OpenAI's clients read it."""
    return {
        "id": stored.id,
        "object": "file",
        "bytes": stored.bytes,
        "created_at": unix(stored.created_at),
        "filename": stored.filename,
        "purpose": stored.purpose,
        "status": "processed",
        "status_details": None,
        "expires_at": unix(stored.expires_at),
    }


def as_list(found: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """Return a page; one object more than `limit` says that another page follows."""
    data = found[:limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(found) > limit,
    }


ROUTES = (
    Route("/v1/files", upload, methods=["POST"]),
    Route("/v1/files", listed, methods=["GET"]),
    Route("/v1/files/{file_id}", retrieve, methods=["GET"]),
    Route("/v1/files/{file_id}", delete, methods=["DELETE"]),
    Route("/v1/files/{file_id}/content", content, methods=["GET"]),
)
