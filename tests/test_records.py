"""What passes between rooms says of itself only what follows from it."""

from __future__ import annotations

import pytest

from worker.records import Endpoint, Run
from worker.request_hash import request_hash


def test_a_run_knows_what_it_asks() -> None:
    """Which prompt it is of, and how often it was tried, is no part of that."""
    asked = {
        "model": "m",
        "prompt": None,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Why?"}],
        "options": {"temperature": 0},
    }
    given = {"max_attempts": 5, "endpoint": "default", **asked}
    first = Run(id=1, prompt_id=1, attempt=1, attempts=1, **given)
    later = Run(id=9, prompt_id=2, attempt=3, attempts=2, custom_id="c", **given)
    assert first.request_hash() == later.request_hash() == request_hash(**asked)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/v1", "https://h/v1"),
        ("https://h/v1?key=hush", "https://h/v1?key=***"),
        ("https://h/v1?a=1&key=hu%20sh&b", "https://h/v1?a=***&key=***&b"),
    ],
)
def test_the_values_of_a_query_are_not_shown(url, shown):
    """And they are secrets wherever text is stored, as they are written and as they are meant."""
    endpoint = Endpoint(name="x", dialect="openai-chat", base_url=url, model="m", api_key="k")
    assert endpoint.shown_url == shown
    hidden = {secret for secret in endpoint.secrets if "sh" in secret}
    assert hidden == ({"hu%20sh", "hu sh"} if "%" in url else {"hush"} if "hush" in url else set())
