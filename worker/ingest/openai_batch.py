"""OpenAI Batch requests, and vLLM's, which have the same shape.

`{"custom_id": ..., "method": "POST", "url": "/v1/chat/completions", "body": {...}}`

The body is passed through: its prompt or messages become the prompt's, its
model the prompt's model, and everything else its options.  The `url` is kept in
the metadata, so that an export can answer in the shape that was asked for.
`stream` is dropped, since Spool always streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from worker.ingest.intake import BadLine, Intake, RequestLine, shortened
from worker.records import BATCH_URL, NewPrompt

DIALECT_OF_URL: Mapping[str, str] = MappingProxyType(
    {
        "/v1/chat/completions": "openai-chat",
        "/v1/completions": "openai-completions",
        "/v1/responses": "openai-responses",
        "/v1/messages": "anthropic-messages",
    }
)
_DROPPED = ("stream", "stream_options")


def prompt(
    number: int, line: RequestLine, raw: bytes, intake: Intake, unit: str
) -> NewPrompt | BadLine:
    """The prompt of one batch request."""
    url = known_url(line.url)
    if reason := _envelope_fault(line, url):
        return BadLine(number, reason, unit)
    endpoint, reason = intake.route(url, DIALECT_OF_URL[url], line.endpoint)
    if reason:
        return BadLine(number, reason, unit)
    body = {key: value for key, value in (line.body or {}).items() if key not in _DROPPED}
    model = body.pop("model", None)
    asked: dict[str, Any] = {}
    reason = _counts_fault(body) or _take_input(url, body, asked)
    if not reason and not (model is None or (isinstance(model, str) and model)):
        reason = "has a model that is not a name"
    if reason:
        return BadLine(number, reason, unit)
    made = RequestLine(
        **asked,
        custom_id=line.custom_id,
        endpoint=endpoint,
        model=model,
        options=body or None,
        metadata={**(line.metadata or {}), BATCH_URL: url},
    )
    return intake.finished(number, made, raw, unit=unit, check_text=False)


def known_url(url: str | None) -> str:
    """The url in the table that is meant, or "": gateways leave /v1 out, people write the host."""
    path = urlsplit(url or "").path.rstrip("/")
    for known in DIALECT_OF_URL:
        if path and (path.endswith(known) or path == known.removeprefix("/v1")):
            return known
    return ""


def _envelope_fault(line: RequestLine, url: str) -> str:
    if line.body is None:
        return 'has a "url" but no "body"'
    if line.prompt is not None or line.messages is not None or line.params is not None:
        return "mixes a batch request with other keys: keep either the body or the prompt"
    if not url:
        known = ", ".join(DIALECT_OF_URL)
        asked = "names no url" if line.url is None else f"asks for {shortened(line.url)}"
        return f"{asked}: Spool answers {known}"
    if line.method not in (None, "POST"):
        return f"has the method {shortened(line.method)}: it must be POST"
    return ""


def _counts_fault(body: Mapping[str, Any]) -> str:
    if (number := body.get("best_of")) in (None, 1):
        return ""
    return f"asks for best_of = {number!r}: Spool keeps each answer; ask for n = {number!r}"


def _take_input(url: str, body: dict[str, Any], asked: dict[str, Any]) -> str:
    """Move what is asked from the body to where Spool keeps it; says what is wrong with it."""
    if url in ("/v1/chat/completions", "/v1/messages"):
        return _take_messages("messages", body.pop("messages", None), asked)
    name = "prompt" if url == "/v1/completions" else "input"
    given = body.pop(name, None)
    if name == "prompt" and isinstance(given, list) and len(given) == 1:
        given = given[0]
    if isinstance(given, str):
        asked["prompt"] = given
        return ""
    if name == "prompt":
        return 'needs one text as "prompt" in its body'
    return _take_messages("input", given, asked)


def _take_messages(name: str, given: Any, asked: dict[str, Any]) -> str:
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        return f'needs a list of messages as "{name}" in its body'
    asked["messages"] = given
    return ""
