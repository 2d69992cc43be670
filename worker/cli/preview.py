"""What would be sent for a prompt, without sending it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from worker.errors import SpoolError
from worker.records import Endpoint, NewPrompt, Run
from worker.wire import DIALECTS


def preview(prompt: NewPrompt, endpoints: Mapping[str, Endpoint]) -> dict[str, Any]:
    """The request as an object; `error` instead, if the dialect cannot express the prompt."""
    endpoint = endpoints[prompt.endpoint]
    run = Run(
        id=0,
        prompt_id=0,
        attempt=1,
        attempts=1,
        max_attempts=1,
        endpoint=prompt.endpoint,
        model=prompt.model or endpoint.model,
        custom_id=prompt.custom_id,
        prompt=prompt.prompt,
        system=prompt.system,
        messages=prompt.messages,
        options=prompt.options or {},
    )
    shown: dict[str, Any] = {"custom_id": prompt.custom_id, "endpoint": prompt.endpoint}
    try:
        request = DIALECTS[endpoint.dialect].request(endpoint, run)
    except SpoolError as error:
        return shown | {"error": error.message}
    return shown | {
        "method": request.method,
        "url": request.url,
        "body": json.loads(request.body),
    }
