"""A transaction means the same on both databases, and nothing waits for ever."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading

import psycopg
import pytest
from sqlalchemy import text

from tests.fakes import postgres
from tests.store.cast import sign_on, start, take
from worker.errors import SettingsError, StoreBroken, StoreBusy
from worker.records import NewPrompt
from worker.store import Store
from worker.store.database.engine import Database
from worker.store.schema import migrate


@pytest.fixture
def database(database_url):
    made = Database(database_url)
    yield made
    made.close()


class TestUrls:
    @pytest.mark.parametrize(
        "url",
        ["postgres://u@h/d", "postgresql://u@h/d", "postgresql+psycopg://u@h/d"],
    )
    def test_every_spelling_of_postgresql_is_the_same(self, url):
        assert not Database(url).is_sqlite
        assert Database(url).safe_url == "postgresql://u@h/d"

    def test_a_relative_path_is_relative_to_where_one_is(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        migrate.upgrade("sqlite:///spool.db")
        assert (tmp_path / "spool.db").exists()

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("mysql://u:secret@h/d", "mysql"),
            ("postgresql+asyncpg://u:secret@h/d", "asyncpg"),
            ("not a url secret", "not a URL"),
            ("sqlite://", "plain file"),
            ("sqlite:///:memory:", "plain file"),
            ("sqlite:///file:x?mode=memory&uri=true", "plain file"),
            ("sqlite:///x.db?secret=1", "options"),
        ],
    )
    def test_what_is_not_accepted_is_told_what_is(self, url, said):
        with pytest.raises(SettingsError, match=said) as caught:
            Database(url)
        assert "sqlite:///" in str(caught.value) or "SQLite" in str(caught.value)
        assert "secret" not in str(caught.value)

    def test_a_password_is_never_shown(self):
        given = "postgresql://u:secret@h/d?password=secret&sslpassword=secret&sslmode=require"
        shown = Database(given).safe_url
        assert "secret" not in shown
        assert "sslmode=require" in shown

    def test_a_wrong_durability_is_refused(self, tmp_path):
        with pytest.raises(SettingsError, match="'SOMETIMES'"):
            Database(f"sqlite:///{tmp_path / 'x.db'}", synchronous="SOMETIMES")


class TestTransactions:
    def test_what_was_written_is_there_after_it_and_not_before(self, database, sql):
        with database.writing() as connection:
            connection.execute(text("INSERT INTO prompts (prompt) VALUES ('x')"))
            assert sql("SELECT prompt FROM prompts") == []
        assert sql("SELECT prompt FROM prompts") == [("x",)]

    def test_an_error_takes_everything_back(self, database, sql):
        with pytest.raises(RuntimeError, match="oops"), database.writing() as connection:  # noqa: PT012
            connection.execute(text("INSERT INTO prompts (prompt) VALUES ('x')"))
            raise RuntimeError("oops")
        assert sql("SELECT prompt FROM prompts") == []
        with database.writing() as connection:  # and leaves nothing locked
            connection.execute(text("INSERT INTO prompts (prompt) VALUES ('y')"))

    def test_a_single_statement_is_a_transaction_too(self, database, sql):
        add = database.prepared(text("INSERT INTO prompts (prompt) VALUES (:words)"))
        with database.single() as connection:
            assert add.count(connection, {"words": "x"}) == 1
        assert sql("SELECT prompt FROM prompts") == [("x",)]


class TestSqlite:
    @pytest.fixture
    def database(self, sqlite_url):
        made = Database(sqlite_url, busy_timeout_seconds=0.2)
        yield made
        made.close()

    def ask(self, database, pragma):
        with database.reading() as connection:
            return connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()

    def test_its_pragmas_are_set(self, database, sqlite_url):
        assert self.ask(database, "journal_mode") == "wal"
        assert self.ask(database, "synchronous") == 1
        assert self.ask(database, "foreign_keys") == 1
        assert self.ask(database, "busy_timeout") == 200
        assert self.ask(Database(sqlite_url, synchronous="FULL"), "synchronous") == 2

    def test_a_read_does_not_wait_for_a_write(self, database):
        with database.writing() as writer:
            writer.execute(text("INSERT INTO prompts (prompt) VALUES ('x')"))
            with database.reading() as reader:
                assert reader.execute(text("SELECT count(*) FROM prompts")).scalar_one() == 0

    def test_a_read_sees_one_moment(self, database):
        with database.reading() as reader:
            assert reader.execute(text("SELECT count(*) FROM prompts")).scalar_one() == 0
            with database.writing() as writer:
                writer.execute(text("INSERT INTO prompts (prompt) VALUES ('x')"))
            assert reader.execute(text("SELECT count(*) FROM prompts")).scalar_one() == 0

    def test_a_write_takes_the_lock_at_once(self, database, sqlite_url, connect):
        """It cannot read first and find the lock gone when it wants to write."""
        other = connect(sqlite_url)
        other("PRAGMA busy_timeout = 0")
        with database.writing(), pytest.raises(sqlite3.OperationalError, match="locked"):
            other("INSERT INTO prompts (prompt) VALUES ('x')")

    def test_another_process_that_writes_too_long_is_an_error_that_says_so(
        self, database, sqlite_url, connect
    ):
        other = connect(sqlite_url)
        other("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="another process is writing"), database.writing():
            pass
        other("COMMIT")
        with database.writing():
            pass

    def test_another_thread_that_writes_too_long_is_an_error_that_says_so(self, database):
        with database.writing():
            caught = []

            def write():
                try:
                    with database.writing():
                        pass
                except StoreBusy as error:
                    caught.append(str(error))

            thread = threading.Thread(target=write)
            thread.start()
            thread.join()
        assert caught == ["the database is locked by another thread of this process"]

    def test_two_stores_of_one_process_queue_at_the_same_lock(self, sqlite_url):
        first, second = Database(sqlite_url), Database(sqlite_url)
        assert first._turnstile is second._turnstile

    def test_processes_share_one_file(self, sqlite_store, sqlite_url, connect):
        """Several processes claim and complete everything, once."""
        sqlite_store.add(NewPrompt(prompt=f"p{n}") for n in range(300))
        program = (
            "import sys\n"
            "from tests.store.cast import completed, sign_on, take, words\n"
            "from worker.store import Store\n"
            "store, me = Store.open(sys.argv[1]), sys.argv[2]\n"
            "sign_on(store, me)\n"
            "while runs := take(store, me, limit=7):\n"
            "    chunks = [words(run, 0, run.prompt) for run in runs]\n"
            "    assert not store.commit(me, chunks, [completed(run) for run in runs])\n"
        )
        processes = [
            subprocess.Popen([sys.executable, "-c", program, sqlite_url, f"w{n}"]) for n in range(3)
        ]
        assert [process.wait() for process in processes] == [0, 0, 0]
        sql = connect(sqlite_url)
        assert sql("SELECT status, count(*) FROM prompts GROUP BY status") == [("completed", 300)]
        assert sql.one("SELECT count(*) FROM results WHERE output = prompt") == 300
        assert sql.one("SELECT count(*) FROM runs") == 300

    @pytest.mark.parametrize("create", [True, False])
    def test_a_directory_that_is_not_there_is_said_to_be_missing(self, tmp_path, create):
        database = Database(f"sqlite:///{tmp_path / 'no' / 'x.db'}", create=create)
        with (
            pytest.raises(StoreBroken, match=r"the directory .*no does not exist"),
            database.reading(),
        ):
            pass

    def test_a_file_that_is_not_there_is_not_made_by_looking(self, tmp_path):
        store = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
        with pytest.raises(StoreBroken, match="does not exist: run `spool migrate`"):
            store.check_schema()
        assert not (tmp_path / "x.db").exists()

    def test_only_its_owner_can_read_a_new_file(self, tmp_path):
        """Its log and its index of the log, which hold text as well, take the same mode."""
        database = Database(f"sqlite:///{tmp_path / 'x.db'}", create=True)
        with database.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE t (x)")
            modes = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()}
        assert modes == {"x.db": 0o600, "x.db-wal": 0o600, "x.db-shm": 0o600}

    def test_a_file_that_its_owner_has_opened_stays_open(self, tmp_path):
        """A mode is the owner's decision."""
        path = tmp_path / "x.db"
        path.touch()
        path.chmod(0o660)
        with Database(f"sqlite:///{path}", create=True).writing() as connection:
            connection.exec_driver_sql("CREATE TABLE t (x)")
        assert path.stat().st_mode & 0o777 == 0o660

    def test_odd_names_of_files_are_only_names(self, tmp_path):
        path = tmp_path / "a b%20c?d#é.db"
        database = Database("sqlite:///x.db", create=True)
        with pytest.raises(SettingsError):
            Database(f"sqlite:///{tmp_path / 'a?b=c.db'}")
        from worker.store.database.engine import connect_sqlite

        connect_sqlite(path, busy_timeout_seconds=1, synchronous="NORMAL", create=True).close()
        assert path.exists()
        database.close()

    def test_something_that_is_no_database_is_said_to_be_none(self, tmp_path):
        (tmp_path / "x.db").write_text("these are my notes\n" * 100)
        store = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
        with pytest.raises(StoreBroken, match="not an SQLite database"):
            store.check_schema()

    def test_where_there_can_be_no_write_ahead_log_a_person_is_told(self, tmp_path, monkeypatch):
        """As on network file systems; refused rather than run without it."""
        from worker.store.database import engine

        path = tmp_path / "x.db"
        path.touch()

        class Stubborn(sqlite3.Connection):
            def execute(self, statement, *given):
                if "journal_mode" in statement:
                    statement = "PRAGMA journal_mode = DELETE"
                return super().execute(statement, *given)

        connect = sqlite3.connect
        monkeypatch.setattr(
            engine.sqlite3, "connect", lambda *a, **k: connect(*a, factory=Stubborn, **k)
        )
        with pytest.raises(StoreBroken, match="write-ahead log"):
            engine.connect_sqlite(path, busy_timeout_seconds=1, synchronous="NORMAL", create=False)

    def test_an_old_library_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
        with pytest.raises(StoreBroken, match="or later is needed"):
            Store.open(f"sqlite:///{tmp_path / 'x.db'}").check_schema()


class TestPostgresql:
    @pytest.fixture
    def database(self, postgres_url):
        made = Database(postgres_url)
        yield made
        made.close()

    def show(self, database, name):
        with database.reading() as connection:
            return connection.exec_driver_sql(f"SHOW {name}").scalar_one()

    def test_nothing_may_wait_for_ever(self, database):
        assert self.show(database, "statement_timeout") == "2min"
        assert self.show(database, "lock_timeout") == "30s"
        assert self.show(database, "idle_in_transaction_session_timeout") == "30s"
        assert self.show(database, "application_name") == "spool"
        assert self.show(database, "transaction_isolation") == "read committed"

    def test_only_workers_are_pinned_to_index_plans(self, postgres_url):
        for pinned, value in ((True, "off"), (False, "on")):
            database = Database(postgres_url, pinned=pinned)
            assert self.show(database, "enable_seqscan") == value
            database.close()

    def test_behind_a_pooler_every_transaction_brings_its_settings(self, postgres_url, monkeypatch):
        """A pooler answers with a process id that it made up; nothing may stay in the session."""
        real = psycopg.ConnectionInfo.backend_pid.fget
        monkeypatch.setattr(
            psycopg.ConnectionInfo, "backend_pid", property(lambda info: real(info) + 1)
        )
        database = Database(postgres_url, pinned=True, connections=1)
        with database.single() as connection:  # one statement, and still a BEGIN around it
            driver = connection.connection.driver_connection
            assert driver.prepare_threshold is None
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "2s"
            assert connection.exec_driver_sql("SHOW enable_seqscan").scalar_one() == "off"
        assert driver.execute("SHOW lock_timeout").fetchone() == ("0",)
        assert driver.execute("SHOW enable_seqscan").fetchone() == ("on",)
        for _ in range(20):
            with database.reading() as connection:
                connection.exec_driver_sql("SELECT 1")
        assert driver.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
        database.close()

    def test_a_lock_that_is_not_granted_is_an_error_that_says_so(self, database, postgres_sql):
        postgres_sql("BEGIN")
        postgres_sql("LOCK TABLE prompts")
        with pytest.raises(StoreBusy, match="lock"), database.writing() as connection:  # noqa: PT012
            connection.exec_driver_sql("SET LOCAL lock_timeout = '20ms'")
            connection.exec_driver_sql("SELECT * FROM prompts")
        postgres_sql("COMMIT")

    def test_a_server_that_is_not_there_is_busy_not_broken(self, tmp_path):
        store = Store.open(f"postgresql://u:secret@/d?host={tmp_path}")
        with pytest.raises(StoreBusy, match="cannot be reached") as caught:
            store.check_schema()
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"database": "nowhere"}, "does not exist: create it"),
            ({"username": "nobody_here"}, "refused the login"),
        ],
    )
    def test_a_wrong_address_is_broken_and_names_the_cure(self, database, change, said):
        wrong = database.url.set(**change).render_as_string()
        with pytest.raises(StoreBroken, match=said):
            Store.open(wrong).check_schema()

    def test_many_connections_that_died_cost_one_error_at_most(self, postgres_url, postgres_sql):
        """The server was restarted: the next transaction is on a fresh connection."""
        database = Database(postgres_url, connections=4)
        held = [database.reading() for _ in range(4)]
        for each in held:
            each.__enter__()
        for each in held:
            each.__exit__(None, None, None)
        cut = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE"
            " datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert postgres_sql.one(cut) == 4
        for _ in range(4):
            with database.writing() as connection:
                assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
        database.close()

    @pytest.mark.parametrize("how", ["single", "writing", "reading"])
    def test_whatever_ends_a_connection_may_be_tried_again(self, database, how):
        """A proxy says goodbye with a code of its own: no reason for a worker to stop."""
        goodbye = psycopg.errors.InternalError_("goodbye")
        with pytest.raises(StoreBusy, match="lost"), getattr(database, how)() as connection:  # noqa: PT012
            pooled = connection if how == "single" else connection.connection
            pooled.driver_connection.close()
            raise goodbye
        assert database.engine.pool.checkedout() == 0

    def test_a_connection_that_dies_under_a_statement_is_replaced(
        self, postgres_store, postgres_sql
    ):
        """One error, which may be retried; then all is well."""
        start(postgres_store)
        postgres_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
            " datname = current_database() AND pid <> pg_backend_pid()"
        )
        postgres_store.add([NewPrompt(prompt="x")])
        with pytest.raises(StoreBusy, match="connection was lost"):
            take(postgres_store)
        assert len(take(postgres_store)) == 1


def test_a_crash_and_a_restart_of_the_server_are_survived():
    """What was acknowledged is there; the same store goes on when the server is back."""
    with postgres.private(settings=postgres.DURABLE) as server:
        url = server.create_database("spool")
        migrate.upgrade(url)
        store = Store.open(url)
        sign_on(store)
        store.add([NewPrompt(prompt="x")] * 3)
        (run,) = take(store)
        server.crash()
        with pytest.raises(StoreBusy):
            store.renew("w1", 60.0)
        with pytest.raises(StoreBusy):
            take(store)
        server.start()
        assert store.renew("w1", 300.0)
        assert store.owned("w1") == {run.id: (run.prompt_id, run.nonce)}
        assert len(take(store, limit=5)) == 2
        store.close()
