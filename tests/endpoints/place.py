"""One endpoint with its monitor and a clock, and runs that a test lets begin, go on and break."""

from __future__ import annotations

import asyncio

from tests.fakes.aio import turns
from tests.fakes.clock import FakeClock
from tests.fakes.scripted_stream import CHAT, ScriptedStream, endpoint, run
from worker.endpoints.monitor import EndpointMonitor
from worker.errors import SpoolError
from worker.run.attribution import Failure, Finding, nature_of
from worker.run.context import Outcome, RunHandle


class Place:
    """The monitor of one endpoint; canaries are answered unless `stream.alive` is set."""

    def __init__(self, *, revive: object = None, jump: bool = True, **changes: object) -> None:
        self.clock = FakeClock(autojump_seconds=0 if jump else None)
        self.stream = ScriptedStream(self.clock)
        self.said: list[tuple[str, dict[str, object]]] = []
        self.monitor = EndpointMonitor(
            endpoint(**changes),
            CHAT,
            self.stream,
            clock=self.clock,
            log=lambda event, **values: self.said.append((event, values)),
            revive=revive,
        )
        self.breaker = self.monitor.breaker
        self._ids = 0

    @property
    def words(self) -> list[str]:
        return [event for event, _ in self.said]

    def send(self, **changes: object) -> RunHandle:
        """A run is sent now."""
        self._ids += 1
        control = RunHandle(run(self._ids, **changes), sent_at=self.clock.monotonic())
        self.monitor.began(control)
        return control

    def hear(self, *controls: RunHandle) -> None:
        """Each of them receives a frame now."""
        for control in controls:
            first = control.is_waiting
            control.heard(control._frames + 1, at=self.clock.monotonic())
            if first:
                self.monitor.answered(control)

    def streaming(self, count: int = 1, **changes: object) -> list[RunHandle]:
        """Runs that have begun."""
        controls = [self.send(**changes) for _ in range(count)]
        self.hear(*controls)
        return controls

    def failing(
        self, control: RunHandle, error: SpoolError, **how: object
    ) -> asyncio.Task[Finding]:
        """The run fails now; what is found, in time."""
        control.failed_at = self.clock.monotonic()
        failure = Failure(error, nature_of(error, begun=not control.is_waiting), **how)
        return asyncio.ensure_future(self.monitor.finding(control, failure))

    async def fail(self, control: RunHandle, error: SpoolError, **how: object) -> Finding:
        """The run fails, and ends when it is clear what is known."""
        finding = await self.failing(control, error, **how)
        self.end(control, error)
        return finding

    def end(self, control: RunHandle, error: SpoolError | None = None) -> None:
        """The end of a run is stored."""
        self.monitor.ended(control, Outcome(None, error, answered=not control.is_waiting))

    async def canary_sent(self) -> None:
        """The canary that is due while the breaker is open."""
        await self.monitor.probe(lambda: None)
        await turns()
