"""`spool doctor` looks at everything, changes nothing, and exits 1 if anything is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import namedtuple
from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.modelserver import model_server
from worker.cli import doctor
from worker.settings import Settings
from worker.store.diagnostics import Diagnostics
from worker.version import __version__

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 - the shape of shutil's own


class Clock:
    def __init__(self, now=NOW):
        self._now = now

    def now(self):
        return self._now


@pytest.fixture
def ollama(here):
    """An Ollama that is well, and a file that names it."""
    with model_server({"/api/tags": (200, '{"models": [{"name": "llama3.2"}]}')}) as (url, _):
        (here / "spool.toml").write_text(f'[endpoints.default]\nbase_url = "{url}"\n')
        yield


def findings(said):
    (shown,) = said.matches("doctor")
    return {each["about"]: (each["health"], each["said"]) for each in shown["findings"]}


def test_all_is_well(on, ollama):
    """On both databases; each thing a line."""
    said = on("doctor", "--json")
    found = findings(said)
    assert said.json["ok"] is True, found
    assert said.code == 0
    del found["commits"]  # the server of the tests would forget what it has acknowledged
    assert {health for health, _ in found.values()} == {"ok"}
    assert {"program", "settings", "database", "answers", "clock", "endpoint default"} <= set(found)
    lines = on("doctor").out.splitlines()
    assert all(line.startswith("ok ") for line in lines if " commits: " not in line)


@pytest.mark.parametrize(("found", "said"), [(object(), "with"), (None, "without")])
def test_it_says_which_program_this_is(monkeypatch, found, said):
    """Its version, its Python, and whether it has its compiled part; both are well."""
    monkeypatch.setattr("worker.wire.framing.template.pour", found)
    finding = doctor._program()
    start = f"ok        program: Spool {__version__} {said} its compiled part, Python 3."
    assert str(finding).startswith(start)


def test_anything_broken_is_the_exit_code(on, here):
    """And the rest is looked at all the same."""
    (here / "spool.toml").write_text('[endpoints.default]\nbase_url = "http://127.0.0.1:1"\n')
    said = on("doctor", "--json")
    assert (said.code, said.json["ok"]) == (1, False)
    found = findings(said)
    assert found["endpoint default"][0] == "broken"
    assert found["database"][0] == "ok"


def test_a_database_that_is_not_there_is_not_made(spool, ollama, here):
    """The first prompt makes it."""
    said = spool("doctor", "--json")
    assert said.code == 0
    assert findings(said)["database"] == ("doubtful", "sqlite:///spool.db does not exist yet")
    assert not (here / "spool.db").exists()


def test_a_database_without_tables_is_broken(spool, ollama, new_postgres):
    """With the command that cures it."""
    said = spool("--database-url", new_postgres(migrated=False), "doctor", "--json")
    health, words = findings(said)["database"]
    assert health == "broken"
    assert "run `spool migrate`" in words


def test_a_database_that_cannot_be_reached_is_broken_once(spool, ollama):
    """The clock cannot be asked either, and does not say it again; no password is shown."""
    said = spool("--database-url", "postgresql://me:hush@127.0.0.1:1/x", "doctor", "--json")
    found = findings(said)
    assert found["database"][0] == "broken"
    assert "clock" not in found
    assert "hush" not in said.out


def test_hints_are_doubts(spool, here):
    """They may be right."""
    (here / "spool.toml").write_text(
        '[endpoints.default]\ndialect = "openai-chat"\nbase_url = "http://127.0.0.1:1"\nmodel = "m"'
    )
    assert "DOUBTFUL  settings: endpoints.default.base_url" in spool("doctor").out


def test_wrong_settings_are_wrong_usage(spool, here):
    """Nothing can be looked at without them."""
    (here / "spool.toml").write_text("lease_seconds = 0")
    spool("doctor").fails("lease_seconds must be at least 3", code=2)


@pytest.mark.parametrize(
    ("free", "health"), [(10 << 30, "ok"), (500 << 20, "doubtful"), (1 << 20, "broken")]
)
def test_the_disk_is_looked_at(here, monkeypatch, free, health):
    """Where the SQLite file is; the disk of a server is not ours to see."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, free))
    (found,) = doctor._disk(Settings())
    assert found.health == health
    assert str(here) in found.said
    assert list(doctor._disk(Settings(database_url="postgresql://h/x"))) == []


def test_a_directory_that_is_not_there_or_cannot_be_written_is_broken(here, monkeypatch):
    """SQLite writes files beside the database."""
    (found,) = doctor._disk(Settings(database_url="sqlite:///nowhere/x.db"))
    assert "there is no directory" in found.said
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (found,) = doctor._disk(Settings())
    assert "cannot be written" in found.said


def test_a_database_that_cannot_be_written_is_broken(here, monkeypatch):
    """It can be read, so nothing else would tell before a worker waits for ever."""
    (here / "spool.db").touch()
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: path != here / "spool.db" and real(path, mode)
    )
    (found,) = doctor._disk(Settings())
    assert found.said == f"{here / 'spool.db'} cannot be written"
    assert found.cure == "let this user write the database"


@pytest.mark.parametrize(
    ("skew", "health", "words"),
    [
        (0, "ok", "within 30 s of the database"),
        (90, "doubtful", "this machine is 90 s ahead of the database"),
        (-90, "doubtful", "this machine is 90 s behind the database"),
    ],
)
def test_the_clocks_are_compared(monkeypatch, skew, health, words):
    """Leases go by the database, ages that people type by this machine."""
    theirs = Diagnostics("16", NOW - timedelta(seconds=skew))
    monkeypatch.setattr("worker.store.diagnostics.vitals", lambda url: theirs)
    (found,) = doctor._clock(Settings(database_url="postgresql://h/x"), Clock())
    assert found.health == health
    assert words in found.said


def test_a_clock_in_the_past_is_broken():
    """No certificate would be valid."""
    (found,) = doctor._clock(Settings(), Clock(datetime(1970, 1, 1, tzinfo=UTC)))
    assert found.health == "broken"
    assert "1970-01-01" in found.said


def test_a_database_that_everybody_can_read_is_doubtful(here):
    """The cure is the command that closes it."""
    file = here / "spool.db"
    file.touch(mode=0o644)
    file.chmod(0o644)
    found = {finding.health: finding for finding in doctor._disk(Settings())}
    assert f"every user of this machine can read {file}" in found["doubtful"].said
    assert subprocess.run(found["doubtful"].cure.split("`")[1], shell=True, check=True)
    assert {finding.health for finding in doctor._disk(Settings())} == {"ok"}
