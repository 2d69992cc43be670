"""Table 8: a night of answers at a server that dies again and again.

An answer of 2,000 tokens at 30 tokens/s takes longer than the minute between two deaths; here all is
a quarter of that.  Spool goes on where an answer was cut, or begins again; the naive script begins
again, too, and keeps what it has in memory.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx

from benchmarks.chaos.evidence import served_from
from benchmarks.chaos.stage import ROOT, ModelServer, environment
from benchmarks.harness import Table

Way = Callable[[str, Path, int, float], tuple[int, int]]  # how many finished, and were continued

TOKENS = 500
RATE = 30  # tokens per second and stream
DIES_SECONDS = 15.0
AWAY_SECONDS = 0.5
STREAMS = 25
GIVES_UP_SECONDS = 300.0
GIVES_UP_SECONDS_SHORT = 90.0


def tables(*, short: bool) -> Iterator[Table]:
    """The same prompts, three ways."""
    count, seconds = (50, GIVES_UP_SECONDS_SHORT) if short else (200, GIVES_UP_SECONDS)
    table = Table(
        f"{count} answers of {TOKENS} tokens at {RATE} tokens/s, {STREAMS} at a time, from a server"
        f" that dies every {DIES_SECONDS:g} s",
        ("", "finished", "seconds", "tokens generated", "of the answers", "went on where cut"),
        notes=[
            f"the server is away for {AWAY_SECONDS:g} s each time; SQLite",
            "the naive script holds its answers in memory, and begins again at once",
            f"whoever has not finished is stopped after {seconds:.0f} s",
        ],
    )
    ways: dict[str, Way] = {
        "Spool": partial(_spool, "auto"),
        'Spool, continue_interrupted = "off"': partial(_spool, "off"),
        "a naive script": _naive,
    }
    for name, run in ways.items():
        with tempfile.TemporaryDirectory(prefix="spool-morning-") as folder:
            table.add(name, *_measured(run, Path(folder), count, seconds))
    yield table


def _measured(run: Way, folder: Path, count: int, most_seconds: float) -> Iterator[str]:
    server = ModelServer(folder, faults={})
    began = time.monotonic()
    try:
        with _dying(server):
            finished, spliced = run(server.url, folder, count, most_seconds)
        seconds = time.monotonic() - began
    finally:
        server.close()
    sent = sum(one.tokens_sent for one in served_from(server.log))
    yield f"{finished}"
    yield f"{seconds:.0f}"
    yield f"{sent:,}"
    yield f"{sent / (count * TOKENS):.2f} times"
    yield f"{spliced}"


@contextmanager
def _dying(server: ModelServer) -> Iterator[None]:
    over = threading.Event()

    def die() -> None:
        while not over.wait(DIES_SECONDS - AWAY_SECONDS):
            server.down(AWAY_SECONDS)

    thread = threading.Thread(target=die, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _prompt(number: int) -> str:
    return f"story {number} [[tokens={TOKENS} rate={RATE}]]"


def _spool(
    setting: str, url: str, folder: Path, count: int, most_seconds: float
) -> tuple[int, int]:
    """How many prompts a worker completes, and how many of them went on where they were cut."""
    config, prompts = folder / "spool.toml", folder / "prompts.jsonl"
    config.write_text(
        f'database_url = "sqlite:///{folder}/spool.db"\nflush_seconds = 0.25\n'
        f'[endpoints.default]\ndialect = "openai-chat"\nbase_url = "{url}/v1"\nmodel = "fake"\n'
        f'concurrency = {STREAMS}\ncontinue_interrupted = "{setting}"\n'
    )
    lines = [json.dumps({"prompt": _prompt(number)}) for number in range(count)]
    prompts.write_text("\n".join(lines) + "\n")
    spool = [sys.executable, "-m", "worker", "--config", str(config)]
    for words in (["migrate"], ["add", str(prompts)], ["run", "--drain"]):
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [*spool, *words],
                cwd=ROOT,
                env=environment(),
                capture_output=True,
                check=False,
                timeout=most_seconds,
            )
    exported = subprocess.run(
        [*spool, "export"], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    rows = [json.loads(line) for line in exported.stdout.split("\n") if line]
    completed = [row for row in rows if row["status"] == "completed"]
    return len(completed), sum(row["spliced"] for row in completed)


def _naive(url: str, folder: Path, count: int, most_seconds: float) -> tuple[int, int]:
    del folder
    return asyncio.run(_ask_all(url, count, most_seconds)), 0


async def _ask_all(url: str, count: int, most_seconds: float) -> int:
    """How many answers a script gets that tries again until it has each."""
    waiting = list(range(count))
    answers: dict[int, str] = {}

    async def work(client: httpx.AsyncClient) -> None:
        while waiting:
            number = waiting.pop()
            while number not in answers:
                try:
                    answers[number] = await _ask(client, url, number)
                except httpx.HTTPError:
                    await asyncio.sleep(1.0)

    async with httpx.AsyncClient(timeout=60) as client:
        with suppress(TimeoutError):
            async with asyncio.timeout(most_seconds):
                await asyncio.gather(*(work(client) for _ in range(STREAMS)))
    return len(answers)


async def _ask(client: httpx.AsyncClient, url: str, number: int) -> str:
    body = {"model": "fake", "stream": True, "messages": [_message(number)]}
    text = []
    async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
        rest = b""
        async for data in response.aiter_bytes():  # lines of httpx end at U+2028 as well
            *lines, rest = (rest + data).split(b"\n\n")
            for line in lines:
                if line == b"data: [DONE]":
                    return "".join(text)
                choices = json.loads(line[6:])["choices"]
                text += [choice["delta"].get("content") or "" for choice in choices]
    raise httpx.ReadError("it ended without its done frame")


def _message(number: int) -> dict[str, str]:
    return {"role": "user", "content": _prompt(number)}
