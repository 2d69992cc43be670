"""The bundled model behind llama.cpp's own server: what our dialects may rely on."""

import contextlib
import json
import os
import subprocess
import sys

import httpx
import pytest

from tests.fakes.patience import HANG_SECONDS
from worker.embedded import library
from worker.embedded.models import bundled_model

COMMAND = [sys.executable, "-m", "worker.embedded.child", "--parallel", "2", "--context", "512"]
QUESTION = [{"role": "user", "content": "Why is the sky blue? Answer in two sentences."}]
GREEDY = {"temperature": 0, "seed": 1, "max_tokens": 40}


@contextlib.contextmanager
def child_for(model):
    """A child, as the command line starts it."""
    with (
        library.environment() as variables,
        subprocess.Popen(
            [*COMMAND, "--model", str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **variables},
        ) as child,
    ):
        yield child


@pytest.fixture(scope="module")
def server():
    """A client of a child that serves the bundled model."""
    with child_for(bundled_model()) as child:
        port = json.loads(child.stdout.readline())["port"]
        assert child.stdout.read() == b""  # one line, and nothing after it
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=HANG_SECONDS) as client:
            yield client
        child.stdin.close()
        assert child.wait(timeout=HANG_SECONDS) == 0


def frames(response):
    """The JSON of every SSE frame of a stream that was read to its end."""
    data = [
        line.removeprefix("data: ")
        for line in response.text.split("\n")
        if line.startswith("data: ")
    ]
    return [json.loads(each) for each in data if each != "[DONE]"], "[DONE]" in data


def fresh(server, path, body):
    """A request on a connection of its own: this server closes some after a stream, unannounced."""
    return server.post(path, json=body, headers={"connection": "close"})


def test_at_temperature_zero_the_streamed_text_is_the_text(server):
    """The same words whether streamed or not, asked first or again: other tests rely on it."""
    body = {"messages": QUESTION, **GREEDY}
    whole = fresh(server, "/v1/chat/completions", body).json()["choices"][0]["message"]["content"]
    assert len(whole) > 50
    for _ in range(2):
        answer = fresh(server, "/v1/chat/completions", {**body, "stream": True})
        parts, done = frames(answer)
        deltas = [choice["delta"] for part in parts for choice in part["choices"]]
        assert "".join(delta.get("content") or "" for delta in deltas) == whole
        assert done


def test_usage_is_sent_when_it_is_asked_for(server):
    """The last frame before [DONE] has the counts and no choices."""
    body = {"messages": QUESTION, **GREEDY, "max_tokens": 3, "stream": True}
    parts, _ = frames(fresh(server, "/v1/chat/completions", body))
    assert not any("usage" in part for part in parts)
    parts, _ = frames(
        fresh(server, "/v1/chat/completions", {**body, "stream_options": {"include_usage": True}})
    )
    assert parts[-1]["choices"] == []
    assert parts[-1]["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize(
    ("path", "body", "last", "sentinel"),
    [
        ("/v1/completions", {"prompt": "The sky is"}, {"object": "text_completion"}, True),
        ("/v1/responses", {"input": QUESTION}, {"type": "response.completed"}, False),
        ("/v1/messages", {"messages": QUESTION}, {"type": "message_stop"}, False),
        ("/completion", {"prompt": "The sky is"}, {"stop": True, "stop_type": "limit"}, False),
    ],
)
def test_the_other_dialects_end_as_they_should(server, path, body, last, sentinel):
    """Each path that an embedded endpoint may use sends the done frame of its dialect."""
    limits = {"max_tokens": 3, "max_output_tokens": 3, "n_predict": 3, "stream": True}
    answer = fresh(server, path, {**body, **limits})
    parts, done = frames(answer)
    assert answer.status_code == 200
    assert parts[-1].items() >= last.items()
    assert done == sentinel


def test_ollama_is_not_spoken_here(server):
    """Which is why those dialects are refused for an embedded endpoint."""
    assert fresh(server, "/api/chat", {"messages": QUESTION}).status_code == 404


def test_a_prompt_beyond_the_context_is_a_400_that_says_so(server):
    """Each stream has the context that was asked for, not a share of it."""
    long = [{"role": "user", "content": "word " * 600}]
    answer = fresh(server, "/v1/chat/completions", {"messages": long, "stream": True})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "exceed_context_size_error"
    assert answer.json()["error"]["n_ctx"] == 512


def test_it_shows_nothing_of_this_machine(server):
    """No path of the model's file, no page for browsers, no welcome for other origins."""
    assert str(bundled_model().parent) not in server.get("/v1/models").text
    assert server.get("/").status_code == 404
    headers = server.get("/health", headers={"origin": "http://elsewhere"}).headers
    assert not headers.get("access-control-allow-origin")


def test_a_child_that_cannot_serve_says_why_and_ends(tmp_path):
    """One JSON line with the error, and a status that is not 0."""
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF")
    with child_for(bad) as child:
        assert "error" in json.loads(child.stdout.read())
        assert child.wait(timeout=HANG_SECONDS) == 1
