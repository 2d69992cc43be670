"""A worker in its surroundings, with hands to move its clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.fakes.aio import Bell, turns
from tests.fakes.clock import FakeClock
from tests.fakes.scripted_stream import (
    CHAT,
    HOLD,
    ScriptedReader,
    ScriptedStream,
    endpoint,
    say,
)
from worker.records import Endpoint, WorkerInfo
from worker.supervisor.options import Options
from worker.supervisor.worker import Worker
from worker.wire.events import Dialect


class House:
    """One worker; `store` is whatever a test wants it to stand on.

    Attributes:
        bell: rung whenever the worker reports an event.
        said: the events, with their values.
    """

    def __init__(
        self,
        store: Any,
        *,
        worker_id: str = "w1",
        bell: Bell | None = None,
        stream: ScriptedStream | None = None,
        dialect: Dialect = CHAT,
        endpoints: Sequence[Endpoint] | None = None,
        drain: bool = False,
        **options: Any,
    ) -> None:
        self.drain = drain
        self.store = store
        self.bell = bell or Bell()
        self.stream = stream or ScriptedStream(FakeClock())
        self.clock = self.stream.clock
        self.stream.usual = lambda: [say("hello"), HOLD]
        self.said: list[tuple[str, dict[str, object]]] = []
        self.worker = Worker(
            info=WorkerInfo(worker_id, "host", 1, "0"),
            store=store,
            stream=self.stream,
            endpoints={place.name: place for place in endpoints or [endpoint()]},
            dialects={"openai-chat": dialect, dialect.name: dialect},
            options=Options(**{"lease_seconds": 30, "poll_seconds": 1, **options}),
            clock=self.clock,
            log=self.log,
        )
        self.task: asyncio.Task[Any] | None = None

    def log(self, event: str, **values: object) -> None:
        self.said.append((event, values))
        self.bell.ring()

    @property
    def words(self) -> list[str]:
        return [event for event, _ in self.said]

    def begin(self) -> asyncio.Task[Any]:
        self.task = asyncio.create_task(self.worker.run(drain=self.drain))
        self.task.add_done_callback(lambda _: self.bell.ring())
        return self.task

    async def settle(self) -> None:
        """Until the loop has nothing to do but to wait for its clock, or has ended."""
        assert self.task is not None
        await turns()
        while not self.task.done() and not (self.clock.sleeping and not self.worker._wake.is_set()):
            await turns(1)
        await turns()

    async def pass_(self, seconds: float) -> None:
        """Let time pass, second by second, as the loop would see it."""
        whole, rest = divmod(seconds, 1)
        for step in [*[1.0] * int(whole), rest]:
            if step:
                await self.clock.advance(step)
                await self.settle()

    async def told(self, word: str) -> None:
        await self.bell.until(lambda: word in self.words or self._is_over())
        assert word in self.words

    async def ended(self, count: int) -> None:
        """Until so many runs have ended."""
        ends = {"run_completed", "run_interrupted", "run_failed", "run_cancelled", "run_lost"}
        await self.bell.until(
            lambda: sum(word in ends for word in self.words) >= count or self._is_over()
        )
        await self.settle()

    async def streaming(self, count: int) -> list[ScriptedReader]:
        """The readers, when so many streams are open and wait for the test."""
        while len([reader for reader in self.stream.readers if reader.holding.is_set()]) < count:
            assert not self._is_over(), "the worker has ended"
            await turns(1)
        return self.stream.readers

    def _is_over(self) -> bool:
        """Whether the worker has ended; if it failed, its error is raised here."""
        if self.task is None or not self.task.done():
            return False
        self.task.result()
        return True

    async def end(self) -> None:
        """Hurry the worker to its end, if it is not there yet."""
        self.worker.stop()
        self.worker.stop()
        if self.task is not None:
            self.clock._autojump = 0.0
            await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def living(house: House) -> AsyncIterator[House]:
    """The same worker, which does not outlive the test."""
    try:
        yield house
    finally:
        await house.end()
