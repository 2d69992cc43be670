"""Rows and texts as the store would give them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from worker.records import Kind
from worker.states import PromptState
from worker.store.rows import ResultRow

NOON = datetime(2026, 11, 22, 12, 0, 0, 123_000, tzinfo=UTC)


class Texts:
    """Texts of runs: `{(run_id, kind): [pieces]}`; remembers what was asked."""

    def __init__(self, texts=None):
        self.texts = texts or {}
        self.asked = []

    def text(self, run_id, kind=Kind.TEXT, after_seq=-1):
        self.asked.append((run_id, kind))
        return iter([(seq, text) for seq, text in enumerate(self.texts.get((run_id, kind), ()))])


def row(**given):
    """A completed prompt, but for what is given."""
    values = {
        "id": 1,
        "batch": "b",
        "custom_id": "c",
        "endpoint": "default",
        "model": "m",
        "prompt": "p",
        "system": None,
        "messages": None,
        "status": PromptState.COMPLETED,
        "run_id": 7,
        "finish_reason": "stop",
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "http_status": 200,
        "request_id": "req_x",
        "attempts": 1,
        "seconds": 1.23456,
        "error_code": None,
        "error": None,
        "metadata": None,
        "created_at": NOON,
        "finished_at": NOON,
    }
    values = {**values, **given}
    for name in ("messages", "metadata"):
        document = values.pop(name)
        values[f"{name}_json"] = None if document is None else json.dumps(document)
    return ResultRow(**{"text_run_id": values["run_id"], **values})


def failed(**given):
    """A failed prompt, but for what is given."""
    values = {
        "status": PromptState.FAILED,
        "finish_reason": None,
        "http_status": None,
        "request_id": None,
        "prompt_tokens": None,
        "completion_tokens": None,
        "error_code": "bad_request",
        "error": "no",
    }
    return row(**values | given)


def objects(text):
    """JSON Lines as objects."""
    return [json.loads(line) for line in text.splitlines()]
