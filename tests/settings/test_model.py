"""Settings are frozen, know their derived values, and never show a password."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from worker.settings import Settings
from worker.settings.endpoints import EndpointTable
from worker.settings.model import plain, without_password


def test_settings_cannot_be_changed():
    """What was checked at the door stays as it was."""
    with pytest.raises(ValidationError):
        Settings().lease_seconds = 1


@pytest.mark.parametrize(
    ("commit_interval_ms", "flush_seconds", "expected"),
    [(50, 1, 0.05), (50, 0.1, 0.01), (0, 1, 0)],
)
def test_commits_never_gather_for_longer_than_a_tenth_of_a_flush(
    commit_interval_ms, flush_seconds, expected
):
    """Whoever asks for short flushes wants his text to be safe soon."""
    settings = Settings(commit_interval_ms=commit_interval_ms, flush_seconds=flush_seconds)
    assert settings.commit_interval_seconds == pytest.approx(expected)


@pytest.mark.parametrize(
    ("read_interval_ms", "flush_seconds", "expected"), [(250, 1, 0.25), (250, 0.1, 0.05), (0, 1, 0)]
)
def test_reads_never_gather_for_longer_than_half_a_flush(read_interval_ms, flush_seconds, expected):
    """Else a short flush_seconds would be a promise that reading breaks."""
    settings = Settings(read_interval_ms=read_interval_ms, flush_seconds=flush_seconds)
    assert settings.read_interval_seconds == expected
    assert settings.read_interval_most_seconds == flush_seconds / 2, "however many streams"


def test_reads_never_gather_for_so_long_that_a_server_seems_idle():
    """It speaks, and we do not listen: that would cost the prompt an attempt."""
    quick = EndpointTable(idle_timeout_seconds=1).resolved("quick", api_key=None)
    slow = EndpointTable().resolved("slow", api_key=None)
    settings = Settings(
        read_interval_ms=5000, flush_seconds=60, endpoints={"slow": slow, "quick": quick}
    )
    assert settings.read_interval_seconds == settings.read_interval_most_seconds == 0.5


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///spool.db", "sqlite:///spool.db"),
        ("sqlite:////abs/spool.db", "sqlite:////abs/spool.db"),
        ("postgresql://u@h:5432/db", "postgresql://u@h:5432/db"),
        ("postgresql://u:hush@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:hu/sh@hush@h/db", "postgresql://u:***@h/db"),
        ("postgresql://h/db?password=hush&a=b", "postgresql://h/db?password=***&a=b"),
        ("postgresql://h/db?sslpassword=hush", "postgresql://h/db?sslpassword=***"),
    ],
)
def test_a_url_is_shown_without_its_password(url, shown):
    """Also where it was not escaped, and where it stands in the query."""
    assert without_password(url) == shown
    settings = Settings(database_url=url)
    assert settings.safe_database_url == shown
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///spool.db", "spool.db"),
        ("sqlite:////abs/spool.db", "/abs/spool.db"),
        ("postgresql://h/db", None),
    ],
)
def test_the_file_of_a_database_is_known(url, file):
    """What makes it, looks after its disk, or must not overwrite it asks for the same."""
    assert Settings(database_url=url).sqlite_file == (file and Path(file))


def test_numbers_are_shown_as_people_write_them():
    """30, not 30.0; but true is not 1."""
    assert [plain(value) for value in (30.0, 0.5, True, "x")] == [30, 0.5, True, "x"]
