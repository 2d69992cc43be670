"""What the server said is shared; whose settings are meant is told by a digest."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.fakes.scripted_stream import SECRET, endpoint
from worker.endpoints.published import SharedState, digest
from worker.errors import ErrorCode, Refused, ServerFailed

NOW = datetime(2026, 11, 30, tzinfo=UTC)
WRONG_KEY = Refused("HTTP 401: wrong key", code=ErrorCode.UNAUTHORIZED, http_status=401)


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "http://other.test/v1"},
        {"dialect": "openai-responses"},
        {"headers": {"x-team": "b"}},
        {"api_key": "sk-other"},
        {"name": "other"},
    ],
)
def test_other_settings_have_another_digest(change):
    """The place, the dialect, the headers and the key; nothing of them can be read from it."""
    place = endpoint(api_key=SECRET, headers={"x-team": "a"})
    assert digest(place) == digest(replace(place, concurrency=99, options={"a": 1}))
    assert digest(place) != digest(replace(place, **change))
    assert SECRET not in digest(place)


def test_only_what_changes_is_written():
    """A million answers are one row."""
    said = SharedState(endpoint())
    said.answers("small", by_canary=True)
    assert said.changed
    said.changed = False
    said.answers("small", by_canary=True)
    assert not said.changed
    said.refuses(WRONG_KEY, since=NOW)
    assert said.changed
    said.changed = False
    said.refuses(WRONG_KEY, since=NOW)
    assert not said.changed
    said.answers("small", by_canary=True)
    assert said.changed


@pytest.mark.parametrize("error", [WRONG_KEY, ServerFailed("HTTP 500: oops", http_status=500)])
def test_a_refusal_is_read_as_it_was_written(error):
    """Code, status and sentence; what was answered before as well."""
    said, other = SharedState(endpoint()), SharedState(endpoint())
    said.answers("small", by_canary=True)
    said.refuses(error, since=NOW)
    models, refusal = other.read(said.state())
    assert models == ["small"]
    assert type(refusal) is type(error)
    assert (refusal.message, refusal.code, refusal.http_status) == (
        error.message,
        error.code,
        error.http_status,
    )
    said.answers("small", by_canary=True)
    assert other.read(said.state()) == (["small"], None)


def test_that_a_run_was_answered_is_told_apart_from_a_canary_that_was():
    """It shows that the endpoint has worked; only a canary's own answer makes its refusal count."""
    said, other = SharedState(endpoint()), SharedState(endpoint())
    said.answers("small", by_canary=False)
    assert said.changed
    assert other.read(said.state()) == ([], None)
    assert other.has_answered


def test_what_a_later_version_writes_is_read_as_far_as_it_is_known():
    """An unknown code, fields of other types: no worker stops at another's row."""
    said = SharedState(endpoint())
    models, refusal = said.read(
        {"models": ["a", 7], "refusal": {"code": "new", "http_status": "x", "error": None}}
    )
    assert (models, refusal.code) == (["a"], ErrorCode.SERVER_ERROR)
    assert said.read({}) == ([], None)
