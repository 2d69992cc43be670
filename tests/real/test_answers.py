"""With a real model: what is stored is what the server says when it is asked without streaming.

The model is deterministic at temperature 0 with a fixed seed, whether it streams
or not and whatever else it generates at the same time, so the two can be
compared word for word, in every dialect that it speaks.
"""

import asyncio
import json
import sqlite3

import httpx
import pytest

from tests.fakes.patience import HANG_SECONDS
from tests.real.limits import LIMITS
from worker.app.worker_app import worker_of
from worker.log import make
from worker.records import NewPrompt, Run, WorkerInfo
from worker.settings import load
from worker.store import Store
from worker.store.schema.migrate import upgrade
from worker.wire import DIALECTS

QUESTIONS = ("The sky is blue because", "Schreibe einen Satz über Bären und 🐻-Spuren im Schnee.")
TOKENS = 24


def whole_text(dialect, answer):
    """The text of a response that was not streamed."""
    match dialect:
        case "openai-chat":
            return answer["choices"][0]["message"]["content"]
        case "openai-completions":
            return answer["choices"][0]["text"]
        case "openai-responses":
            return answer["output"][0]["content"][0]["text"]
        case "anthropic-messages":
            return answer["content"][0]["text"]
        case _:
            return answer["content"]


def counts(dialect, answer):
    """The prompt's and the completion's tokens of a response that was not streamed."""
    match dialect:
        case "openai-chat" | "openai-completions":
            names = "prompt_tokens", "completion_tokens"
        case "openai-responses":
            names = "input_tokens", "output_tokens"
        case "anthropic-messages":  # it counts what it still knew from the first time apart
            usage = answer["usage"]
            prompt = usage["input_tokens"] + usage.get("cache_read_input_tokens", 0)
            return prompt, usage["output_tokens"]
        case _:
            return answer["tokens_evaluated"], answer["tokens_predicted"]
    return tuple(answer["usage"][name] for name in names)


def ask_whole(endpoint, question):
    """The very request that the worker sent, but not streamed: its text and its counts."""
    dialect = DIALECTS[endpoint.dialect]
    request = dialect.request(endpoint, Run(1, 1, 1, 1, 1, endpoint.name, "m", prompt=question))
    body = {**json.loads(request.body), "stream": False}
    body.pop("stream_options", None)
    answer = httpx.post(request.url, json=body, headers=dict(request.headers), timeout=HANG_SECONDS)
    assert answer.status_code == 200, answer.text
    return whole_text(endpoint.dialect, answer.json()), counts(endpoint.dialect, answer.json())


async def carry_everything(settings, store):
    """Run a worker until nothing is left, and ask the same server again while it is there."""
    info = WorkerInfo("real", "here", 1, "test")
    async with worker_of(settings, store, make(level="error"), info) as worker:
        summary = await worker.run(drain=True)
        endpoints = {name: watch.endpoint for name, watch in worker.watches.items()}
        asked = {}
        for name, endpoint in endpoints.items():
            for question in QUESTIONS:
                asked[name, question] = await asyncio.to_thread(ask_whole, endpoint, question)
    return summary, asked


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Both questions in every dialect: what was stored, and what the server says at once."""
    folder = tmp_path_factory.mktemp("real")
    url = f"sqlite:///{folder / 'spool.db'}"
    config = folder / "spool.toml"
    config.write_text(
        "flush_seconds = 0.1\n"
        + "".join(
            f'[endpoints.{dialect}]\nembedded = true\nmodel = "smollm2"\ndialect = "{dialect}"\n'
            f"concurrency = 1\noptions = {{ temperature = 0, seed = 1, {limit} = {TOKENS} }}\n"
            for dialect, limit in LIMITS.items()
        )
    )
    settings = load(config, overrides={"database_url": url})
    upgrade(url)
    store = Store.open(url)
    store.add(
        NewPrompt(prompt=question, endpoint=name) for name in LIMITS for question in QUESTIONS
    )
    summary, asked = asyncio.run(carry_everything(settings, store))
    store.close()
    with sqlite3.connect(folder / "spool.db") as database:
        database.row_factory = sqlite3.Row
        rows = [dict(row) for row in database.execute("SELECT * FROM results")]
    database.close()
    return summary, asked, rows


def test_every_run_is_completed_at_the_first_attempt(answers):
    """A healthy server costs nobody a second attempt."""
    summary, _, rows = answers
    assert (summary.completed, summary.requeued, summary.failed) == (len(rows), 0, 0)
    assert {(row["status"], row["attempts"]) for row in rows} == {("completed", 1)}


@pytest.mark.parametrize("dialect", LIMITS)
def test_the_stored_text_is_what_the_server_says_at_once(answers, dialect):
    """Nothing lost, doubled or altered between the model and the table."""
    _, asked, rows = answers
    stored = {row["prompt"]: row["output"] for row in rows if row["endpoint"] == dialect}
    assert stored == {question: asked[dialect, question][0] for question in QUESTIONS}
    assert all(len(text) > 20 for text in stored.values())


@pytest.mark.parametrize("dialect", LIMITS)
def test_usage_and_the_reason_for_the_end_are_stored(answers, dialect):
    """What a person wants to count is there, in every dialect, and is what was counted at once."""
    _, asked, rows = answers
    for row in rows:
        if row["endpoint"] == dialect:
            stored = row["prompt_tokens"], row["completion_tokens"]
            assert stored == asked[dialect, row["prompt"]][1]
            assert 0 < row["completion_tokens"] <= TOKENS
            assert row["prompt_tokens"] > 0
            assert row["finish_reason"]
