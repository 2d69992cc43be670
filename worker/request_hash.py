"""What a prompt asks, as one short text: equal for equal requests, whoever wrote them down.

A run keeps the hash of the request that it sent, so that its text is never shown as, or continued
into, the answer to another one. `add` compares hashes to see that a prompt was edited.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any


def request_hash(
    *,
    model: str | None,
    prompt: str | None,
    system: str | None,
    messages: Sequence[Any] | None,
    options: Mapping[str, Any] | None,
) -> str:
    """The SHA-256 of a request, as 64 hexadecimal digits.

    The order of the options and of the keys of a message makes no difference, and an absent system
    text or set of options is an empty one. Deeper down the order counts: the order of the
    properties in a response schema changes what a model answers.
    """
    asked = (
        model,
        prompt,
        system or None,
        None if messages is None else list(map(_sorted, messages)),
        _sorted(options or {}),
    )
    return sha256(json.dumps(asked, separators=(",", ":")).encode()).hexdigest()


def _sorted(value: Any) -> Any:
    return dict(sorted(value.items())) if isinstance(value, Mapping) else value
