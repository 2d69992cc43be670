"""One invocation: settings and store are made once, when they are needed, and closed after."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from worker.cli.session import Session
from worker.settings import Settings


def test_the_config_file_may_be_named_by_a_variable(spool, here, monkeypatch):
    """For containers, where arguments are awkward."""
    (here / "my.toml").write_text("lease_seconds = 40")
    monkeypatch.setenv("SPOOL_CONFIG", "my.toml")
    assert "lease_seconds = 40  # file" in spool("config").out
    monkeypatch.setenv("SPOOL_CONFIG", "none.toml")
    spool("config").fails("none.toml does not exist", code=2)


def test_the_flag_wins_over_the_variable(spool, here, monkeypatch):
    """As everywhere."""
    (here / "my.toml").write_text("lease_seconds = 40")
    monkeypatch.setenv("SPOOL_CONFIG", "none.toml")
    assert spool("--config", "my.toml", "config").code == 0


@pytest.mark.parametrize("command", ["status", "export", "show 1", "tail 1", "cancel 1", "prune 1"])
def test_looking_at_a_database_that_is_not_there_makes_none(spool, here, command):
    """An empty file would hide the mistake in its name."""
    said = spool("--database-url", "sqlite:///none.db", *command.split())
    said.fails("there is no database at none.db yet: `spool add` or `spool migrate` makes it")
    assert list(here.iterdir()) == []


def test_an_empty_postgresql_database_is_told_what_to_do(spool, new_postgres):
    """Only SQLite files are made by themselves."""
    url = new_postgres(migrated=False)
    spool("--database-url", url, "status").fails("run `spool migrate`")
    spool("--database-url", url, "add", "-p", "x").fails("run `spool migrate`")


def test_a_database_that_cannot_be_reached_is_one_sentence(spool):
    """Without the password."""
    said = spool("--database-url", "postgresql://me:hush@127.0.0.1:1/x", "status")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("spool: ")
    assert "hush" not in said.err


def test_a_file_that_is_no_database_is_one_sentence(spool, here):
    """And is left as it is."""
    (here / "x.db").write_text("not a database, but long enough to look like a file of one" * 20)
    before = (here / "x.db").read_bytes()
    spool("--database-url", "sqlite:///x.db", "status").fails("is not an SQLite database")
    spool("--database-url", "sqlite:///x.db", "add", "-p", "x").fails("is not an SQLite database")
    assert (here / "x.db").read_bytes() == before


def test_a_database_that_another_process_is_making_is_waited_for(spool, here):
    """Two `spool add` at once on a new file: the second finds a file without tables."""
    with closing(sqlite3.connect(here / "x.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA user_version = 0")
    assert (here / "x.db").stat().st_size
    assert spool("--database-url", "sqlite:///x.db", "add", "-p", "x").code == 0


def test_the_tables_of_another_program_are_left_alone(spool, here):
    """A wrong path must not fill somebody's file with tables."""
    with closing(sqlite3.connect(here / "x.db")) as database:
        database.execute("CREATE TABLE theirs (id)")
    said = spool("--database-url", "sqlite:///x.db", "add", "-p", "x")
    said.fails("the database has no tables of Spool: run `spool migrate`")


def test_a_directory_is_no_database(spool, here):
    """The path is named, and what to write instead."""
    (here / "d.db").mkdir()
    for command in (["status"], ["add", "-p", "x"], ["run", "--drain"], ["migrate"]):
        said = spool("--database-url", "sqlite:///d.db", *command)
        said.fails("d.db is a directory: name a file, such as")


def test_wrong_settings_are_wrong_usage(spool, here):
    """All of them at once, exit code 2, and nothing was done."""
    (here / "spool.toml").write_text('lease_second = 1\n[endpoints.default]\ndialect = "x"\n')
    said = spool("add", "-p", "x")
    assert (said.code, said.out) == (2, "")
    assert "spool: 2 settings are wrong:" in said.err
    assert not (here / "spool.db").exists()


def test_the_log_knows_every_secret(here, monkeypatch, capsys):
    """Keys, header values and the password of the database."""
    (here / "spool.toml").write_text(
        'database_url = "postgresql://u:hush-pw@h/x"\nlog_format = "json"\n'
        '[endpoints.default]\napi_key_env = "KEY"\nheaders = { X-Token = "hush-token" }\n'
    )
    monkeypatch.setenv("KEY", "hush-key")
    session = Session()
    session.log()("run_failed", error="hush-pw hush-token hush-key")
    assert "hush" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///x", []),
        ("postgresql://u@h/x", []),
        ("postgresql://u:a@b:c@h/x", ["a@b:c"]),
    ],
)
def test_the_password_of_a_url(url, expected):
    """Also one that was not escaped."""
    assert Settings(database_url=url).secrets == expected
