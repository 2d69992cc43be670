"""How long the server asks us to wait, in all the forms in which servers say it.

In order: `retry-after-ms`, `retry-after` in seconds (fractions occur), and
`retry-after` as an HTTP date, which is read relative to the response's own
`Date` because our clock may be off.  Some servers say it only inside the error:
Google as `retryDelay`, OpenAI and Azure in the sentence for people.  Negative
values, NaN and waits of more than a week are nonsense and ignored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

ABSURD_SECONDS = 7 * 24 * 3600.0
_SENTENCE_CHARS_MAX = 4000  # of a message, in which a wait is looked for

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_AMOUNT = r"\d{1,9}(?:\.\d{1,9})?"
_SPAN = re.compile(rf"({_AMOUNT})\s*(ms|s|m|h)?", re.ASCII)
_SENTENCE = re.compile(
    r"(?:try again|retry|retrying|wait)\s+(?:in|after|for)?\s*"
    rf"((?:{_AMOUNT}\s*(?:ms|milliseconds?|hours?|h|minutes?|min|m|seconds?|sec|s)\b\s*)+"
    rf"|(?:{_AMOUNT}(?:ms|h|m|s))+)",
    re.IGNORECASE | re.ASCII,
)


def retry_after(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """The wait in seconds that the headers (keys in lower case) ask for, or None.

    Args:
        headers: of the response.
        now: stands in for a missing `Date` header.
    """
    in_ms = _number(headers.get("retry-after-ms"))
    if in_ms is not None and (wait := sensible(in_ms / 1000)) is not None:
        return wait
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None:
        return sensible(seconds)
    until, since = _date(value), _date(headers.get("date")) or now
    if until is None or since is None:
        return None
    return sensible((until - since).total_seconds())


def wait_in_sentence(message: str) -> float | None:
    """The wait in seconds that a message for people names ("try again in 6m0.5s"), or None."""
    found = _SENTENCE.search(message[:_SENTENCE_CHARS_MAX])
    return None if found is None else span(found.group(1))


def span(text: str) -> float | None:
    """Seconds in a duration such as `34s`, `1m2.5s`, `250ms` or `20 seconds`, or None."""
    short = re.sub(r"(millisecond|hour|minute|second)s?", _initial, text.lower())
    short = short.replace("min", "m").replace("sec", "s")
    parts = _SPAN.findall(short)
    if not parts:
        return None
    return sensible(sum(float(amount) * _UNITS[unit or "s"] for amount, unit in parts))


def sensible(seconds: float) -> float | None:
    """The value itself if a server can have meant it."""
    return seconds if 0 <= seconds <= ABSURD_SECONDS else None


def _initial(word: re.Match[str]) -> str:
    return "ms" if word.group(1) == "millisecond" else word.group(1)[0]


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    # An infinite or missing number is still a number: it must not be read as a date.
    return -1.0 if math.isnan(number) else number


def _date(value: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
