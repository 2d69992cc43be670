"""The revision that the program needs is the newest one, and is found wherever it is installed."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing

import pytest

from worker.errors import StoreBroken
from worker.installation import package_files
from worker.store.schema import migrate


def newest():
    return max(path.stem[:4] for path in (migrate.migrations() / "versions").glob("0*.py"))


def test_the_program_needs_the_newest_migration():
    """Who adds one and forgets the number finds out here."""
    assert newest() == migrate.REVISION


def test_an_upgrade_says_what_it_found_and_what_it_left(empty_url):
    """Twice is once."""
    assert migrate.upgrade(empty_url) == migrate.Revisions(None, migrate.REVISION)
    assert migrate.upgrade(empty_url) == migrate.Revisions(migrate.REVISION, migrate.REVISION)


def test_what_is_up_to_date_is_left_alone(sqlite_url):
    """A program that opens the database to read does not queue behind those who write."""
    migrate.upgrade(sqlite_url)
    path = sqlite_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        found = migrate.upgrade(sqlite_url, busy_timeout_seconds=0.1)
    assert found == migrate.Revisions(migrate.REVISION, migrate.REVISION)


def test_migrations_are_found_in_a_wheel_and_in_a_checkout(tmp_path, monkeypatch):
    """Inside the package when installed, beside it otherwise; missing is an error that says so."""
    monkeypatch.setattr(package_files, "_PACKAGE", tmp_path / "worker")
    with pytest.raises(StoreBroken, match="missing from this installation"):
        migrate.migrations()
    for place in (tmp_path / "migrations", tmp_path / "worker" / "migrations"):
        place.mkdir(parents=True)
        (place / "env.py").touch()
        assert migrate.migrations() == place


def test_a_directory_that_is_missing_is_said_to_be(tmp_path):
    """Creating a database is no reason to create directories on a typing error."""
    with pytest.raises(StoreBroken, match="does not exist: create it"):
        migrate.upgrade(f"sqlite:///{tmp_path / 'no' / 'spool.db'}")


def test_asking_for_the_revision_does_not_load_the_migration_tool(store):
    """It is the heaviest import of all, and a worker asks at every start."""
    import subprocess

    program = (
        "import sys\nfrom worker.store import Store\n"
        "Store.open(sys.argv[1]).check_schema()\nassert 'alembic' not in sys.modules\n"
    )
    url = store._db.url.render_as_string(hide_password=False)
    assert subprocess.run([sys.executable, "-c", program, url], check=False).returncode == 0
