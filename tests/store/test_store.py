"""The store as the rest of the program sees it."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from tests.store.cast import sign_on
from worker.errors import SettingsError, StoreBroken
from worker.records import NewPrompt
from worker.store import Store
from worker.store.schema import migrate


def test_opening_does_not_connect(tmp_path):
    """A URL is checked, and nothing else; the file is not even created."""
    path = tmp_path / "spool.db"
    store = Store.open(f"sqlite:///{path}")
    assert store.is_sqlite
    assert str(path) in store.safe_url
    store.close()
    assert not path.exists()
    assert not Store.open("postgresql://u:secret@host.invalid/d").is_sqlite
    assert "secret" not in Store.open("postgresql://u:secret@host.invalid/d").safe_url
    with pytest.raises(SettingsError):
        Store.open("mysql://u@h/d")


def test_a_migrated_database_passes(store):
    """Asking twice costs nothing."""
    store.check_schema()
    store.check_schema()


def test_an_empty_database_is_told_the_cure(empty_url):
    """Whatever the worker would have tried to do with it."""
    if empty_url.startswith("sqlite"):
        Path(empty_url.removeprefix("sqlite:///")).touch()
    store = Store.open(empty_url)
    with pytest.raises(StoreBroken, match="no tables of Spool: run `spool migrate`"):
        store.check_schema()
    with pytest.raises(StoreBroken, match="spool migrate"):
        store.add([NewPrompt(prompt="x")])
    store.close()


def test_an_older_schema_is_told_the_cure_and_a_newer_one_is_fine(store, sql):
    """Migrations leave what older workers use, so those go on working during an upgrade."""
    sql("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(
        StoreBroken, match=f"at revision 0000, this version needs {migrate.REVISION}"
    ):
        store.check_schema()
    sql("UPDATE alembic_version SET version_num = '9999'")
    store.check_schema()
    sql("DELETE FROM alembic_version")
    with pytest.raises(StoreBroken, match="no tables"):
        store.check_schema()


def test_a_database_that_needs_a_newer_version_says_so_in_one_sentence(store, sql, database_url):
    """To those who work and to those who migrate; versions are compared as numbers."""
    sql("UPDATE schema_info SET min_worker = '0.0.9'")
    store.check_schema()
    sql("UPDATE schema_info SET min_worker = '0.10.0'")
    sentence = "the database needs Spool 0.10.0 or later, and this is .*: install the newer version"
    with pytest.raises(StoreBroken, match=sentence):
        store.check_schema()
    with pytest.raises(StoreBroken, match=sentence):
        migrate.upgrade(database_url)


def test_the_version_of_the_data_changes_when_anybody_writes(sqlite_store, sqlite_url, connect):
    """Another process or this one; and not when nobody does."""
    version = sqlite_store.data_version()
    assert sqlite_store.data_version() == version
    sign_on(sqlite_store)
    after_us = sqlite_store.data_version()
    assert after_us != version
    connect(sqlite_url)("INSERT INTO prompts (prompt) VALUES ('x')")
    assert sqlite_store.data_version() != after_us


def test_postgresql_has_no_version_of_its_data(postgres_store):
    """It has a listener instead."""
    version = postgres_store.data_version()
    sign_on(postgres_store)
    assert postgres_store.data_version() == version == 0


def test_a_closed_store_leaves_no_connection(postgres_store, postgres_sql):
    """And can be used again, if somebody insists."""
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'spool'"
    here = f"{count} AND datname = current_database()"
    sign_on(postgres_store)
    postgres_store.backlog(["default"])
    postgres_store.status()
    assert postgres_sql.one(here) == 3
    postgres_store.close()
    for _ in range(10_000):  # the server takes a moment to notice
        if postgres_sql.one(here) == 0:
            break
    assert postgres_sql.one(here) == 0
    assert postgres_store.renew("w1", 60.0)


def test_a_closed_store_leaves_no_file_open(sqlite_store, sqlite_url, tmp_path):
    """The write-ahead log is gone with the last connection."""
    sign_on(sqlite_store)
    sqlite_store.data_version()
    sqlite_store.backlog(["default"])
    assert (tmp_path / "spool.db-wal").exists()
    sqlite_store.close()
    sqlite_store.close()
    assert not (tmp_path / "spool.db-wal").exists()


def test_every_method_says_what_it_does():
    """The store is what other rooms read first."""
    for name, method in inspect.getmembers(Store, callable):
        if not name.startswith("_"):
            assert method.__doc__, name
