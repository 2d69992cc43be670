"""From what a server said to an error of ours with a verdict.

The number that counts is the one inside the report, else the HTTP status; a
report without any number goes by its names.  Inside a 200 stream "your request
is bad" is believed only before any output: older vLLM stamps 400 on every
exception.  A server that asks for patience (429, 503, 529, `Retry-After`, or
names to that effect) charges nobody's attempt.  `x-should-retry` overrides the
verdict, as both vendors' SDKs do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from worker.errors import Busy, ErrorCode, Refused, ServerFailed, Verdict, WireError
from worker.records import Json
from worker.wire.reports import REQUEST_ID_CHARS_MAX, Report, read, read_body
from worker.wire.text import clip
from worker.wire.waiting import retry_after, wait_in_sentence

_OK = range(200, 300)
_REQUEST_IS_WRONG = range(300, 500)  # below 400: redirects, that is a wrong base_url
_RETRYABLE_4XX = frozenset({408, 409, 424, 425, 429})
_OVERLOADED = frozenset({503, 529})
_NOT_IMPLEMENTED = 501
_TOO_MANY_REQUESTS = 429
_LOCATION_CHARS_MAX = 300

_BAD_REQUEST_NAMES = frozenset(
    {
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
        "invalid_prompt",
        "context_length_exceeded",
        "exceed_context_size_error",
        "BadRequestError",
        "NotFoundError",
        "bio_policy",
    }
)
_RATE_NAMES = re.compile(r"rate_?limit|too_?many|resource_exhausted", re.IGNORECASE)
_BUSY_NAMES = re.compile(r"overload|unavailable|slow_down", re.IGNORECASE)
_CONTEXT_NAMES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_CONTEXT_WORDS = re.compile(
    r"context (?:length|size|window)|prompt is too long|input is too long"
    r"|exceeds? the (?:available )?context|too many (?:input )?tokens",
    re.IGNORECASE,
)
_ABORT_WORDS = re.compile(
    r"(?:prediction|generation) (?:was )?aborted|token repeat limit", re.IGNORECASE
)

_CODES_BY_NUMBER = {
    401: ErrorCode.UNAUTHORIZED,
    402: ErrorCode.QUOTA_EXHAUSTED,
    403: ErrorCode.UNAUTHORIZED,
    404: ErrorCode.NOT_FOUND,
    407: ErrorCode.UNAUTHORIZED,
    410: ErrorCode.NOT_FOUND,
}
_CODES_BY_NAME = {
    "authentication_error": ErrorCode.UNAUTHORIZED,
    "permission_error": ErrorCode.UNAUTHORIZED,
    "not_found_error": ErrorCode.NOT_FOUND,
    "NotFoundError": ErrorCode.NOT_FOUND,
}


@dataclass(frozen=True, slots=True)
class _Judgement:
    """The class and the code; `patience` means that the attempt is not charged."""

    kind: type[WireError]
    code: ErrorCode
    patience: bool = False


def failure(
    status: int, headers: Mapping[str, str], body: bytes, *, now: datetime | None = None
) -> WireError:
    """The error for a response that is not a success.

    Args:
        status: HTTP status, not 2xx.
        headers: of the response; keys in lower case.
        body: what could be read of it; may be empty, cut, HTML, or JSON of any shape.
        now: for a `Retry-After` date when the response has no `Date`.
    """
    headers = {name.lower(): value for name, value in headers.items()}
    report = read_body(body)
    said = report.message or _redirect(headers)
    message = f"HTTP {status}: {said}" if said else f"HTTP {status} without a message"
    return _error(report, message, status=status, headers=headers, now=now)


def stream_failure(said: Json, *, had_output: bool) -> WireError:
    """The error for a report inside a 200 stream.

    Args:
        said: the frame, already parsed; a string when it was not JSON.
        had_output: whether any output came before it.
    """
    report = read(said)
    message = f"error in the stream: {report.message}"
    if not report.message:
        message = "error in the stream, without a message"
    return _error(report, message, had_output=had_output)


def request_id(headers: Mapping[str, str]) -> str | None:
    """What the server calls the request; `headers` have lower-case keys, or know no case."""
    found = headers.get("x-request-id") or headers.get("request-id")
    return clip(found, REQUEST_ID_CHARS_MAX) if found else None


def _error(
    report: Report,
    message: str,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    had_output: bool = False,
    now: datetime | None = None,
) -> WireError:
    headers = headers or {}
    wait = retry_after(headers, now=now)
    judgement = _judge(report, status=status, asked_to_wait=wait is not None)
    if had_output and judgement.kind is Refused and not _is_quota(report):
        judgement = _Judgement(ServerFailed, ErrorCode.SERVER_ERROR)
    if wait is None and judgement.patience:
        wait = report.wait_seconds or wait_in_sentence(report.message)
    return judgement.kind(
        message,
        code=judgement.code,
        verdict=_override(headers),
        charged=not judgement.patience,
        retry_after_seconds=wait,
        http_status=status,
        request_id=request_id(headers) or report.request_id,
    )


def _judge(report: Report, *, status: int | None, asked_to_wait: bool) -> _Judgement:
    number = report.number or (status if status not in _OK else None)
    if _is_quota(report):
        return _Judgement(Refused, ErrorCode.QUOTA_EXHAUSTED)
    if _is_bad_request(number, report.names):
        return _Judgement(Refused, _refusal_code(number, report))
    if number == _TOO_MANY_REQUESTS or any(map(_RATE_NAMES.search, report.names)):
        return _Judgement(Busy, ErrorCode.RATE_LIMITED, patience=True)
    busy = any(map(_BUSY_NAMES.search, report.names))
    if number in _OVERLOADED or asked_to_wait or busy:
        return _Judgement(Busy, ErrorCode.OVERLOADED, patience=True)
    if _ABORT_WORDS.search(report.message):
        return _Judgement(ServerFailed, ErrorCode.GENERATION_ABORTED)
    return _Judgement(ServerFailed, ErrorCode.SERVER_ERROR)


def _is_quota(report: Report) -> bool:
    return any(name == "insufficient_quota" or name.startswith("billing_") for name in report.names)


def _is_bad_request(number: int | None, names: frozenset[str]) -> bool:
    if number is None:
        return bool(names & _BAD_REQUEST_NAMES) or any(n.startswith("image_") for n in names)
    if number == _NOT_IMPLEMENTED:
        return True
    return number in _REQUEST_IS_WRONG and number not in _RETRYABLE_4XX


def _refusal_code(number: int | None, report: Report) -> ErrorCode:
    if report.names & _CONTEXT_NAMES or _CONTEXT_WORDS.search(report.message):
        return ErrorCode.CONTEXT_EXCEEDED
    if number in _CODES_BY_NUMBER:
        return _CODES_BY_NUMBER[number]
    by_name = (code for name, code in _CODES_BY_NAME.items() if name in report.names)
    return next(by_name, ErrorCode.BAD_REQUEST)


def _override(headers: Mapping[str, str]) -> Verdict | None:
    wish = headers.get("x-should-retry", "").strip().lower()
    return {"true": Verdict.RETRY_LATER, "false": Verdict.FAIL}.get(wish)


def _redirect(headers: Mapping[str, str]) -> str:
    location = headers.get("location")
    return (
        f"redirects to {clip(location, _LOCATION_CHARS_MAX)}; is the base_url right?"
        if location
        else ""
    )
