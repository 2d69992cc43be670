"""JSON as servers really write it: the tolerant, careful reading behind the fast one.

Accepted beyond the standard, because servers send it: NaN and Infinity, raw
control characters in strings, lone surrogate escapes, bytes that are not UTF-8
(replaced, over the whole text, never per piece) and integers of any length.
"""

from __future__ import annotations

import json
import math

from worker.records import Json

_INTEGER_DIGITS_MAX = 400  # int() of 16 MB of digits would take minutes, and Python refuses it


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _INTEGER_DIGITS_MAX else float("inf")


_decode = json.JSONDecoder(strict=False).decode
_decode_long = json.JSONDecoder(strict=False, parse_int=_integer).decode


def parse(text: str | bytes) -> Json:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON, or nested too deeply to be read.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    try:
        return _decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer with thousands of digits
        return _decode_long(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def compact(value: Json) -> str:
    """A value as standard JSON in its shortest form; NaN and Infinity become null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))


def _finite(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
