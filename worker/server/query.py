"""Parameters of a query, checked."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request

from worker.server.errors import ApiError

_DIGITS_MAX = 18


def number_of(request: Request, name: str, usual: int, *, least: int, most: int) -> int:
    """Return a whole number of the query; raises ApiError where it is none or out of range."""
    text = request.query_params.get(name)
    if text is None:
        return usual
    number = int(text) if text.isdecimal() and len(text) <= _DIGITS_MAX else -1
    if not least <= number <= most:
        raise ApiError(400, f"{name} must be a number from {least} to {most}", param=name)
    return number


def word_of(request: Request, name: str, usual: str, words: Sequence[str]) -> str:
    """Return one of these words; raises ApiError for any other."""
    word = request.query_params.get(name, usual)
    if word not in words:
        raise ApiError(400, f"{name} must be one of: {', '.join(words)}", param=name)
    return word
