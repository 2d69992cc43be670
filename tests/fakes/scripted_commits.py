"""A committer that lands what it is given when the test says so."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from worker.records import Chunk, Ending


@dataclass
class Submitted:
    """One flush, and the way to land it."""

    run_id: int
    chunks: list[Chunk]
    ending: Ending | None
    future: asyncio.Future[None]

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)


class ScriptedCommits:
    """Implements worker.supervisor.committer.Submit; `held` keeps what arrives until it is landed by hand.

    Attributes:
        failures: errors for the next flushes, in order; None lets one land.
        submitted: everything that was handed in.
        stored: chunks that landed, and the endings.
    """

    def __init__(self, *, held: bool = False) -> None:
        self.held = held
        self.failures: deque[Exception | None] = deque()
        self.submitted: list[Submitted] = []
        self.stored: list[Chunk] = []
        self.endings: list[Ending] = []
        self.arrived = asyncio.Event()

    def __call__(
        self, run_id: int, chunks: Sequence[Chunk], ending: Ending | None = None
    ) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        flush = Submitted(run_id, list(chunks), ending, future)
        self.submitted.append(flush)
        self.arrived.set()
        if not self.held:
            self.land(flush)
        return future

    @property
    def waiting(self) -> list[Submitted]:
        return [flush for flush in self.submitted if not flush.future.done()]

    def land(self, flush: Submitted, error: Exception | None = None) -> None:
        """Let a flush land, or fail."""
        error = error or (self.failures.popleft() if self.failures else None)
        if error is not None:
            flush.future.set_exception(error)
            return
        known = {(chunk.run_id, chunk.seq): chunk for chunk in self.stored}
        for chunk in flush.chunks:
            assert known.get((chunk.run_id, chunk.seq), chunk) == chunk, "one key, two texts"
        self.stored += [c for c in flush.chunks if (c.run_id, c.seq) not in known]
        if flush.ending:
            self.endings.append(flush.ending)
        flush.future.set_result(None)

    def land_all(self) -> None:
        """From now on everything lands at once, and so does what waits."""
        self.held = False
        for flush in self.waiting:
            self.land(flush)

    @property
    def text(self) -> str:
        """The text that is stored, in the order of its numbers."""
        ordered = sorted(self.stored, key=lambda chunk: chunk.seq)
        assert [chunk.seq for chunk in ordered] == list(range(len(ordered)))
        return "".join(chunk.text for chunk in ordered if chunk.kind == "text")
