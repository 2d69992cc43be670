"""Anthropic's batch requests are passed through, as lines and as one document."""

from __future__ import annotations

import json

import pytest

from tests.ingest.reading import only, read, reasons

PARAMS = {
    "model": "claude-x",
    "max_tokens": 9,
    "system": [{"type": "text", "text": "s"}],
    "messages": [{"role": "user", "content": "Hello"}],
}


def line(params=None, **more):
    return json.dumps({"custom_id": "r", "params": PARAMS if params is None else params} | more)


def test_params_are_passed_through():
    """Messages and model where Spool keeps them, everything else as options."""
    item = only(read(line(), endpoint="claude"))
    assert (item.custom_id, item.model, item.messages) == ("r", "claude-x", PARAMS["messages"])
    assert item.options == {"max_tokens": 9, "system": PARAMS["system"]}


@pytest.mark.parametrize(
    ("text", "endpoint", "words"),
    [
        (line({}), "claude", 'needs a list of messages as "messages" in its params'),
        (line(PARAMS | {"model": ""}), "claude", "has a model that is not a name"),
        (line(prompt="x"), "claude", "mixes a batch request with other keys"),
        (line(), "gpt", "use --endpoint claude"),
    ],
)
def test_what_cannot_be_answered_is_told(text, endpoint, words):
    """With the number of the line."""
    (told,) = reasons(read(text, endpoint=endpoint))
    assert words in told


def test_the_only_endpoint_that_speaks_it_is_taken():
    """Where there are several, or none, one sentence says what to do."""
    assert only(read(line())).endpoint == "claude"
    (told,) = reasons(read(line(), endpoints={}))
    assert 'add one with dialect = "anthropic-messages" to spool.toml' in told
