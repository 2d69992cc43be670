"""What passes between rooms says of itself only what follows from it."""

from __future__ import annotations

from worker.records import Run
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
