"""Errors as OpenAI's clients read them."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from worker.errors import InputError, StoreBusy

_TYPES = {401: "authentication_error", 403: "permission_error"}
_SERVER_ERROR = 500
_BUSY = 503


class ApiError(Exception):
    """A request that is refused, and why.

    Args:
        status: the HTTP status.
        message: one sentence, with the cure.
        code: a word for programs.
        param: the field that is wrong.
    """

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param


def not_found(what: str, name: str) -> ApiError:
    """Say that there is no such object, or none that this key may see."""
    return ApiError(404, f"there is no {what} {name[:80]!r} for this key", code="not_found")


def body(status: int, message: str, code: str | None, param: str | None) -> dict[str, object]:
    """Return the object that stands in the answer."""
    usual = "server_error" if status >= _SERVER_ERROR else "invalid_request_error"
    kind = _TYPES.get(status, usual)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refused(error: ApiError) -> JSONResponse:
    """Answer a request that is refused."""
    return JSONResponse(body(error.status, error.message, error.code, error.param), error.status)


async def on_api_error(_: Request, error: Exception) -> JSONResponse:
    """Answer what a handler refused."""
    if not isinstance(error, ApiError):
        raise error
    return refused(error)


async def on_http_error(_: Request, error: Exception) -> JSONResponse:
    """Answer what the router refused: no such path, or not this method."""
    status = error.status_code if isinstance(error, HTTPException) else _SERVER_ERROR
    detail = error.detail if isinstance(error, HTTPException) else "internal error"
    return JSONResponse(body(status, detail, None, None), status)


async def on_spool_error(_: Request, error: Exception) -> JSONResponse:
    """Answer what the store or the input refused; the database's own words stay in the log."""
    if isinstance(error, InputError):
        return refused(ApiError(400, error.message))
    busy = isinstance(error, StoreBusy)
    code = "database_busy" if busy else "database_error"
    wait = {"retry-after": "1"} if busy else None
    words = "the database does not answer now: try again" if busy else "the database failed"
    status = _BUSY if busy else _SERVER_ERROR
    return JSONResponse(body(status, words, code, None), status, headers=wait)
