"""Anthropic Message Batches: `{"custom_id": ..., "params": {...}}`, a line or a request each.

The params are passed through as they are: messages and model become the
prompt's, everything else (`max_tokens`, `system`, `tools`) its options.
"""

from __future__ import annotations

from worker.ingest.intake import BadLine, Intake, RequestLine
from worker.records import NewPrompt

_DIALECT = "anthropic-messages"
_WHAT = "Anthropic's Messages"


def prompt(
    number: int, line: RequestLine, raw: bytes, intake: Intake, unit: str
) -> NewPrompt | BadLine:
    """The prompt of one batch request."""
    params = dict(line.params or {})
    params.pop("stream", None)
    messages, model = params.pop("messages", None), params.pop("model", None)
    endpoint, reason = "", ""
    if line.prompt is not None or line.messages is not None:
        reason = "mixes a batch request with other keys: keep either the params or the prompt"
    elif not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        reason = 'needs a list of messages as "messages" in its params'
    elif not (model is None or (isinstance(model, str) and model)):
        reason = "has a model that is not a name"
    else:
        endpoint, reason = intake.route(_WHAT, _DIALECT, line.endpoint)
    if reason:
        return BadLine(number, reason, unit)
    made = RequestLine(
        messages=messages,
        custom_id=line.custom_id,
        endpoint=endpoint,
        model=model,
        options=params or None,
        metadata=line.metadata,
    )
    return intake.finished(number, made, raw, unit=unit, check_text=False)
