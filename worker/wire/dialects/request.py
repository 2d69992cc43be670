"""Parts of requests that every dialect needs: options, messages, URLs, bodies.

Options of the endpoint come first, those of the prompt win over them, both win
over the defaults of this program, and all pass through as they are.  A null
takes an option away.  Only what the stream depends on cannot be chosen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from msgspec.structs import replace

from worker.errors import Refused
from worker.records import Endpoint, Json, Run

# Options that are objects of options themselves: merged one level down, others are replaced.
_NESTED = frozenset({"options", "stream_options", "chat_template_kwargs", "extra_body"})

# How many answers are asked for; the second is llama.cpp's word.
ANSWER_COUNTS = ("n", "n_cmpl")

# How many tokens an answer may have, in the words of all dialects.
TOKEN_LIMITS = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "num_predict",
    "n_predict",
)

Options = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says about the answer to it.

    Attributes:
        max_tokens: how many tokens it may have; None if the request does not say.
        prefix: the text at the end of the request that the answer goes on with, or "".
    """

    max_tokens: int | None = None
    prefix: str = ""


NOTHING_ASKED = Asked()


def asked_of(body: Mapping[str, Json], run: Run) -> Asked:
    """What a request body says about the answer to it."""
    nested = body.get("options")
    places = [body, nested] if isinstance(nested, Mapping) else [body]
    limits = [
        limit
        for place in places
        for name in TOKEN_LIMITS
        if type(limit := place.get(name)) is int and limit > 0
    ]
    last = run.messages[-1] if run.messages else None
    prefix = text_content(last) if _role(last) == "assistant" else None
    return Asked(min(limits, default=None), prefix or "")


def merged(*layers: Mapping[str, Json]) -> Options:
    """Options laid over each other, the last one on top; nulls take away."""
    result: Options = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            if key in _NESTED and isinstance(value, Mapping) and isinstance(below, Mapping):
                result[key] = merged(below, value)
            elif value is None:
                result.pop(key, None)
            else:
                result[key] = value
    return result


def options_for(
    endpoint: Endpoint,
    run: Run,
    *,
    defaults: Mapping[str, Json] | None = None,
    reserved: Iterable[str] = (),
) -> Options:
    """The options of a request, checked.

    Raises:
        Refused: an option would take away the stream, or contradicts the prompt.
    """
    options = merged(defaults or {}, endpoint.options, run.options)
    if options.pop("stream", True) is not True:
        raise Refused("the option stream = false cannot work: Spool stores streams; remove it")
    for key in ("model", *reserved):
        if key in options:
            raise Refused(
                f"the option {key} contradicts the prompt's own {key}; set it there, or as the"
                " endpoint's model, and remove the option"
            )
    for key in ANSWER_COUNTS:
        if options.get(key, 1) != 1:
            raise Refused(
                f"the option {key} must be 1: a run stores one answer; add the prompt more often"
            )
    return options


def with_default_system(run: Run, options: Options) -> Run:
    """The run with the option `system` as its system text, unless it brings its own.

    The option is taken out of the options if it is a text; Anthropic's blocks stay in.
    """
    default = options.get("system")
    if not isinstance(default, str):
        return run
    del options["system"]
    brings_its_own = bool(run.system) or bool(leading_system(run.messages or ())[0])
    return run if brings_its_own else replace(run, system=default)


def chat_messages(run: Run) -> list[Json]:
    """The prompt as chat messages, the system text first.

    Raises:
        Refused: the prompt has neither text nor messages.
    """
    messages = list(run.messages or ())
    if not messages:
        if run.prompt is None:
            raise Refused("the prompt has neither text nor messages")
        messages = [{"role": "user", "content": run.prompt}]
    if run.system:
        messages.insert(0, {"role": "system", "content": run.system})
    return messages


def single_prompt(run: Run, *, dialect: str, cure: str) -> tuple[str, str | None]:
    """The prompt as one text and a system text, for dialects that know no messages.

    Raises:
        Refused: the messages are a conversation, or hold more than text.
    """
    if not run.messages:
        if run.prompt is None:
            raise Refused("the prompt has neither text nor messages")
        return run.prompt, run.system
    roles = [_role(message) for message in run.messages]
    texts = [text_content(message) for message in run.messages]
    if roles not in (["user"], ["system", "user"]) or None in texts:
        raise Refused(
            f"{dialect} takes one text, but the prompt has {len(roles)} messages that are not"
            f" just a user's text; use an endpoint with {cure}"
        )
    *system, prompt = (text or "" for text in texts)
    systems = [text for text in (run.system, *system) if text]
    return prompt, "\n\n".join(systems) or None


def text_content(message: Json) -> str | None:
    """The text of a message, its text parts joined, or None if it holds anything else."""
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return None
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
    plain = [text for text in texts if isinstance(text, str)]
    return "".join(plain) if len(plain) == len(texts) else None


def leading_system(messages: Sequence[Json]) -> tuple[list[str], list[Json]]:
    """The system texts at the start of a conversation, and the messages after them."""
    texts: list[str] = []
    for number, message in enumerate(messages):
        text = text_content(message)
        if _role(message) not in {"system", "developer"} or text is None:
            return texts, list(messages[number:])
        texts.append(text)
    return texts, []


def url_for(base_url: str, path: str) -> str:
    """The URL of a path below a base URL.

    The base may end in a slash, in the first part of the path, or in a query (Azure).
    """
    base = urlsplit(base_url)
    have = [part for part in base.path.split("/") if part]
    want = path.strip("/").split("/")
    overlap = next(n for n in range(len(want), -1, -1) if n == 0 or have[-n:] == want[:n])
    joined = "/" + "/".join([*have, *want[overlap:]])
    return urlunsplit((base.scheme, base.netloc, joined, base.query, ""))


def body_bytes(body: Mapping[str, Json]) -> bytes:
    """The request body as JSON.

    Raises:
        Refused: an option cannot be written as JSON.
    """
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise Refused(f"the options cannot be sent as JSON: {error}") from error
    return text.encode("utf-8", "replace")


def _role(message: Json) -> str | None:
    role = message.get("role") if isinstance(message, Mapping) else None
    return role if isinstance(role, str) else None
