"""Whoever waits for prompts hears of them at once, and a lost line is said to be lost."""

from __future__ import annotations

import threading

import pytest

from tests.fakes.patience import HANG_SECONDS
from worker.errors import StoreBroken, StoreBusy
from worker.records import NewPrompt
from worker.store import Store


@pytest.fixture
def listener(postgres_store):
    made = postgres_store.listener()
    yield made
    made.close()


def test_a_new_prompt_is_heard(postgres_store, listener):
    """Also one that arrived before anybody waited."""
    postgres_store.add([NewPrompt(prompt="x")])
    assert listener.wait(HANG_SECONDS)


def test_silence_lasts_as_long_as_it_was_asked_for(listener):
    """And is no error."""
    assert listener.wait(0.01) is False
    assert listener.wait(0.0) is False


def test_a_wait_ends_when_a_prompt_arrives(postgres_store, listener):
    """Long before its time is up."""
    heard = []
    waiting = threading.Thread(target=lambda: heard.append(listener.wait(HANG_SECONDS)))
    waiting.start()
    postgres_store.add([NewPrompt(prompt="x")])
    waiting.join(timeout=HANG_SECONDS)
    assert heard == [True]


def test_a_line_that_was_cut_is_an_error_and_another_one_works(
    postgres_store, listener, postgres_sql
):
    """The caller asks for a new listener, and meanwhile polls."""
    postgres_sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
        " datname = current_database() AND pid <> pg_backend_pid()"
    )
    with pytest.raises(StoreBusy):
        listener.wait(HANG_SECONDS)
    again = postgres_store.listener()
    postgres_store.add([NewPrompt(prompt="x")])
    assert again.wait(HANG_SECONDS)
    again.close()


def test_a_server_that_is_not_there_is_busy(tmp_path):
    """The worker goes on polling and asks again."""
    store = Store.open(f"postgresql://u:secret@/d?host={tmp_path}")
    with pytest.raises(StoreBusy) as caught:
        store.listener()
    assert "secret" not in str(caught.value)


def test_a_wrong_database_is_broken(postgres_store):
    """Nobody has to wait to find that out."""
    url = postgres_store._db.url.set(database="nowhere").render_as_string()
    with pytest.raises(StoreBroken, match="createdb"):
        Store.open(url).listener()


def test_sqlite_has_none(sqlite_store):
    """There `data_version` is cheap enough to look at."""
    assert sqlite_store.listener() is None
