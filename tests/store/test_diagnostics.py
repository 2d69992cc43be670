"""A database tells its version and its clock."""

from __future__ import annotations

import pytest

from worker.clock import SystemClock
from worker.errors import StoreError
from worker.store.diagnostics import vitals


def test_a_database_tells_its_version_and_its_clock(database_url):
    """On both databases; the test and the databases share one machine, and its clock."""
    found = vitals(database_url)
    assert found.version[0].isdigit()
    assert found.now.tzinfo is not None
    assert abs((SystemClock().now() - found.now).total_seconds()) < 5


def test_one_that_is_not_there_is_an_error_of_the_store(tmp_path):
    """And is not made by asking."""
    with pytest.raises(StoreError):
        vitals(f"sqlite:///{tmp_path / 'none.db'}")
    assert list(tmp_path.iterdir()) == []
