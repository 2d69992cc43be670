"""OpenAI Batch lines, and vLLM's, are passed through; what cannot be answered is told."""

from __future__ import annotations

import json

import pytest

from tests.ingest.reading import ENDPOINTS, only, read, reasons
from worker.records import BATCH_URL

MESSAGES = [{"role": "user", "content": "Hello"}]


def line(url="/v1/chat/completions", body=None, **more):
    given = {"custom_id": "r", "method": "POST", "url": url, "body": body or {}}
    return json.dumps(given | more)


def reason(text, **options):
    (told,) = reasons(read(text, **({"endpoint": "gpt"} | options)))
    return told


def test_a_chat_line_is_passed_through():
    """Messages and model where Spool keeps them, everything else as options."""
    body = {
        "model": "gpt-4o-mini",
        "messages": MESSAGES,
        "max_tokens": 9,
        "tools": [{"type": "function"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    item = only(read(line(body=body), endpoint="gpt"))
    assert (item.custom_id, item.model, item.messages) == ("r", "gpt-4o-mini", MESSAGES)
    assert item.options == {"max_tokens": 9, "tools": [{"type": "function"}]}
    assert item.metadata == {BATCH_URL: "/v1/chat/completions"}


@pytest.mark.parametrize(
    ("url", "endpoint", "body", "asked"),
    [
        ("/v1/completions", "old", {"prompt": "p"}, ("p", None)),
        ("/v1/completions", "old", {"prompt": ["p"]}, ("p", None)),
        ("/v1/responses", "new", {"input": "p", "instructions": "i"}, ("p", None)),
        ("/v1/responses", "new", {"input": MESSAGES}, (None, MESSAGES)),
    ],
)
def test_the_other_urls_are_passed_through(url, endpoint, body, asked):
    """Each with its own word for what is asked."""
    item = only(read(line(url, body), endpoint=endpoint))
    assert (item.prompt, item.messages) == asked
    assert item.metadata == {BATCH_URL: url}
    if "instructions" in body:
        assert item.options == {"instructions": "i"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (line("/v1/embeddings"), 'asks for "/v1/embeddings": Spool answers /v1/chat'),
        ('{"custom_id": "r", "body": {}}', "names no url"),
        ('{"custom_id": "r", "url": "/v1/chat/completions"}', 'has a "url" but no "body"'),
        (line(method="GET"), 'has the method "GET": it must be POST'),
        (line(body={"messages": "x"}), 'needs a list of messages as "messages" in its body'),
        (line(body={"messages": [1]}), 'needs a list of messages as "messages"'),
        (line(body={"messages": []}), "has no messages"),
        (line(body={"messages": MESSAGES, "n": 999}), "number of answers (n) that is not 1 to 128"),
        (line(body={"messages": MESSAGES, "best_of": 2}), "asks for best_of = 2"),
        (line(body={"messages": MESSAGES, "model": 3}), "has a model that is not a name"),
        (line(body={"messages": MESSAGES}, prompt="x"), "mixes a batch request with other keys"),
    ],
)
def test_what_cannot_be_answered_is_told(text, words):
    """With the number of the line, before anything is sent."""
    assert words in reason(text)


def test_a_completion_needs_one_text():
    """Lists of prompts and of tokens are several answers, or none."""
    body = {"prompt": ["a", "b"]}
    assert 'needs one text as "prompt"' in reason(line("/v1/completions", body), endpoint="old")


def test_lines_of_several_dialects_find_their_endpoints():
    """By their url: the default endpoint if it speaks the dialect, else the only one that does."""
    message = {"messages": MESSAGES}
    asked = [
        line(body=message),
        line("/chat/completions", message, custom_id="without v1"),
        line("https://api.example/v1/responses", {"input": "p"}, custom_id="with a host"),
        line("/v1/completions", {"prompt": "p"}, custom_id="c"),
        line("/v1/messages", message | {"max_tokens": 9}, custom_id="d"),
        line("/v1/responses", {"input": "p"}, custom_id="e", endpoint="new"),
    ]
    items = read("\n".join(asked))
    assert [item.endpoint for item in items] == ["gpt", "gpt", "new", "old", "claude", "new"]
    assert items[1].metadata == {BATCH_URL: "/v1/chat/completions"}
    spoken = {"default": ENDPOINTS["gpt"], "other": ENDPOINTS["gpt"]}
    assert only(read(asked[0], endpoints=spoken)).endpoint == "default"


def test_where_it_is_not_clear_the_endpoint_has_to_be_named():
    """The cure is an option, or a line of spool.toml."""
    text = line(body={"messages": MESSAGES})
    assert reason(text, endpoint="default") == (
        "line 1 asks for /v1/chat/completions, but endpoint 'default' speaks ollama-chat:"
        " use --endpoint gpt"
    )
    few = {"default": ENDPOINTS["default"]}
    assert 'dialect = "openai-chat"' in reason(text, endpoint=None, endpoints=few)
    assert 'dialect = "openai-chat"' in reason(text, endpoint="default", endpoints=few)
    two = {"a": ENDPOINTS["gpt"], "b": ENDPOINTS["gpt"]}
    assert "use --endpoint a or --endpoint b" in reason(text, endpoint=None, endpoints=two)
    assert only(read(text, endpoint="b", endpoints=two)).endpoint == "b"
