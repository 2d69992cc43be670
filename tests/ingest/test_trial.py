"""What a dialect cannot express is refused when it is added, not when it is sent."""

from __future__ import annotations

import json

import pytest

from tests.ingest.reading import ENDPOINTS
from worker.ingest.trial import refusal, request_for
from worker.records import NewPrompt

CONVERSATION = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def test_the_request_is_the_one_that_would_be_sent():
    """With the endpoint's model where the prompt names none."""
    request = request_for(NewPrompt(prompt="x"), ENDPOINTS["gpt"])
    assert request.url == "http://host/v1/chat/completions"
    assert json.loads(request.body)["model"] == "gpt"


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (NewPrompt(messages=CONVERSATION), "openai-completions takes one text"),
        (NewPrompt(prompt="x", options={"stream": False}), "Spool stores streams"),
        (NewPrompt(prompt="x", options={"n": 2}), "the option n must be 1"),
        (NewPrompt(prompt="x", options={"n_cmpl": 2}), "the option n_cmpl must be 1"),
        (NewPrompt(prompt="x", options={"model": "m"}), "contradicts the prompt's own model"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_endpoint(prompt, words):
    """In the dialect's own words."""
    told = refusal(prompt, ENDPOINTS["old"])
    assert told.startswith("cannot be sent to endpoint 'old': ")
    assert words in told


@pytest.mark.parametrize(
    "prompt",
    [
        NewPrompt(prompt="x", options={"temperature": 0, "stream": True, "n": 1}),
        NewPrompt(messages=CONVERSATION[:1]),
    ],
)
def test_what_can_be_sent_is_not(prompt):
    """A single message of a user is one text."""
    assert refusal(prompt, ENDPOINTS["old"]) == ""


def test_what_is_beyond_doubt_is_not_tried(monkeypatch):
    """It would halve the speed of adding."""
    monkeypatch.setattr("worker.ingest.trial.request_for", None)
    assert refusal(NewPrompt(messages=CONVERSATION, options={"seed": 1}), ENDPOINTS["gpt"]) == ""
