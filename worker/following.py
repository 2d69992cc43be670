"""Follows the text of one prompt, from any process, for as long as it grows.

Chunks are read by their number, so following can be resumed; from one attempt
to the next it goes on with the new run, whose text begins from the start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from worker.errors import NotFound
from worker.records import Kind
from worker.states import FINAL_PROMPT_STATES, PromptState


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


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk of a prompt's text.

    Attributes:
        fresh: it begins the text of another attempt than the piece before it.
    """

    run_id: int
    seq: int
    text: str
    fresh: bool


class Follower:
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
            raise NotFound(f"there is no prompt {self.prompt_id}")
        if self.run_id is not None and detail.run_id != self.run_id:
            yield from self._new_text(fresh=False)
        fresh = self.run_id is not None and detail.run_id != self.run_id
        if detail.run_id != self.run_id:
            self.run_id, self.seq = detail.run_id, -1
        yield from self._new_text(fresh=fresh)
        self.state = detail.status

    def _new_text(self, *, fresh: bool) -> Iterator[Piece]:
        if self.run_id is None:
            return
        for seq, text in self._store.text(self.run_id, self._kind, self.seq):
            self.seq = seq
            yield Piece(self.run_id, seq, text, fresh)
            fresh = False
