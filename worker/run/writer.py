"""One run's way to the database: what it produced, in order, one flush after the other."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol, Self

from msgspec.structs import replace

from worker.errors import NotContinued, Refused, SpoolError
from worker.records import Beginning, Chunk, Ending, Kind, Run
from worker.run.buffer import Budget, Buffer, Limits
from worker.run.splice import HoldBack, Seam, Verdict
from worker.wire.events import Delta, Done, Event, Extra, Fault


class Submit(Protocol):
    """The way from a run to the committer."""

    def __call__(
        self, run_id: int, chunks: Sequence[Chunk], ending: Ending | None = None
    ) -> asyncio.Future[None]:
        """Queue chunks, and perhaps the ending, of one run."""
        ...


class RunWriter:
    """One run's way to the database: a buffer, and at most one flush under way.

    A flush that fails keeps its chunks: they are sent again, before anything newer, so
    what is stored of a run never has a hole.  Leaving the context drops the rest.

    Attributes:
        only_text: whether the output was text and nothing else so far.
    """

    def __init__(
        self,
        run: Run,
        submit: Submit,
        limits: Limits,
        budget: Budget,
        *,
        on_failure: Callable[[SpoolError], None],
        hurry: Callable[[], None] = lambda: None,
    ) -> None:
        """on_failure: told when a flush cannot land, so that the stream is closed at once.
        hurry: called when reading has to wait for a flush.
        """
        self._run = run
        self._submit = submit
        self._limits = limits
        self._on_failure = on_failure
        self._hurry = hurry
        self._flight: asyncio.Future[None] | None = None
        self._unstored: list[Chunk] = []  # taken from the buffer and not known to be durable
        self._stored = 0
        self._request_hash: str | None = None  # known from the first flush on
        self._calls_tools = False
        self._finishing = False
        self._flush_again = False
        self._beginning: Beginning | None = None
        self._held_back: HoldBack | None = None
        self._held: list[Event] = []
        self.only_text = True
        self.buffer = Buffer(run.id, limits, budget, nonce=run.nonce)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._finishing:  # `finish` may outlive the context, and cleans up itself
            self.abandon()

    def begin(self, beginning: Beginning | None, seam: Seam | None = None) -> None:
        """How the run begins whose output comes now.

        seam: its output is held back until it is seen to follow the text of an earlier run.
        """
        self._beginning = beginning
        self._held_back = HoldBack(seam) if seam else None

    def follow(self) -> None:
        """What the run begins with is all that it needs before its own output."""
        if (first := self._beginning) is not None:
            self.buffer.follow(chunks=first.chunks, chars=first.chars, size_bytes=first.size_bytes)
            self._stored = first.chunks

    @property
    def own_chars(self) -> int:
        """Characters of text that the run produced itself."""
        return self.buffer.chars - (self._beginning.chars if self._beginning else 0)

    @property
    def carried_tokens(self) -> int:
        """Tokens of what it carried over, as far as known."""
        return (self._beginning.tokens or 0) if self._beginning else 0

    def keep(self, events: Sequence[Event], *, at: float) -> Done | None:
        """Keep output until it is flushed; the done frame, if it is among the events.

        Raises:
            SpoolError: what a Fault carries; the output before it is kept.
            NotContinued: the output does not follow the text of the earlier run.
        """
        if self._held_back is not None:
            events = self._let_through(self._held_back, events)
        for event in events:
            match event:
                case Delta(kind, text):
                    self.only_text &= kind is Kind.TEXT
                    self.buffer.add(kind, text, at=at)
                case Extra(kind, data):
                    self.only_text = False
                    self.buffer.add_extra(kind, data, at=at)
                case Done():
                    return event
                case Fault(error):
                    raise error
        return None

    def _let_through(self, held_back: HoldBack, events: Sequence[Event]) -> Sequence[Event]:
        """What may be kept by now: nothing, or all that was held back as well."""
        self._held += events
        for event in events:
            match event:
                case Delta(kind, text) if held_back.verdict is None:
                    held_back.add(kind, text)
                case Done():
                    held_back.end()
                case Fault(error) if held_back.verdict is None:
                    self._held = []
                    raise (
                        self._not_continued(error.message) if isinstance(error, Refused) else error
                    )
        verdict = held_back.verdict
        if verdict is None or self._beginning is None:
            return ()
        if verdict is Verdict.DISOBEYED:
            self._held = []
            raise self._not_continued(verdict.value)
        self._held_back = None
        if verdict is Verdict.GOES_ON:
            self.follow()
        else:
            source = self._beginning.continues_run_id
            why = f"asked to go on with the text of run {source}, the server began it again"
            self._beginning = Beginning(self._run.id, source, not_continued=why)
        held, self._held = self._held, []
        return held

    def _not_continued(self, what: str) -> NotContinued:
        source = self._beginning.continues_run_id if self._beginning else None
        return NotContinued(
            f"asked to go on with the text of run {source}, the server did not ({what}); the prompt"
            " begins again, and no attempt is used up",
            charged=False,
        )

    def due_at(self, *, at: float) -> float | None:
        """When to come back for a flush, seen from the time `at`; None while nothing waits.

        While a flush is under way that is never now: the next one has to wait for it.
        """
        due_at = self.buffer.due_at
        if due_at is None or self._flight is None:
            return due_at
        return max(due_at, at + self._limits.flush_seconds)

    async def flush_if_due(self, *, at: float) -> bool:
        """Start a flush if one is due; True if reading had to wait because the buffer was full."""
        if self._flight is None and (self.buffer.due(at=at) or self.buffer.full):
            self._start()
        if not self.buffer.full or self._flight is None:
            return False
        self._hurry()
        await asyncio.shield(self._flight)
        return True

    def flush(self) -> None:
        """Start a flush of what waits, now or as soon as the one under way has landed."""
        self._flush_again = self._flight is not None
        if self._flight is None and self.buffer.waiting_bytes:
            self._start()

    def _start(self) -> None:
        self._flight = self._submit(self._run.id, self._take())
        self._flight.add_done_callback(self._landed)

    def _take(self) -> list[Chunk]:
        taken = self.buffer.take()
        if taken and self._request_hash is None:
            self._request_hash = self._run.request_hash()
            taken[0] = dataclasses.replace(
                taken[0], request_hash=self._request_hash, beginning=self._beginning
            )
        self._calls_tools |= any(chunk.kind is Kind.TOOL_CALLS for chunk in taken)
        self._unstored += taken
        return list(self._unstored)

    def _landed(self, flight: asyncio.Future[None]) -> None:
        self._flight = None
        error = flight.exception()
        if error is None:
            self._settle()
            if self._flush_again and not self._finishing:
                self.flush()
        elif isinstance(error, SpoolError):
            self._on_failure(error)

    def _settle(self) -> None:
        self._stored += len(self._unstored)
        self._unstored = []
        self.buffer.landed()

    async def finish(self, ending: Ending) -> Ending:
        """Store the last chunks and the ending in one transaction, after any flush under way.

        Returns the ending as it was stored, with the length of what the run produced.

        Raises:
            LeaseLost: the run is not this worker's any more; nothing was written.
            StoreError: the database refused, or stayed away until the worker had to end.
        """
        self._finishing = True
        try:
            if self._flight is not None:
                await asyncio.wait({self._flight})
            chunks = self._take()
            stored = self._stored + len(chunks)
            ending = replace(
                ending,
                chars=self.buffer.chars,
                chunks=stored,
                nonce=self._run.nonce,
                request_hash=self._request_hash or self._run.request_hash(),
                calls_tools=self._calls_tools,
            )
            await self._submit(self._run.id, chunks, ending)
            self._settle()
            return ending
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Drop what is not stored yet: the run is lost, or its text can never be stored."""
        self._unstored = []
        self.buffer.discard()
