"""A stage for every test, with settings that make things happen soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Client
from tests.crash.stage import Stage

QUICK = {
    "lease_seconds": 3.0,
    "flush_seconds": 0.2,
    "poll_seconds": 0.2,
    "shutdown_grace_seconds": 0.5,
    "busy_timeout_seconds": 5,
}


@pytest.fixture
def new_stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Makes stages on a database; they end with the test."""
    with ExitStack() as stack:

        def make(url: str, sql: Client, **settings: float | str | bool) -> Stage:
            stage = Stage(tmp_path, url, sql, **{**QUICK, **settings})
            return stack.enter_context(stage)

        yield make


@pytest.fixture
def stage(new_stage: Callable[..., Stage], database_url: str, sql: Client) -> Stage:
    """One on a database of each kind."""
    return new_stage(database_url, sql)
