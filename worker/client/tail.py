"""Follows the text of one prompt, from any process, for as long as it grows.

Chunks are read by their number, so following can be resumed; from one attempt
to the next it goes on with the new run, whose text begins from the start, or where the
one before was cut.
Between two looks, ``ChangeDetector`` says whether the next one can find anything: on
SQLite the database is read only when somebody has written to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.clock import Clock
from worker.errors import NotFound, StoreBusy
from worker.records import Kind
from worker.states import FINAL_PROMPT_STATES, PromptState

LOOK_SECONDS = 0.2
_ALWAYS_LOOK_SECONDS = 5.0  # whatever the database says of changes


class Detail(Protocol):
    """What has to be known of a prompt."""

    @property
    def status(self) -> PromptState:
        """Where it stands."""
        ...

    @property
    def run_id(self) -> int | None:
        """Its latest run."""
        ...

    @property
    def text_run_id(self) -> int | None:
        """The run whose text stands for it; an earlier one while the latest has none."""
        ...

    @property
    def runs(self) -> int:
        """How many runs of it were started."""
        ...


class Beginning(Protocol):
    """How a run began."""

    @property
    def run_id(self) -> int:
        """The run."""
        ...

    @property
    def continues_run_id(self) -> int | None:
        """The earlier run that it goes on with."""
        ...

    @property
    def carried_chunks(self) -> int | None:
        """So many of its chunks are those of the earlier run."""
        ...

    @property
    def dropped_chars(self) -> int | None:
        """Characters at the end of the earlier text that it does not have."""
        ...


class TextStore(Protocol):
    """What following needs of the store."""

    def prompt(self, prompt_id: int) -> Detail | None:
        """One prompt."""
        ...

    def text(
        self, run_id: int, kind: Kind = Kind.TEXT, after_seq: int = -1
    ) -> Iterator[tuple[int, str]]:
        """The chunks of a run."""
        ...

    def attempts(self, prompt_id: int) -> Sequence[Beginning]:
        """The runs of a prompt."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk of a prompt's text.

    Attributes:
        fresh: it begins the text of another attempt than the piece before it.
        attempt: which run of its prompt, counted from 1.
        replaces_chars: so many characters before it are generated again; None: it is no seam.
    """

    run_id: int
    seq: int
    text: str
    fresh: bool
    attempt: int = 1
    replaces_chars: int | None = None


class Versioned(Protocol):
    """A store that may know whether anybody wrote to it."""

    def data_version(self) -> int:
        """Another number when another connection has written; 0 always if nobody knows."""
        ...


class ChangeDetector:
    """Whether another look can find anything that the last one did not."""

    def __init__(self, store: Versioned, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._version = -1
        self._looked_at = clock.monotonic()

    async def wait(self) -> None:
        """Until a look is worth its price."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            version, now = self._ask(), self._clock.monotonic()
            late = now - self._looked_at >= _ALWAYS_LOOK_SECONDS
            if not version or version != self._version or late:
                self._version, self._looked_at = version, now
                return

    def _ask(self) -> int:
        try:
            return self._store.data_version()
        except StoreBusy:
            return 0  # nobody knows


class TailReader:
    """One prompt, and how far its text has been read."""

    def __init__(
        self,
        store: TextStore,
        prompt_id: int,
        kind: Kind = Kind.TEXT,
        *,
        run_id: int | None = None,
        after_seq: int = -1,
    ) -> None:
        """run_id, after_seq: where to go on; the beginning by default."""
        self._store = store
        self._kind = kind
        self.prompt_id = prompt_id
        self.run_id = run_id
        self.seq = after_seq
        self.state = PromptState.QUEUED
        self._fresh = False
        self._attempt = 1
        self._told_run: int | None = None
        self._skip = 0

    @property
    def done(self) -> bool:
        """Whether nothing can follow any more."""
        return self.state in FINAL_PROMPT_STATES

    def look(self) -> Iterator[Piece]:
        """Everything that was stored since the last look; `state` is up to date afterwards.

        Raises:
            NotFound: there is no such prompt.
        """
        # The state first and the text after it: a final state then means that the text is whole.
        detail = self._store.prompt(self.prompt_id)
        if detail is None:
            raise NotFound.prompt(self.prompt_id)
        if detail.run_id != self.run_id:
            if self.run_id is None and detail.text_run_id != detail.run_id:
                self.run_id = detail.text_run_id
            yield from self._new_text()
            # The new run may have no text yet: its first piece is fresh whenever it comes.
            self._fresh = self.run_id is not None
            self.run_id, self.seq, self._attempt = detail.run_id, -1, detail.runs
            self._skip = 0
        yield from self._new_text()
        self.state = detail.status

    def _new_text(self) -> Iterator[Piece]:
        if self.run_id is None:
            return
        replaces: int | None = None
        for seq, text in self._store.text(self.run_id, self._kind, self.seq):
            if self._fresh and self.seq < 0:
                self._skip, replaces = self._seam()
                self._fresh = replaces is None
            self.seq = seq
            if seq < self._skip:
                continue
            fresh, self._fresh = self._fresh, False
            self._told_run = self.run_id
            yield Piece(self.run_id, seq, text, fresh, self._attempt, replaces)
            replaces = None

    def _seam(self) -> tuple[int, int | None]:
        """How many chunks of the new run were told already; and how much of that comes again."""
        for each in self._store.attempts(self.prompt_id):
            goes_on = self._told_run is not None and each.continues_run_id == self._told_run
            if each.run_id == self.run_id and goes_on and each.carried_chunks:
                return each.carried_chunks, each.dropped_chars or 0
        return 0, None
