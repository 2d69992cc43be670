"""What a server says when something is wrong, read from every shape in which it says it.

There is no common envelope.  Seen in the field:

    {"error": {"message", "type", "param", "code"}}     OpenAI, llama.cpp, vLLM, OpenRouter
    {"type": "error", "error": {"type", "message"}}     Anthropic
    {"type": "error", "code", "message"}                OpenAI Responses, flat
    {"error": "text"}                                   Ollama; the text may itself be JSON
    {"error": "text", "StatusCode": 429}                Ollama, remote models
    {"error": "text", "error_type": "overloaded"}       TGI, native
    {"object": "error", "message", "type", "code"}      old vLLM, FastChat, Mistral
    {"detail": "text" | [{"loc", "msg"}]}               FastAPI
    {"text", "error_code"}                              FastChat
    {"x_groq": {"error": "text"}}                       Groq
    {"errors": [{"message", "code"}]}                   Cloudflare
    [{"error": {...}}]                                  Gemini
    {"response": {"error": {"code", "message"}}}        response.failed
    {"code", "message", "type"}                         llama.cpp, SSE field `error:`
    data: {...}                                         any of them, where a stream was wanted

``ServerError`` is the common denominator.  It judges nothing; classify.py does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from worker.records import Json
from worker.wire.errors.retry_after import span
from worker.wire.tolerant_json import parse
from worker.wire.unicode import clip

MAX_MESSAGE_CHARS = 1000
REQUEST_ID_CHARS_MAX = 200
_UPSTREAM_CHARS_MAX = 500  # of the words of the server behind a gateway
_ERROR_STATUSES = range(400, 600)
_MAX_DEPTH = 4  # of reports packed into reports
_SENTENCES = ("message", "msg", "detail", "error_description", "error_msg", "error", "title")
_EVENT_DATA = re.compile(r"^data: ?([{\[].*)$", re.MULTILINE)  # an error written as an event
_THREE_DIGITS = re.compile(r"[0-9]{3}")
# Each reads a page once, however it is made: no search goes on beyond where the next one begins.
_TITLE = re.compile(r"<title[^<>]*>([^<]*)</title>", re.IGNORECASE)
_TAGS = re.compile(
    r"<(?:script|style)\b.*?(?:</(?:script|style)>|\Z)|<[^<>]*>", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class ServerError:
    """An error as the server described it.

    Attributes:
        message: its words, on one line, storable, at most 1000 characters; may be empty.
        number: the status it names itself, 400 to 599, or None.
        names: its machine-readable names: types and codes.
        wait_seconds: a wait that is part of the report, or None.
        request_id: as far as the report names one.
    """

    message: str = ""
    number: int | None = None
    names: frozenset[str] = field(default_factory=frozenset)
    wait_seconds: float | None = None
    request_id: str | None = None


def read_body(body: bytes) -> ServerError:
    """The report in the body of an error response: JSON of any shape, HTML, or plain text."""
    text = body.decode("utf-8", "replace").lstrip("\ufeff").strip()
    event = _EVENT_DATA.search(text) if text[:1] not in {"{", "[", "<"} else None
    said = event.group(1) if event else text
    if said[:1] in {"{", "["}:
        try:
            return read(parse(said))
        except (ValueError, RecursionError):
            pass
    return ServerError(message=clip(page_words(text), MAX_MESSAGE_CHARS))


def read(said: Json) -> ServerError:
    """The report in a JSON value; unknown shapes give a report with the value as its message."""
    layers = [layer for layer in _layers(said, _MAX_DEPTH) if layer]
    return ServerError(
        message=clip(_message(said, layers), MAX_MESSAGE_CHARS),
        number=_number(layers),
        names=frozenset(_names(layers)),
        wait_seconds=_wait(layers),
        request_id=_request_id(layers),
    )


def _layers(said: Json, depth: int) -> Iterator[Mapping[str, Json]]:
    """The objects of a report, the innermost first: inner ones know more."""
    if isinstance(said, list):
        said = said[0] if said else None
    if isinstance(said, str) and said.lstrip()[:1] == "{":
        try:
            said = parse(said)
        except ValueError:
            return
    if not isinstance(said, dict) or depth == 0:
        return
    for key in ("error", "errors", "response", "x_groq", "message"):
        if isinstance(said.get(key), str | dict | list):
            yield from _layers(said[key], depth - 1)
    yield said


def _message(said: Json, layers: list[Mapping[str, Json]]) -> str:
    for layer in layers:
        for key in _SENTENCES:
            if text := _words(layer.get(key)):
                return text + _details(layer, text)
    if isinstance(said, str):
        return said
    return json.dumps(said)[: 2 * MAX_MESSAGE_CHARS] if said else ""


def _words(value: Json) -> str:
    """The sentence in a value: itself, or the entries of FastAPI's list."""
    if isinstance(value, str):
        return value.strip()
    if not isinstance(value, list):
        return ""
    entries = [entry for entry in value[:3] if isinstance(entry, dict)]
    return "; ".join(_entry(entry) for entry in entries if entry.get("msg"))


def _entry(entry: Mapping[str, Json]) -> str:
    loc = entry.get("loc")
    where = ".".join(str(step) for step in loc) if isinstance(loc, list) else ""
    return f"{where}: {entry['msg']}" if where else str(entry["msg"])


def _details(layer: Mapping[str, Json], text: str) -> str:
    """What stands beside the message and is missing in it: the parameter, the upstream's words."""
    details = ""
    param = layer.get("param")
    if isinstance(param, str) and param and param not in text:
        details += f" (parameter {param})"
    metadata = layer.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if isinstance(raw, str) and raw.strip():
        details += f" (upstream: {raw[:_UPSTREAM_CHARS_MAX]})"
    return details


def _number(layers: list[Mapping[str, Json]]) -> int | None:
    # TGI's `http_status_code` is left out on purpose: it says 422 whatever happened.
    for key in ("code", "StatusCode"):
        for layer in layers:
            value = layer.get(key)
            if isinstance(value, str) and _THREE_DIGITS.fullmatch(value):
                value = int(value)
            if type(value) is int and value in _ERROR_STATUSES:
                return value
    return None


def _names(layers: list[Mapping[str, Json]]) -> Iterator[str]:
    for layer in layers:
        for key in ("type", "code", "error_type", "status"):
            value = layer.get(key)
            if isinstance(value, str) and value and not value.isdigit():
                yield value


def _wait(layers: list[Mapping[str, Json]]) -> float | None:
    for layer in layers:
        details = layer.get("details")
        for entry in details if isinstance(details, list) else ():
            delay = entry.get("retryDelay") if isinstance(entry, dict) else None
            if isinstance(delay, str):
                return span(delay)
    return None


def _request_id(layers: list[Mapping[str, Json]]) -> str | None:
    for layer in layers:
        value = layer.get("request_id")
        if isinstance(value, str) and value:
            return clip(value, REQUEST_ID_CHARS_MAX)
    return None


def page_words(text: str) -> str:
    """A page as a sentence: its title, else its words without tags; other text as it is."""
    if not text.startswith("<"):
        return text
    title = _TITLE.search(text)
    if title is not None and title.group(1).strip():
        return title.group(1).strip()
    return _TAGS.sub(" ", text)
