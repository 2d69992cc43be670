"""From what a server said to an error of ours with a verdict.

The number that counts is the one inside the report, else the HTTP status; a
report without any number goes by its names.  Two tables hold what is known of single numbers and
words.  They choose the class and the sentence, not whose fault it is: that is settled by what the
endpoint answers others (worker/run/attribution.py).  Inside a 200 stream "your request
is bad" is believed only before any output: older vLLM stamps 400 on every
exception.  A server that asks for patience (429, 503, 529, `Retry-After`, or
names to that effect) uses up no attempt.  `x-should-retry` overrides the
verdict, as both vendors' SDKs do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.errors import Busy, Crashed, ErrorCode, Refused, ServerFailed, Verdict, WireError
from worker.records import Json
from worker.wire.errors.bodies import REQUEST_ID_CHARS_MAX, ServerError, read, read_body
from worker.wire.errors.retry_after import retry_after, wait_in_sentence
from worker.wire.unicode import clip

_OK = range(200, 300)
_REQUEST_IS_WRONG = range(300, 500)  # below 400: redirects, that is a wrong base_url
_RETRYABLE_4XX = frozenset({408, 409, 424, 425, 429})
_NOT_IMPLEMENTED = 501
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


_EMPTY = _Judgement(Refused, ErrorCode.QUOTA_EXHAUSTED)
_WRONG_KEY = _Judgement(Refused, ErrorCode.UNAUTHORIZED)
_CRASHED = _Judgement(Crashed, ErrorCode.SERVER_ERROR)
_NOT_REACHED = _Judgement(ServerFailed, ErrorCode.UNREACHABLE, patience=True)
_NO_ROOM = _Judgement(Busy, ErrorCode.OVERLOADED, patience=True)
_TOO_MANY = _Judgement(Busy, ErrorCode.RATE_LIMITED, patience=True)
_ABORTED = _Judgement(ServerFailed, ErrorCode.GENERATION_ABORTED)

# Numbers that mean one thing, whatever the words.
_BY_NUMBER: Mapping[int, _Judgement] = {
    408: _NO_ROOM,  # of a proxy, to whom waits in line; or of a kept connection that was idle
    429: _TOO_MANY,
    498: _NO_ROOM,  # Groq: no capacity
    499: _CRASHED,  # Ollama, Google, nginx: the request was cancelled, and not by us
    503: _NO_ROOM,
    504: _NO_ROOM,  # a gateway that waited too long for a first byte
    524: _NO_ROOM,  # ... Cloudflare
    529: _NO_ROOM,
}

# Words that are clearer than the number they come with; the first row that fits counts.
_FOUR, _FIVE, _ANY = range(400, 500), range(500, 600), range(600)
_BY_WORDS: Sequence[tuple[range, re.Pattern[str], _Judgement]] = tuple(
    (numbers, re.compile(words, re.IGNORECASE), judgement)
    for numbers, words, judgement in (
        (
            _FOUR,
            (
                r"insufficient (?:balance|credits?|funds)|credit balance|spending limit"
                r"|exceeded your current quota|past invoices|out of credits"
                r"|account \S* ?is suspended"
            ),
            _EMPTY,
        ),
        (
            _FOUR,
            (
                r"(?:incorrect|invalid) (?:x-)?api.?key"
                r"|api.?key (?:is )?(?:not valid|invalid|missing)"
                r"|no api.?key|missing .{0,40}(?:api.?key|authorization)"
            ),
            _WRONG_KEY,
        ),
        (
            _ANY,
            (
                r"model (?:runner )?has (?:crashed|unexpectedly stopped)|(?:runner|model|engine)"
                r" process (?:has |is )?(?:terminated|crashed|died|no longer running)|engine.?dead"
            ),
            _CRASHED,
        ),
        (
            _FIVE,
            (
                r"connection error|connection (?:was )?(?:refused|reset)|econnre(?:fused|set)"
                r"|(?:cannot|could not|failed to|unable to) connect|connect(?:ion)? timed? ?out"
                r"|no route to host|name or service not known|getaddrinfo|upstream connect error"
            ),
            _NOT_REACHED,
        ),
    )
)


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
    report: ServerError,
    message: str,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    had_output: bool = False,
    now: datetime | None = None,
) -> WireError:
    headers = headers or {}
    wait = retry_after(headers, now=now)
    said_wait = report.wait_seconds or wait_in_sentence(report.message)
    judgement = _judge(report, status=status, wait=wait, said_wait=said_wait)
    if had_output and judgement.kind is Refused and not _is_quota(report):
        judgement = _Judgement(ServerFailed, ErrorCode.SERVER_ERROR)
    if wait is None and judgement.patience:
        wait = said_wait
    return judgement.kind(
        message,
        code=judgement.code,
        verdict=_override(headers),
        charged=not judgement.patience,
        retry_after_seconds=wait,
        http_status=status,
        request_id=request_id(headers) or report.request_id,
    )


def _judge(
    report: ServerError, *, status: int | None, wait: float | None, said_wait: float | None
) -> _Judgement:
    number = report.number or (status if status not in _OK else None)
    told = _EMPTY if _is_quota(report) else None
    if told is None and wait is None and said_wait is None:  # who names a wait shuts no door
        told = _by_words(report, number or status or 0)
    if told is None and number is not None:
        told = _BY_NUMBER.get(number)
    if told is not None:
        return told
    if _is_bad_request(number, report.names):
        return _Judgement(Refused, _refusal_code(number, report))
    if any(map(_RATE_NAMES.search, report.names)):
        return _TOO_MANY
    if wait is not None or any(map(_BUSY_NAMES.search, report.names)):
        return _NO_ROOM
    aborted = _ABORT_WORDS.search(report.message)
    return _ABORTED if aborted else _Judgement(ServerFailed, ErrorCode.SERVER_ERROR)


def _by_words(report: ServerError, number: int) -> _Judgement | None:
    rows = (
        judgement
        for numbers, words, judgement in _BY_WORDS
        if number in numbers and words.search(report.message)
    )
    return next(rows, None)


def _is_quota(report: ServerError) -> bool:
    return any(name == "insufficient_quota" or name.startswith("billing_") for name in report.names)


def _is_bad_request(number: int | None, names: frozenset[str]) -> bool:
    if number is None:
        return bool(names & _BAD_REQUEST_NAMES) or any(n.startswith("image_") for n in names)
    if number == _NOT_IMPLEMENTED:
        return True
    return number in _REQUEST_IS_WRONG and number not in _RETRYABLE_4XX


def _refusal_code(number: int | None, report: ServerError) -> ErrorCode:
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
