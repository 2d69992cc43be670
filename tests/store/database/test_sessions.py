"""Whatever the defaults of a PostgreSQL server are, a session has what the store relies on."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from tests.store.cast import completed, sign_on, start, words
from worker.errors import StaleSession, StoreBusy
from worker.store import Store
from worker.store.database.engine import BUSY_IN_A_ROW, Database
from worker.store.database.sessions import PREPARE_THRESHOLD, wishes

ODD = {
    "datestyle": "'SQL, DMY'",
    "intervalstyle": "'sql_standard'",
    "timezone": "'Asia/Kathmandu'",
    "bytea_output": "'escape'",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "client_encoding": "'LATIN1'",
    "default_transaction_isolation": "'serializable'",
    "statement_timeout": "'1h'",
    "lock_timeout": "'1h'",
    "idle_session_timeout": "'1h'",
    "idle_in_transaction_session_timeout": "'1h'",
    "transaction_timeout": "'1h'",
    "synchronous_commit": "off",
}
TEXT = "Hällo wörld 世界 🎉"


def alter(url, postgres_sql, name, value):
    database = Database(url).url.database
    postgres_sql(f'ALTER DATABASE "{database}" SET {name} = {value}')


@pytest.mark.parametrize("pooled", [False, True])
def test_odd_defaults_of_a_database_change_nothing(postgres_url, postgres_sql, pooled, monkeypatch):
    """Neither what is stored and read nor how long a session may think."""
    for name, value in ODD.items():
        alter(postgres_url, postgres_sql, name, value)
    if pooled:
        monkeypatch.setattr("psycopg.ConnectionInfo.backend_pid", property(lambda _: -1))
    store = Store.open(postgres_url)
    try:
        run = start(store, prompt=TEXT, custom_id=None)
        assert run.prompt == TEXT
        store.commit("w1", [words(run, 0, TEXT)], [completed(run)])
        with store._work_db.reading() as connection:
            for name in [each for each in ODD if each.endswith("_timeout")]:
                assert connection.exec_driver_sql(f"SHOW {name}").scalar() != "1h"
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
            stored = connection.execute(text("SELECT output FROM results")).scalar()
        assert stored == TEXT
    finally:
        store.close()


@pytest.mark.parametrize(
    ("commits", "keep", "asked"),
    [
        ("off", True, "on"),
        ("local", True, "on"),
        ("remote_write", True, "on"),
        ("on", True, None),
        ("remote_apply", True, None),
        ("off", False, None),
    ],
)
def test_a_commit_that_is_acknowledged_survives_a_crash_of_the_server(commits, keep, asked):
    """A stronger default stays as it is, and a setting lets the server decide."""
    found = wishes(pinned=False, version=18_00_00, commits=commits, keep_commits=keep)
    assert found.get("synchronous_commit") == asked


def test_an_older_server_is_not_asked_for_what_it_does_not_know():
    """An unknown name would end every connection."""
    old = wishes(pinned=True, version=13_00_00, commits="on", keep_commits=True)
    assert not {"idle_session_timeout", "transaction_timeout"} & old.keys()
    assert old["enable_seqscan"] == "off"


def backends(database) -> int:
    with database.reading() as connection:
        return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def test_a_session_that_turned_read_only_is_thrown_away_with_its_pool(postgres_url):
    """After a failover the old sessions cannot write, and new ones can."""
    store = Store.open(postgres_url)
    try:
        sign_on(store)
        for database in (store._work_db, store._lease_db):
            with database.reading() as connection:
                connection.exec_driver_sql("SET default_transaction_read_only = on")
        with pytest.raises(StaleSession, match="read-only"):
            store.renew("w1", 60.0)
        assert store.renew("w1", 60.0)
        with pytest.raises(StaleSession):
            store.cancel_queued()
        assert store.cancel_queued() == 0
    finally:
        store.close()


def test_sessions_that_fail_again_and_again_are_thrown_away(postgres_url):
    """Whatever is wrong with them: the next one may be right."""
    database = Database(postgres_url)

    def fail():
        with pytest.raises(StoreBusy), database.reading() as connection:
            connection.exec_driver_sql("DO $$ BEGIN RAISE SQLSTATE '53200'; END $$")

    try:
        before = backends(database)
        for _ in range(BUSY_IN_A_ROW - 1):
            fail()
        assert backends(database) == before
        for _ in range(BUSY_IN_A_ROW - 1):
            fail()
        assert backends(database) == before, "a success in between starts the count anew"
        for _ in range(BUSY_IN_A_ROW):
            fail()
        assert backends(database) != before
    finally:
        database.close()


def test_a_plan_that_a_migration_made_old_is_no_end_of_the_worker(postgres_url):
    """A prepared statement meets a changed table once; the next session prepares it anew."""
    database, other = Database(postgres_url, connections=1), Database(postgres_url, connections=1)

    def ask():
        with database.reading() as connection:
            connection.exec_driver_sql("SELECT * FROM odd")

    try:
        with other.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE odd (a int)")
        for _ in range(2 * PREPARE_THRESHOLD):
            ask()
        with other.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE odd ALTER a TYPE text")
        with pytest.raises(StaleSession, match="a table was changed meanwhile"):
            ask()
        ask()
    finally:
        database.close()
        other.close()
