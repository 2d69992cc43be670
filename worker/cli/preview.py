"""What would be sent for a prompt, without sending it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from worker.errors import SpoolError
from worker.ingest.trial import request_for
from worker.records import Endpoint, NewPrompt


def preview(prompt: NewPrompt, endpoints: Mapping[str, Endpoint]) -> dict[str, Any]:
    """The request as an object; `error` instead, if the dialect cannot express the prompt."""
    shown: dict[str, Any] = {"custom_id": prompt.custom_id, "endpoint": prompt.endpoint}
    try:
        request = request_for(prompt, endpoints[prompt.endpoint])
    except SpoolError as error:
        return shown | {"error": error.message}
    return shown | {
        "method": request.method,
        "url": request.url,
        "body": json.loads(request.body),
    }
