"""Errors have the shape that the official client reads."""

from __future__ import annotations

import asyncio
import json

from worker.errors import InputError, StoreBroken, StoreBusy
from worker.server.errors import on_spool_error


def test_what_the_database_says_stays_in_the_log():
    """It may hold names and values; a client learns whether to try again."""
    for error, status in (
        (StoreBusy("locked: secret"), 503),
        (StoreBroken("no table secret"), 500),
        (InputError("bad"), 400),
    ):
        answer = asyncio.run(on_spool_error(None, error))
        assert answer.status_code == status
        assert b"secret" not in answer.body
        assert set(json.loads(answer.body)["error"]) == {"message", "type", "param", "code"}
