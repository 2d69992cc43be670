"""Every transcript once more through everything: a server, a transport, the pipeline, the database."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.aio import aio
from tests.fakes.answer import Script
from tests.fakes.server import FakeServer
from tests.wire.corpus import CASES, Case
from worker.app.worker_app import serve
from worker.errors import ErrorCode
from worker.log import make
from worker.records import Endpoint, NewPrompt
from worker.settings.model import Settings
from worker.store import Store
from worker.supervisor.worker import Worker

CUT = {str(ErrorCode.NO_DONE_FRAME), str(ErrorCode.CONNECTION_LOST)}


def script(case: Case) -> Script:
    """The transcript as its server sent it."""
    body = case.raw
    end = "cut" if case.is_reset else "clean"
    split = max(7, len(body) // 500)
    return Script(body, case.status, case.headers, framing="chunked", split=split, end=end)


def check(case: Case, row: tuple[Any, ...]) -> None:
    """What the row of the first run has to say."""
    status, code, text, thinking, reason, prompt_tokens, completion_tokens, done, error = row
    expect = case.expect
    if "text" in expect:
        assert (text or "") == expect["text"], case
    else:
        digest = hashlib.sha256(text.encode()).hexdigest()
        assert (digest, len(text)) == (expect["text_sha256"], expect["text_len"]), case
    assert thinking == expect["thinking"], case
    assert reason == expect["finish_reason"], case
    assert (prompt_tokens, completion_tokens) == (
        expect["prompt_tokens"],
        expect["completion_tokens"],
    ), case
    completed = expect["outcome"] == "completed"
    assert bool(done) is completed, case
    if completed:
        assert status == "completed", (case, code, error)
    elif expect["outcome"] == "incomplete":
        assert (status, code in CUT) == ("interrupted", True), (case, code, error)
    else:
        # The first refusal of a request is not final: the next one is, with an answer in between.
        assert status in {"interrupted"} | (set() if expect["retryable"] else {"failed"}), (
            case,
            code,
            error,
        )
        assert (expect["error_contains"] or "") in error, case


@pytest.mark.parametrize("transport", ["fast", "httpx"])
@aio
async def test_every_case_ends_in_its_row(
    store: Store, sql: Callable[[str], list[tuple[Any, ...]]], transport: str
) -> None:
    """Text, thinking, usage, finish reason and verdict of all of them, on both transports and databases."""
    async with FakeServer() as server:
        endpoints = {}
        for number, case in enumerate(CASES):
            name = f"case-{number}"
            versioned = "/v1" if case.dialect.startswith("openai") else ""
            base = f"/{name}{versioned}"
            endpoints[name] = Endpoint(
                name,
                case.dialect,
                server.url + base,
                "m",
                concurrency=1,
                options=case.options,
            )
            for path in ("/api/generate", "/api/chat", "/chat/completions", "/completions",
                         "/responses", "/v1/messages", "/completion"):  # fmt: skip
                server.scripts[base + path] = script(case)
        store.add([NewPrompt(prompt="x", endpoint=name, max_attempts=1) for name in endpoints])
        settings = Settings(transport=transport, poll_seconds=0.05).model_copy(
            update={"endpoints": endpoints}
        )

        async def until_all_have_run(worker: Worker) -> None:
            ended = "SELECT count(DISTINCT prompt_id) FROM runs WHERE finished_at IS NOT NULL"
            while sql(ended) != [(len(CASES),)]:
                await asyncio.sleep(0)
                await worker._clock.sleep(0.02)
            worker.stop()
            worker.stop()

        log = make(log_format="json", level="error", stream=Nobody())
        await serve(settings, store, log, beside=until_all_have_run)
    rows = sql(
        "SELECT p.endpoint, a.status, a.error_code, a.text, a.thinking, a.finish_reason,"
        " a.prompt_tokens, a.completion_tokens, a.done_frame, a.error"
        " FROM attempts a JOIN prompts p ON p.id = a.prompt_id WHERE a.attempt = 1"
    )
    found = {name: row for name, *row in rows}
    for number, case in enumerate(CASES):
        check(case, tuple(found[f"case-{number}"]))


class Nobody:
    """Reads no log."""

    def write(self, _line: str) -> int:
        return 0

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False
