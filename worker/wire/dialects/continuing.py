"""How each dialect is asked to go on with a text, and how a server shows what it makes of that.

The text becomes the end of the request: of the prompt itself where the dialect takes a raw one,
else of a last message that is the assistant's.  A server may close that message and begin a new
answer, without a word; so chat servers are asked for the prompt that they render out of it
(`renders`), which has to end in the text, byte for byte.  Raw prompts need no such proof.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from msgspec.structs import replace

from worker.records import Endpoint, Json, Request, Run
from worker.wire.dialects.request import (
    TOKEN_LIMITS,
    body_bytes,
    chat_messages,
    merged,
    text_content,
    url_for,
    with_default_system,
)


class By(StrEnum):
    """How the text is put into the request; the values of the setting `continue_by`."""

    COMPLETION = "completion"  # the end of a raw prompt
    TRAILING = "trailing"  # a last message of the assistant
    FINAL_MESSAGE = "final_message"  # the same, with continue_final_message = true
    PREFIX = "prefix"  # the same, with prefix = true in the message


_RAW = frozenset({"llamacpp-completion", "openai-completions"})
_CHATS = frozenset({"openai-chat", "ollama-chat", "anthropic-messages"})
_FORMATS = frozenset({"response_format", "format", "json_schema", "grammar", "output_config"})
# What an answer could not be put together with: the tokens of each part are numbered, or the prompt
# is repeated, or a grammar begins at its root.
_NEVER = frozenset(
    {
        *("logprobs", "top_logprobs", "n_probs", "echo", "suffix", "min_tokens"),
        *("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"),
        *("regex", "ebnf", "modalities", "audio"),
    }
)
_PLAIN_FORMATS: tuple[Json, ...] = ({"type": "text"}, "", None)
_PREFIX_HOSTS = ("deepseek.com", "mistral.ai")
_SEEDS_MAX = 2**31


def ways_to_ask(endpoint: Endpoint) -> tuple[By, ...]:
    """How an endpoint may be asked, the likeliest way first; none if its dialect cannot be."""
    if endpoint.continue_by is not None:
        return (By(endpoint.continue_by),)
    if endpoint.dialect in _RAW:
        return (By.COMPLETION,)
    if endpoint.dialect not in _CHATS:
        return ()
    host = urlsplit(endpoint.base_url).hostname or ""
    if endpoint.dialect == "openai-chat" and host.endswith(_PREFIX_HOSTS):
        return (By.PREFIX,)
    if endpoint.dialect == "openai-chat" and endpoint.continue_interrupted == "auto":
        return (By.TRAILING, By.FINAL_MESSAGE)  # the server shows which of the two it takes
    return (By.TRAILING,)


def options_of(endpoint: Endpoint, run: Run) -> dict[str, Any]:
    """All options of a request in one table, those of Ollama's own table among them."""
    options = merged(endpoint.options, run.options)
    nested = options.get("options")
    return {**options, **nested} if isinstance(nested, Mapping) else options


def stops_of(options: Mapping[str, Json]) -> list[str]:
    """The stop texts of a request."""
    found: list[str] = []
    for name in ("stop", "stop_sequences"):
        value = options.get(name)
        found += [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return [stop for stop in map(str, found) if stop]


def forbids(options: Mapping[str, Json], run: Run) -> str | None:
    """The option with which an answer cannot be gone on with, or None."""
    wanted = {name for name, value in options.items() if value not in (None, False, 0, "", [], {})}
    last = run.messages[-1] if run.messages else None
    if isinstance(last, Mapping) and last.get("role") == "assistant" and text_content(last) is None:
        return "a last message that holds more than text"
    return next(iter(sorted(wanted & _NEVER)), None)


def formatted(options: Mapping[str, Json]) -> str | None:
    """The option that asks for a format, which most servers would begin anew; or None."""
    asked = (name for name in sorted(_FORMATS & options.keys()))
    return next((name for name in asked if options[name] not in _PLAIN_FORMATS), None)


def going_on(run: Run, endpoint: Endpoint, text: str, by: By, *, tokens: int | None) -> Run:
    """The run with a request that ends in `text`; `tokens` of its limit are used up.

    With `continue_at_length_tokens` each request has its own limit, and all together have that one.
    """
    options = merged(endpoint.options, run.options)
    run = with_default_system(run, options)  # it comes first, whatever is put at the end
    changed = _changed(run, options, endpoint.continue_at_length_tokens, tokens, len(text))
    if by is By.COMPLETION:
        return _raw(replace(run, options=changed), text)
    messages = list(chat_messages(replace(run, system=None)))
    last = messages[-1] if messages else None
    if isinstance(last, Mapping) and last.get("role") == "assistant":
        messages[-1] = last = {**last, "content": (text_content(last) or "") + text}
    else:
        messages.append(last := {"role": "assistant", "content": text})
    if by is By.PREFIX:
        messages[-1] = {**last, "prefix": True}
    elif by is By.FINAL_MESSAGE:
        changed |= {"continue_final_message": True, "add_generation_prompt": False}
    return replace(run, prompt=None, messages=messages, options=changed)


def _raw(run: Run, text: str) -> Run:
    if not run.messages:
        return replace(run, prompt=(run.prompt or "") + text)
    *before, last = run.messages
    content = (text_content(last) or "") + text
    return replace(run, messages=[*before, {**last, "content": content}])


def _changed(
    run: Run, options: Mapping[str, Json], most: int, tokens: int | None, chars: int
) -> dict[str, Json]:
    """The run's own options, with what has to change because the answer has begun already."""
    changed = {**run.options, **_later(options, most, tokens, chars)}
    nested = options.get("options")
    if isinstance(nested, Mapping) and (inner := _later(nested, most, tokens, chars)):
        own = run.options.get("options")
        changed["options"] = {**(own if isinstance(own, Mapping) else {}), **inner}
    return changed


def _later(
    options: Mapping[str, Json], most: int, tokens: int | None, chars: int
) -> dict[str, Json]:
    """The limits of tokens, less what is used up; another seed, or the same numbers come again."""
    used = tokens or 0
    changed: dict[str, Json] = {
        name: max(1, min(limit, most - used) if most else limit - used)
        for name in TOKEN_LIMITS
        if tokens and type(limit := options.get(name)) is int and limit > 0
    }
    seed = options.get("seed")
    if type(seed) is int and seed >= 0:
        changed["seed"] = (seed + chars) % _SEEDS_MAX
    return changed


# --- what the server makes of it --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Render:
    """A question for the prompt that a server makes of a request.

    Attributes:
        way: names it.
        prompt_in: the prompt out of the answer; None if it is not there.
        tokens_in: its tokens instead, which `spelled` asks the text of.
        spelled: the question for the text of such tokens.
        takes_formats: the server goes on with a format in its middle, and not from its root.
    """

    way: str
    request: Request
    prompt_in: Callable[[Json], str | None]
    tokens_in: Callable[[Json], list[int] | None] = lambda _: None
    spelled: Callable[[list[int]], Request] | None = None
    takes_formats: bool = False


def renders(endpoint: Endpoint, request: Request) -> Iterator[Render]:
    """How the server may be asked what it makes of this request, the likeliest way first."""
    body = json.loads(request.body)
    root = _root(endpoint)
    if endpoint.dialect == "ollama-chat":
        # A version that does not know the question would answer the prompt: with one token, then.
        one = {**(body.get("options") or {}), "num_predict": 1}
        asked = {**body, "_debug_render_only": True, "stream": False, "options": one}
        yield Render("ollama", _post(request.url, asked), _ollama_prompt)
        return
    if endpoint.dialect == "anthropic-messages":
        body = {**body, "messages": _with_system(body)}
    rendered = {name: value for name, value in body.items() if name in _RENDERED}
    apply = _post(url_for(root, "/apply-template"), rendered)
    yield Render("llama.cpp", apply, _field("prompt"), takes_formats=_is_chat(endpoint))
    if _is_chat(endpoint):
        model = body.get("model")

        def spelled(tokens: list[int]) -> Request:
            return _post(url_for(root, "/detokenize"), {"model": model, "tokens": tokens})

        tokenized = {**rendered, "model": model}
        ask = _post(url_for(root, "/tokenize"), tokenized)
        yield Render("vllm", ask, lambda _: None, _tokens, spelled)


_RENDERED = frozenset(
    {
        *("messages", "tools", "tool_choice", "chat_template_kwargs", "add_generation_prompt"),
        *("continue_final_message", "chat_template", "reasoning_format", "reasoning_effort"),
        *("response_format", "json_schema", "grammar", "parallel_tool_calls"),
    }
)


def _is_chat(endpoint: Endpoint) -> bool:
    return endpoint.dialect == "openai-chat"


def _root(endpoint: Endpoint) -> str:
    """The base URL without the part that OpenAI's clients take, /v1."""
    parts = urlsplit(endpoint.base_url)
    path = parts.path.rstrip("/").removesuffix("/v1")
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def _post(url: str, body: Mapping[str, Json]) -> Request:
    headers = {"content-type": "application/json", "accept": "application/json"}
    return Request(url, body_bytes(body), headers)


def _with_system(body: Mapping[str, Json]) -> list[Json]:
    messages = list(body.get("messages") or ())
    system = text_content({"content": body.get("system")})
    return [{"role": "system", "content": system}, *messages] if system else messages


def _field(name: str) -> Callable[[Json], str | None]:
    def read(answer: Json) -> str | None:
        value = answer.get(name) if isinstance(answer, Mapping) else None
        return value if isinstance(value, str) else None

    return read


def _ollama_prompt(answer: Json) -> str | None:
    said = answer.get("_debug_info") if isinstance(answer, Mapping) else None
    return _field("rendered_template")(said)


def _tokens(answer: Json) -> list[int] | None:
    tokens = answer.get("tokens") if isinstance(answer, Mapping) else None
    whole = isinstance(tokens, list) and all(type(token) is int for token in tokens)
    return tokens if whole and tokens else None


prompt_of_tokens = _field("prompt")
