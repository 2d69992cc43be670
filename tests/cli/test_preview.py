"""A preview is the request itself, without sending it."""

from __future__ import annotations

from tests.cli.schemas import check
from worker.cli.preview import preview
from worker.records import Endpoint, NewPrompt

ENDPOINTS = {
    "default": Endpoint("default", "openai-chat", "http://host/v1", "m", api_key="hush"),
    "old": Endpoint("old", "openai-completions", "http://host/v1", "m"),
}


def test_the_request_is_shown_without_the_key():
    """Method, URL and body, as the dialect makes them."""
    shown = preview(NewPrompt(prompt="x", custom_id="c", options={"a": 1}), ENDPOINTS)
    check(shown, "preview")
    assert (shown["method"], shown["url"]) == ("POST", "http://host/v1/chat/completions")
    assert shown["body"]["messages"] == [{"role": "user", "content": "x"}]
    assert shown["body"]["a"] == 1
    assert "hush" not in str(shown)


def test_what_the_dialect_cannot_express_is_shown_as_its_error():
    """Instead of a request that cannot be."""
    shown = preview(
        NewPrompt(messages=[{"role": "assistant", "content": "x"}], endpoint="old"), ENDPOINTS
    )
    check(shown, "preview")
    assert set(shown) == {"custom_id", "endpoint", "error"}
