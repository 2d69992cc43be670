"""A real server on the loopback, and the official client before it."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager

import openai

from tests.store.cast import completed, sign_on, take, words
from worker.clock import SystemClock
from worker.records import Endpoint
from worker.server import listening
from worker.server.context import Context
from worker.server.openai_batches import sweep

KEYS = {"k" * 20: "ann", "l" * 20: "bob"}
PLACES = {
    "default": Endpoint(name="default", dialect="openai-chat", base_url="http://x", model="m")
}


@contextmanager
def serving(store, keys):
    listener = listening.bound("127.0.0.1", 0, has_keys=bool(keys))
    found = []
    up = threading.Event()

    async def main():
        context = Context(store, PLACES, SystemClock(), max_line_bytes=1 << 20)
        server = listening.Server(context, keys, alone=False)
        found.append((server, context))
        up.set()
        await listening.serve(server, listener)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    up.wait()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", found[0][1]
    finally:
        found[0][0].should_exit = True
        thread.join()


def client(url, key="k" * 20):
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0)


def line(custom_id, **more):
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **more}
    return json.dumps(
        {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    )


def batch_of(api, *lines, **more):
    sent = api.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")
    return api.batches.create(
        input_file_id=sent.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        **more,
    )


def answer_one(store):
    (run,) = take(store, sign_on(store))
    store.commit("w1", [words(run, 0, "hello")], [completed(run)])


def checked(api, context, batch):
    """The batch when its file was checked: by the server, or here, which is the same step."""
    sweep(context, another_seconds=0.0)
    return api.batches.retrieve(batch.id)
