"""The clock of the machine says what its callers rely on."""

from __future__ import annotations

from datetime import UTC

from tests.fakes.aio import aio
from worker.clock import SystemClock


def test_now_is_aware_and_utc() -> None:
    """A time that goes into a row has no other zone."""
    assert SystemClock().now().tzinfo is UTC


def test_monotonic_never_goes_back() -> None:
    """Durations are never negative."""
    clock = SystemClock()
    seen = [clock.monotonic() for _ in range(1000)]
    assert seen == sorted(seen)


def test_jitter_is_spread_over_its_range() -> None:
    """A jitter that is always the same is none."""
    drawn = [SystemClock().random() for _ in range(1000)]
    assert all(0 <= each < 1 for each in drawn)
    assert max(drawn) - min(drawn) > 0.5


@aio
async def test_sleep_takes_at_least_so_long() -> None:
    """Whoever sleeps does not wake early."""
    clock = SystemClock()
    began_at = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - began_at >= 0.01
