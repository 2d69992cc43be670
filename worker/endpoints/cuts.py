"""Answers that broke off: each by itself, or together; and what went on beside them.

Those that break off within half a second of each other have one `cut_id`: a server that restarts,
a balancer that lets go of everybody, or one prompt that takes its server down with it.  Nobody can
tell which of them it was.  So whoever broke off twice without evidence and without progress is a
*suspect*, and of the suspects only half as many go together the next time, down to one alone.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from worker.run.context import RunHandle
from worker.states import SUSPECT_RUNS

TOGETHER_SECONDS = 0.5  # what breaks off within this time may have one reason; reads gather 0.25 s
WENT_ON_SECONDS = 1.0  # heard so much later: what is read at once may have been sent before
ALIKE = 0.1  # ages that differ by less than a tenth are one age
ALIKE_PROMPTS = 3  # so many prompts, cut at different times at one age, were cut for their age
OUTLIVED = 2.0  # times as old as what broke off lately: a suspect that is older is none any more
_CUTS_KEPT = 50
_ID_BITS = 62


@dataclass(slots=True)
class Cut:
    """Runs that broke off together.

    Attributes:
        suspects: how many of them were suspects.
        oldest_seconds: how old the oldest of them was.
    """

    first_at: float
    last_at: float
    cut_id: int = field(default_factory=lambda: 1 + secrets.randbits(_ID_BITS))
    prompts: set[int] = field(default_factory=set)
    suspects: int = 0
    oldest_seconds: float = 0.0

    @property
    def is_company(self) -> bool:
        """Whether it was more than one."""
        return len(self.prompts) > 1


class Cuts:
    """The answers of one endpoint that broke off lately."""

    def __init__(self) -> None:
        self._cuts: deque[Cut] = deque(maxlen=_CUTS_KEPT)
        self._ages: deque[tuple[float, int, int]] = deque(maxlen=_CUTS_KEPT)
        self._most_suspects = inf
        self._halved: Cut | None = None
        self._through: set[int] = set()  # runs of suspects that outlived what they died of

    def note(self, control: RunHandle, *, at: float) -> Cut:
        """A run broke off; what it is part of."""
        last = self._cuts[-1] if self._cuts else None
        together = last is not None and at - last.last_at <= TOGETHER_SECONDS
        if last is None or not together or control.run.prompt_id in last.prompts:
            self._cuts.append(last := Cut(at, at))
        cut = last
        cut.last_at = at
        cut.prompts.add(control.run.prompt_id)
        cut.suspects += is_suspect(control)
        cut.oldest_seconds = max(cut.oldest_seconds, at - control.sent_at)
        self._ages.append((at - control.sent_at, control.run.prompt_id, cut.cut_id))
        return cut

    def shared_age(self, age_seconds: float | None = None) -> float | None:
        """The age at which answers are cut, if it is that of several prompts; by default the last.

        Those that broke off together say nothing of it: they may have begun together.
        """
        if age_seconds is None:
            age_seconds = self._ages[-1][0] if self._ages else 0.0
        alike = [each for each in self._ages if abs(each[0] - age_seconds) <= ALIKE * age_seconds]
        prompts = {prompt_id for _, prompt_id, _ in alike}
        cuts = {cut_id for _, _, cut_id in alike}
        return age_seconds if min(len(prompts), len(cuts)) >= ALIKE_PROMPTS else None

    def outlived(self, control: RunHandle) -> bool:
        """Whether this run went on where others broke off since it began."""
        heard_at = control.heard_at or -inf
        return any(
            cut.first_at > control.sent_at and heard_at > cut.last_at + WENT_ON_SECONDS
            for cut in self._cuts
        )

    def is_alone(self, control: RunHandle, cut: Cut) -> bool:
        """Whether it is the only one that was there each time since it first broke off.

        It was, if no other suspect broke off with it now, and nobody ever did without it.
        """
        if not is_suspect(control) or cut.suspects > 1 or not cut.is_company:
            return False
        there = [control.run.prompt_id in each.prompts for each in self._cuts]
        since = there[there.index(True) :]
        return len(since) > SUSPECT_RUNS and all(since)

    def halve(self, cut: Cut) -> None:
        """Suspects broke off together: half as many go together from now on."""
        if cut.suspects > 1 and cut is not self._halved:
            self._halved = cut
            self._most_suspects = min(self._most_suspects, cut.suspects // 2)

    def completed(self, control: RunHandle) -> None:
        """A run came to its end: if it was a suspect, twice as many may go together."""
        if is_suspect(control) and control.run.id not in self._through:
            self._most_suspects *= 2
        self._through.discard(control.run.id)

    def room_for_suspects(
        self, under_way: Iterable[RunHandle], concurrency: int, *, at: float
    ) -> int:
        """How many more may go: never more than half of the slots, so that others come through.

        A suspect that is twice as old as any that broke off lately has come through as well.
        """
        oldest_seconds = max((cut.oldest_seconds for cut in self._cuts), default=0.0)
        there = 0
        for each in filter(is_suspect, under_way):
            if each.run.id in self._through:
                continue
            if at - each.sent_at > OUTLIVED * oldest_seconds:
                self._through.add(each.run.id)
                self._most_suspects *= 2
            else:
                there += 1
        return max(0, int(min(self._most_suspects, max(1, concurrency // 2))) - there)


def is_suspect(control: RunHandle) -> bool:
    """Whether its prompt broke off twice without evidence and without progress."""
    return control.run.runs_without_progress >= SUSPECT_RUNS
