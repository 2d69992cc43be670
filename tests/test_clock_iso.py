"""A moment is written the same wherever programs read it."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from worker.clock import iso

NOON = datetime(2026, 11, 22, 12, 0, 0, 123_456, tzinfo=UTC)


@pytest.mark.parametrize("hours", [0, 5.5, -8])
@pytest.mark.parametrize("micros", [0, 1, 999, 1000, 123_456, 999_999])
def test_it_is_utc_to_the_millisecond(micros, hours):
    """With a Z, cut and not rounded: a moment never lies in the future for being told."""
    moment = NOON.replace(microsecond=micros)
    there = moment.astimezone(timezone(timedelta(hours=hours)))
    assert iso(there) == f"2026-11-22T12:00:00.{micros // 1000:03}Z"
