"""What happened at the servers of a world, counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.worlds.loop import WorldLoop
from benchmarks.worlds.network import Asked

if TYPE_CHECKING:
    from benchmarks.worlds.server import Exchange

FULL = 0.9  # of the slots that could be busy


class Tally:
    """Counts requests and tokens, and finds the moment of full speed.

    Attributes:
        requests: that carried a prompt.
        canaries: that generated, and carried none; `canary_tokens` is what these cost.
        probes: that generated nothing.
        paid, kept: tokens that were generated for prompts; those of whole answers among them.
        full_at: when, after the cure, as many answers came as could.
    """

    def __init__(
        self, loop: WorldLoop, *, innocents: int, at_a_time: int, cure_at: float | None
    ) -> None:
        self._loop = loop
        self._left = innocents
        self._at_a_time = at_a_time
        self._cure_at = cure_at
        self._whole: set[int] = set()
        self._answering = 0
        self.requests = 0
        self.canaries = 0
        self.canary_tokens = 0
        self.probes = 0
        self.paid = 0
        self.kept = 0
        self.full_at: float | None = None

    def asked(self, asked: Asked) -> None:
        """A request has come."""
        if not asked.is_generation:
            self.probes += 1
        elif asked.number is None:
            self.canaries += 1
        else:
            self.requests += 1

    def answering(self, exchange: Exchange) -> None:
        """The first frame of a prompt's answer is out."""
        if not exchange.asked.kind:
            self._answering += 1
            self._look()

    def left(self, exchange: Exchange, *, whole: bool) -> None:
        """A request is over."""
        asked = exchange.asked
        if asked.number is None:
            self.canary_tokens += exchange.tokens
            return
        self.paid += exchange.tokens
        if whole and asked.number not in self._whole:
            self._whole.add(asked.number)
            self.kept += exchange.tokens
            self._left -= not asked.kind
        if exchange.answering and not asked.kind:
            self._answering -= 1
            self._look()

    def _look(self) -> None:
        if self._cure_at is None or self.full_at is not None or self._loop.seconds < self._cure_at:
            return
        if self._answering >= FULL * min(self._at_a_time, self._left):
            self.full_at = self._loop.seconds
