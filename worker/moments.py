"""A moment as programs read it: the same in JSON, in CSV and in the log."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec


def iso(moment: datetime) -> str:
    """UTC, to the millisecond, with a Z: `2026-11-22T10:00:00.123Z`."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    text: str = msgspec.to_builtins(moment)  # with six digits or none; `isoformat` takes five times
    return f"{text[:23]}Z" if moment.microsecond else f"{text[:19]}.000Z"
