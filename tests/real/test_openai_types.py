"""OpenAI's own package reads what `spool export` writes, for what OpenAI's own files asked.

Its types are validated strictly here, which its client does not do: a field that is missing or of
another kind fails.  No network: the answers come from the fake server.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from openai.types.shared import ErrorObject

from tests.fakes.aio import aio
from tests.fakes.plan import expected_text
from tests.fakes.server import FakeServer
from tests.house.tree import ROOT

ENDPOINTS = {"chat": "openai-chat", "text": "openai-completions", "responses": "openai-responses"}
ASKED = {
    "/v1/chat/completions": (
        "chat",
        lambda text: {"messages": [{"role": "user", "content": text}]},
    ),
    "/v1/completions": ("text", lambda text: {"prompt": text}),
    "/v1/responses": ("responses", lambda text: {"input": text}),
}
READERS = {
    "/v1/chat/completions": (ChatCompletion, lambda body: body.choices[0].message.content),
    "/v1/completions": (Completion, lambda body: body.choices[0].text),
    "/v1/responses": (Response, lambda body: body.output_text),
}
GOOD, BAD = 5, "x [[fault=400]]"


def spool(here: Path, *arguments: str) -> str:
    """Run `spool` as a person would, and return what it said."""
    said = subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout + said.stderr


def prompt(number: int) -> str:
    return f"Say {number} [[tokens={number * 7}]]"


def batch_file(path: Path, url: str) -> None:
    """A file as OpenAI's reference shows it; its last request is refused by the server."""
    _, asking = ASKED[url]
    texts = [*(prompt(number) for number in range(GOOD)), BAD]
    with path.open("w") as file:
        for number, text in enumerate(texts):
            body = {"model": "gpt-4o-mini", "max_tokens": 1000, **asking(text)}
            request = {"custom_id": f"request-{number}", "method": "POST", "url": url, "body": body}
            file.write(json.dumps(request) + "\n")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def round_trip(here: Path, url: str) -> tuple[list[dict], list[dict]]:
    """In through `add`, out through `export`: the output lines and the error lines."""
    batch_file(here / "in.jsonl", url)
    spool(here, "add", "in.jsonl", "--endpoint", ASKED[url][0])
    spool(here, "run", "--drain")
    where = ("-o", "out.jsonl", "--errors", "errors.jsonl")
    spool(here, "export", "--format", "openai-batch", *where)
    return lines(here / "out.jsonl"), lines(here / "errors.jsonl")


@pytest.mark.parametrize("url", ASKED)
@aio
async def test_every_line_is_read_by_openais_own_types(url: str, tmp_path: Path) -> None:
    """The body has the type of the API that was asked for, and holds the whole text."""
    async with FakeServer() as server:
        (tmp_path / "spool.toml").write_text(
            "poll_seconds = 0.05\n"
            + "".join(
                f'[endpoints.{name}]\ndialect = "{dialect}"\nbase_url = "{server.url}/v1"\n'
                'model = "m"\n'
                for name, dialect in ENDPOINTS.items()
            )
        )
        output, errors = await asyncio.to_thread(round_trip, tmp_path, url)
    kind, text_of = READERS[url]
    assert [line["custom_id"] for line in output] == [f"request-{n}" for n in range(GOOD)]
    for number, line in enumerate(output):
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        body = kind.model_validate(line["response"]["body"], strict=True)
        assert text_of(body) == expected_text(prompt(number))
        assert body.model == "gpt-4o-mini"
    (refused,) = errors
    assert refused["custom_id"] == f"request-{GOOD}"
    assert refused["response"]["status_code"] == 400
    ErrorObject.model_validate(refused["response"]["body"]["error"], strict=True)
