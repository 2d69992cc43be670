"""A request made for trial: does the dialect take what the prompt asks?

Making the request of every line would halve the speed of `add`, and nearly all
lines are beyond doubt.  Doubtful are messages for a dialect that takes one text,
and options that name what is not an option; for those the dialect itself is asked.
"""

from __future__ import annotations

from worker.errors import SpoolError
from worker.records import Endpoint, NewPrompt, Request, Run
from worker.wire import DIALECTS
from worker.wire.dialects.request import ANSWER_COUNTS

_ONE_TEXT = frozenset({"ollama-generate", "openai-completions", "llamacpp-completion"})
_NO_OPTIONS = frozenset(
    {"stream", "model", "prompt", "messages", "input", "response_fields", *ANSWER_COUNTS}
)


def request_for(prompt: NewPrompt, endpoint: Endpoint) -> Request:
    """What would be sent; raises Refused if the dialect cannot express the prompt."""
    run = Run(
        id=0,
        prompt_id=0,
        attempt=1,
        attempts=1,
        max_attempts=1,
        endpoint=endpoint.name,
        model=prompt.model or endpoint.model,
        custom_id=prompt.custom_id,
        prompt=prompt.prompt,
        system=prompt.system,
        messages=prompt.messages,
        options=prompt.options or {},
    )
    return DIALECTS[endpoint.dialect].request(endpoint, run)


def refusal(prompt: NewPrompt, endpoint: Endpoint) -> str:
    """Why the prompt cannot be sent, or nothing."""
    doubtful = (prompt.messages is not None and endpoint.dialect in _ONE_TEXT) or (
        prompt.options is not None and not _NO_OPTIONS.isdisjoint(prompt.options)
    )
    if not doubtful:
        return ""
    try:
        request_for(prompt, endpoint)
    except SpoolError as error:
        return f"cannot be sent to endpoint {endpoint.name!r}: {error.message}"
    return ""
