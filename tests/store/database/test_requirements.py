"""What a server must offer is asked for by name, before anybody waits or pays."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import pytest

from worker.errors import StoreBroken
from worker.store import Store
from worker.store.database import requirements
from worker.store.database.engine import Database
from worker.store.schema import migrate


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "WIN1252"])
def test_an_encoding_that_cannot_hold_every_text_is_refused_by_name(postgres_server, encoding):
    """Before the tables are made: every answer would be generated and then thrown away."""
    name = f"odd_{encoding.lower()}_{os.getpid()}"
    postgres_server.administer(
        f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'"
    )
    try:
        with pytest.raises(StoreBroken, match=f"the encoding {encoding}, which cannot hold"):
            migrate.upgrade(postgres_server.url(name))
        store = Store.open(postgres_server.url(name))
        with pytest.raises(StoreBroken, match=encoding):
            store.check_premises(listens=True)
        store.close()
    finally:
        postgres_server.drop_database(name)


def as_role(url: str, role: str) -> str:
    user = urlsplit(url).username or ""
    return url.replace(f"//{user}@", f"//{role}@", 1)


@pytest.fixture
def limited(postgres_server, postgres_url):
    """The URL for a role with so many connections."""
    made = []

    def make(limit: int) -> str:
        role = f"few_{limit}_{os.getpid()}_{len(made)}"
        postgres_server.administer(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT {limit}")
        made.append(role)
        return as_role(postgres_url, role)

    yield make
    for role in made:
        postgres_server.administer(f"DROP ROLE {role}")


def test_a_role_with_too_few_connections_is_told_at_once(limited):
    """A worker would wait for the next one without end."""
    store = Store.open(limited(3))
    with pytest.raises(StoreBroken, match=r"the role few_3\w+ may have 3 connections at a"):
        store.check_premises(listens=True)
    store.close()
    store = Store.open(limited(5))
    assert store.check_premises(listens=True) == []
    store.close()


def test_connections_that_others_use_up_are_a_hint(limited):
    """They may end theirs."""
    url = limited(6)
    others = [Database(url, connections=1) for _ in range(3)]
    held = [other.reading() for other in others]
    for each in held:
        each.__enter__()
    store = Store.open(url)
    (hint,) = store.check_premises(listens=True)
    assert "has 3 of 6 connections left, and a worker needs 5: it waits" in hint
    for each in held:
        each.__exit__(None, None, None)
    for other in others:
        other.close()
    store.close()


def test_a_server_without_limits_has_nothing_to_say(store):
    """Nor has SQLite."""
    assert store.check_premises(listens=True) == []


class Answer:
    """A connection to a server whose settings are these."""

    def __init__(self, *row):
        self._row = row

    def execute(self, _statement):
        return self

    def one(self):
        return self._row


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("on", "on", "on", "", 0), []),
        (("on", "on", "remote_apply", "ANY 1 (a)", 2), []),
        (("off", "on", "on", "", 0), ["fsync"]),
        (("on", "off", "on", "", 0), ["full_page_writes"]),
        (("on", "on", "off", "", 0), ["synchronous_commit"]),
        (("on", "on", "local", "a", 1), ["synchronous_commit"]),
        (("on", "on", "on", "", 2), ["2 standby servers"]),
    ],
)
def test_what_lets_a_server_forget_is_named(row, words):
    """A standby that is waited for by nobody is promoted without the last commits."""
    found = requirements.check_commits(Answer(*row))
    assert [each.startswith(word) for each, word in zip(found, words, strict=True)] == [
        True for _ in words
    ]
