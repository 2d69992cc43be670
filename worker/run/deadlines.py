"""The deadlines of one response: first frame, idle, total.  Told the time, knows no clock.

Only progress counts (`Decoder.progress`): a server that sends pings, or frames that
hold nothing, for an hour is idle for an hour.  Connecting has a deadline of its own, in
the stream.
"""

from __future__ import annotations

from math import inf

from worker.clock import overslept
from worker.errors import ErrorCode, Stalled
from worker.records import Endpoint


class Deadlines:
    """When to stop waiting for one response; 0 seconds means no limit."""

    def __init__(self, endpoint: Endpoint, *, started_at: float) -> None:
        self._endpoint = endpoint
        self._progress = 0
        self._total_at = _after(started_at, endpoint.total_timeout_seconds)
        self._progress_at = _after(started_at, endpoint.first_frame_timeout_seconds)

    def progressed(self, progress: int, *, at: float) -> None:
        """The decoder has come so far by now."""
        if progress > self._progress:
            self._progress = progress
            self._progress_at = _after(at, self._endpoint.idle_timeout_seconds)

    def resumed(self, *, since: float, at: float) -> None:
        """Nothing was read from `since` to `at` for our own reasons (a slow database).

        That time does not count: the server was neither idle nor slow.
        """
        self._progress_at += at - since
        self._total_at += at - since

    def woke(self, *, asked_at: float, wait_seconds: float | None, at: float) -> None:
        """A wait that began at `asked_at` and was to last so long is over only now.

        How much of the time that we slept the server was silent nobody knows: none of it counts.
        """
        if overslept(wait_seconds, at - asked_at):
            self.resumed(since=asked_at, at=at)

    @property
    def next_at(self) -> float:
        """When the next deadline passes, if nothing arrives until then."""
        return min(self._progress_at, self._total_at)

    def total_left(self, *, at: float) -> float | None:
        """Seconds until the deadline of the whole; None if there is none."""
        return None if self._total_at == inf else max(0.0, self._total_at - at)

    def too_long(self) -> Stalled:
        """That the deadline of the whole has passed."""
        return Stalled(
            f"the response took longer than total_timeout_seconds = "
            f"{self._endpoint.total_timeout_seconds:g}",
            code=ErrorCode.TOTAL_TIMEOUT,
        )

    def check(self, *, at: float) -> None:
        """Raise Stalled if a deadline has passed."""
        if at >= self._total_at:
            raise self.too_long()
        if at < self._progress_at:
            return
        if self._progress:
            raise Stalled(
                f"no progress for idle_timeout_seconds = {self._endpoint.idle_timeout_seconds:g}",
                code=ErrorCode.IDLE_TIMEOUT,
            )
        raise Stalled(
            f"no first frame within first_frame_timeout_seconds = "
            f"{self._endpoint.first_frame_timeout_seconds:g}",
            code=ErrorCode.FIRST_FRAME_TIMEOUT,
        )


def _after(at: float, seconds: float) -> float:
    return at + seconds if seconds else inf
