"""The migrations lead to the schema that the program describes, whatever is in the tables."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from tests.conftest import Client
from tests.store.cast import completed, start, words
from worker.errors import StoreBusy
from worker.store import Store
from worker.store.database.engine import Database
from worker.store.schema import migrate as schema
from worker.store.schema.tables import metadata
from worker.store.schema.views import VIEWS

CATALOG = {
    "columns": """
        SELECT c.relname, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull,
            a.attidentity, a.attcompression, pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v') AND a.attnum > 0""",
    "tables": "SELECT relname, reloptions FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')",
    "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)"
    " FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "triggers": "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "functions": "SELECT proname, pg_get_functiondef(oid) FROM pg_proc"
    " WHERE pronamespace = 'public'::regnamespace",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
}


def described(sql):
    """Everything that a database knows about its schema, in its own words."""
    if sql.is_sqlite:
        rows = sql("SELECT type, name, tbl_name, sql FROM sqlite_master")
        return {
            (kind, name, table): parts(text or "")
            for kind, name, table, text in rows
            if "alembic" not in table and not name.startswith("sqlite_sequence")
        }
    return {
        part: sorted((row for row in sql(query) if "alembic" not in str(row)), key=str)
        for part, query in CATALOG.items()
    }


def parts(text):
    """The lines of a CREATE; SQLite puts an added column behind the last one, on its line."""
    lines = re.sub(r", (?=\w+ (?:INTEGER|TEXT)\b)", ",\n", text).splitlines()
    return sorted(stripped for line in lines if (stripped := line.strip(" ,\t")))


def migrate(url, action, revision):
    """Run one step of the history, as `schema.upgrade` runs all of it."""
    database = Database(url, create=True)
    config = Config()
    config.set_main_option("script_location", str(schema.migrations()))
    with database.writing() as connection:
        config.attributes["connection"] = connection
        action(config, revision)
    database.close()


def rows(sql):
    names = ("batches", "prompts", "runs", "chunks", "workers", "schema_info")
    return {name: sql(f"SELECT * FROM {name} ORDER BY 1, 2") for name in names}


def test_the_migrations_lead_to_what_the_program_describes(empty_url, new_postgres, tmp_path):
    """Tables, defaults, constraints, indexes, triggers, views: word for word."""
    schema.upgrade(empty_url)
    if empty_url.startswith("sqlite"):
        other_url = f"sqlite:///{tmp_path / 'other.db'}"
    else:
        other_url = new_postgres(migrated=False)
    other = Database(other_url, create=True)
    with other.writing() as connection:
        metadata.create_all(connection)
    other.close()
    migrated, created = Client(empty_url), Client(other_url)
    assert described(migrated) == described(created)
    migrated.close()
    created.close()


def test_the_migration_tool_finds_no_difference_either(store):
    """`alembic revision --autogenerate` would write an empty migration."""
    ours = store._db.engine
    engine = ours if store.is_sqlite else create_engine(ours.url)  # which reads JSON itself
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_every_step_leaves_the_rows_alone_and_can_be_taken_back(empty_url):
    """Up, with rows; each step down; and up again."""
    schema.upgrade(empty_url)
    store = Store.open(empty_url)
    run, other = start(store, custom_id="a"), start(store)
    store.commit("w1", [words(run, 0, "é"), words(other, 0, "x")], [completed(run)])
    sql = Client(empty_url)
    before = rows(sql)
    assert schema.upgrade(empty_url).before == schema.REVISION
    assert rows(sql) == before
    store.close()
    sql.close()
    for _ in range(len(list((schema.migrations() / "versions").glob("0*.py")))):
        migrate(empty_url, command.downgrade, "-1")
    sql = Client(empty_url)
    left = described(sql)
    assert not left if sql.is_sqlite else not any(left.values())
    sql.close()
    migrate(empty_url, command.upgrade, "head")
    store = Store.open(empty_url)
    store.check_schema()
    assert start(store).prompt == "Why?"
    store.close()


def test_a_role_that_was_granted_the_views_alone_can_still_read_them(new_postgres):
    """Views that read with the rights of who asks take nothing away from anybody."""
    url, role = new_postgres(migrated=False), f"views_only_{os.getpid()}"
    migrate(url, command.upgrade, "0001")
    owner = Client(url)
    owner(f"CREATE ROLE {role} NOLOGIN")
    try:
        for view in VIEWS:
            owner(f"GRANT SELECT ON {view} TO {role}")
        migrate(url, command.upgrade, "0002")
        owner(f"SET ROLE {role}")
        assert [owner(f"SELECT * FROM {view}") for view in VIEWS] == [[], [], [], []]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            owner("SELECT options FROM prompts")
    finally:
        owner("RESET ROLE")
        owner(f"DROP OWNED BY {role}; DROP ROLE {role}")
        owner.close()


OUT_OF_BOUNDS = {
    "postgresql": ("2147483647", "-2147483648"),
    "sqlite": ("9223372036854775807", "-9223372036854775808"),
}


def test_rows_that_are_out_of_bounds_are_cured_on_the_way(empty_url):
    """A counter at the end of its type would stop every claim; afterwards none can be written."""
    migrate(empty_url, command.upgrade, "0001")
    sql = Client(empty_url)
    most, least = OUT_OF_BOUNDS["sqlite" if sql.is_sqlite else "postgresql"]
    sql("INSERT INTO prompts (prompt) VALUES ('sound')")
    sql(
        "INSERT INTO prompts (prompt, attempts, crashes, runs, priority, max_attempts)"
        f" VALUES ('wrong', {most}, {most}, {most}, {least}, {most})"
    )
    for attempt in ("1", most, f"{most} - 1"):
        sql(
            "INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect)"
            f" VALUES (2, {attempt}, 'w', 'e', 'd')"
        )
    assert schema.upgrade(empty_url) == schema.Revisions("0001", schema.REVISION)
    columns = "attempts, crashes, runs, priority, max_attempts"
    assert sql(f"SELECT {columns} FROM prompts ORDER BY id") == [
        (0, 0, 0, 0, None),
        (3, 3, 3, -2147483647, 2147483647),
    ]
    assert sorted(sql("SELECT attempt FROM runs")) == [(1,), (2,), (3,)]
    for column in ("attempts", "crashes", "runs"):
        with pytest.raises(Exception, match="prompts_bounds"):
            sql(f"UPDATE prompts SET {column} = 1000000001")
    with pytest.raises(Exception, match="runs_bounds"):
        sql("UPDATE runs SET attempt = 1000000001 WHERE attempt = 3")
    sql.close()


def test_somebodys_open_transaction_is_not_waited_for_with_all_others_behind(new_postgres):
    """A step that cannot have its lock lets go, and says so; nothing of it is left."""
    url = new_postgres(migrated=False)
    migrate(url, command.upgrade, "0002")
    stranger, sql = Client(url), Client(url)
    stranger("BEGIN")
    stranger("LOCK TABLE runs IN ROW EXCLUSIVE MODE")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "TRIES", 2)
        patch.setitem(schema._PATIENCE, "lock_timeout", "50ms")
        with pytest.raises(StoreBusy, match="lock"):
            schema.upgrade(url)
    assert sql.one("SELECT version_num FROM alembic_version") == "0002"
    stranger("ROLLBACK")
    assert schema.upgrade(url).after == schema.REVISION
    stranger.close()
    sql.close()


def test_an_index_that_was_left_half_built_is_built_anew(new_postgres):
    """As after a kill of `spool migrate`, whose index stays behind, invalid and unused."""
    url = new_postgres(migrated=False)
    migrate(url, command.upgrade, "0003")
    sql = Client(url)
    sql("CREATE INDEX prompts_place ON prompts (endpoint)")
    sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'prompts_place'::regclass")
    schema.upgrade(url)
    (definition,) = sql("SELECT indexdef FROM pg_indexes WHERE indexname = 'prompts_place'")
    assert "keeps_place" in definition[0]
    sql.close()


def test_upgrades_at_once_are_one_upgrade(empty_url):
    """Workers that start together on an empty database do not stumble over each other."""
    program = (
        "import sys\nfrom worker.store.schema.migrate import upgrade\n"
        "found = upgrade(sys.argv[1])\nprint(found.before, found.after)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, empty_url], stdout=subprocess.PIPE, text=True
        )
        for _ in range(5)
    ]
    said = sorted(process.communicate()[0].strip() for process in processes)
    assert [process.returncode for process in processes] == [0] * 5
    now = schema.REVISION
    assert said == [f"{now} {now}"] * 4 + [f"None {now}"]


def test_an_upgrade_that_fails_leaves_nothing_behind(empty_url, monkeypatch):
    """Not even the first table."""
    from alembic.operations import Operations

    def refuse(*_given, **_named):
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(Operations, "create_index", refuse)
    with pytest.raises(RuntimeError, match="on fire"):
        schema.upgrade(empty_url)
    monkeypatch.undo()
    sql = Client(empty_url)
    left = described(sql)
    assert not left if sql.is_sqlite else not any(left.values())
    sql.close()
    assert schema.upgrade(empty_url) == schema.Revisions(None, schema.REVISION)


def test_migrations_import_nothing_that_will_change():
    """What a step does to a database must not depend on the version that runs it."""
    for path in Path(schema.migrations() / "versions").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            assert not [name for name in names if name.split(".")[0] == "worker"], path.name


def test_the_migrations_are_run_in_one_way_only():
    """Outside `schema.upgrade` there would be no lock against a second one."""
    config = Config()
    config.set_main_option("script_location", str(schema.migrations()))
    with pytest.raises(RuntimeError, match="spool migrate"):
        command.upgrade(config, "head")


def test_there_is_a_view_for_every_question(sql):
    """All of them were created."""
    for view in VIEWS:
        assert sql(f"SELECT * FROM {view}") == []
