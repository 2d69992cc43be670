"""What a worker says of itself, and what it obeys by default."""

from __future__ import annotations

from dataclasses import replace

import pytest

from worker.settings.model import Settings
from worker.supervisor.options import Options, WorkerHealth

WELL = WorkerHealth(
    renewed_seconds_ago=1.0, lease_valid=True, database_away=False, stopping=False, runs=0
)


@pytest.mark.parametrize(
    ("health", "ready"),
    [
        (WELL, True),
        (replace(WELL, lease_valid=False), False),
        (replace(WELL, database_away=True), False),
        (replace(WELL, stopping=True), False),
    ],
)
def test_ready_means_that_it_could_claim_now(health: WorkerHealth, ready: bool) -> None:
    """Without a lease, without a database or while it stops, a worker is not ready."""
    assert health.ready is ready


def test_defaults_are_those_of_the_settings() -> None:
    """A worker that is built without settings behaves as one with none written."""
    options, settings = Options(), Settings()
    for name in ("lease_seconds", "shutdown_grace_seconds", "poll_seconds", "max_attempts"):
        assert getattr(options, name) == getattr(settings, name)
    for name in ("max_crashes", "worker_buffer_bytes", "max_frame_bytes"):
        assert getattr(options, name) == getattr(settings, name)
    assert options.limits.flush_seconds == settings.flush_seconds
    assert options.limits.flush_bytes == settings.flush_bytes
    assert options.limits.stream_bytes == settings.stream_buffer_bytes
