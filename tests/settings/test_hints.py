"""What is allowed but probably a mistake is said, with the cure."""

from __future__ import annotations

import pytest

from worker.settings.endpoints import EndpointTable
from worker.settings.hints import hints, is_loopback

OPENAI = {"dialect": "openai-chat", "base_url": "https://h/v1", "model": "m"}
SQLITE = "sqlite:///spool.db"


def hinted_at(key=None, database_url=SQLITE, **fields):
    endpoint = EndpointTable(**fields).resolved("default", api_key=key)
    return list(hints(database_url, {"default": endpoint}))


@pytest.mark.parametrize(
    ("fields", "hinted"),
    [
        ({}, False),
        (OPENAI, False),
        (OPENAI | {"base_url": "https://host/openai/v1beta/x"}, False),
        (OPENAI | {"base_url": "https://host"}, True),
        ({"base_url": "http://localhost:11434/v1"}, True),
        ({"dialect": "anthropic-messages", "base_url": "https://h/v1", "model": "m"}, False),
        ({"dialect": "llamacpp-completion", "base_url": "http://h/v1", "model": "m"}, True),
        ({"embedded": True}, False),
    ],
)
def test_a_version_in_the_wrong_place_is_hinted_at(fields, hinted):
    """The most common mistake of all; but some gateways are different, so it is no fault."""
    assert bool(hinted_at(**fields)) is hinted


@pytest.mark.parametrize(
    ("base_url", "key", "headers", "hinted"),
    [
        ("http://gpu-1:8000/v1", "k", {}, "the key"),
        ("http://10.0.0.7/v1", None, {"X-Token": "secret"}, "the headers"),
        ("http://gpu-1:8000/v1", None, {}, ""),
        ("https://gpu-1:8000/v1", "k", {}, ""),
        ("http://127.0.0.1:8000/v1", "k", {}, ""),
        ("http://localhost/v1", "k", {}, ""),
        ("http://[::1]:8000/v1", "k", {}, ""),
        ("http://127.0.0.1.example.com/v1", "k", {}, "the key"),
    ],
)
def test_a_key_that_travels_in_the_clear_is_hinted_at(base_url, key, headers, hinted):
    """Not on this machine, where it leaves no host."""
    found = hinted_at(key, **OPENAI | {"base_url": base_url, "headers": headers})
    assert len(found) == bool(hinted)
    assert all("is not encrypted" in each and hinted in each for each in found)


@pytest.mark.parametrize(
    ("url", "hinted"),
    [
        ("postgresql://me@db.example.com/x", True),
        ("postgresql://me@db.example.com/x?sslmode=prefer", True),
        ("postgresql://me@db.example.com/x?sslmode=require", True),
        ("postgresql://me@db.example.com/x?sslmode=verify-full", False),
        ("postgres://me@db/x?sslmode=verify-ca", False),
        ("postgresql:///x?host=db.example.com", True),
        ("postgresql:///x?host=/var/run/postgresql", False),
        ("postgresql:///x", False),
        ("postgresql://me@localhost/x", False),
        ("postgresql://me@127.0.0.1:5433/x", False),
        (SQLITE, False),
    ],
)
def test_a_database_that_may_be_another_is_hinted_at(url, hinted):
    """The default of libpq takes any server, and any listener between."""
    found = hinted_at(database_url=url)
    assert bool(found) is hinted
    assert all("sslmode=verify-full" in each for each in found)


def test_a_hint_shows_no_secret():
    """The values of a query may be keys."""
    found = hinted_at("k", **OPENAI | {"base_url": "http://h/?key=hush"})
    assert len(found) == 2
    assert not any("hush" in each for each in found)


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        *((host, True) for host in ("localhost", "a.localhost", "127.9.9.9", "::1")),
        *((host, False) for host in ("", "localhost.example", "10.0.0.1", "::2", "0.0.0.0")),
    ],
)
def test_what_can_only_mean_this_machine(host, is_here):
    """By name and by address."""
    assert is_loopback(host) is is_here
