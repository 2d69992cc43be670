"""Refusals that an endpoint gave lately, and those that a later answer has disproved.

One replica of several that is wrong says to every prompt what looks like a fault of the prompt.
If one that was refused so, or a canary, is answered later, the words say nothing of a prompt.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from worker.endpoints.canaries import says_the_same
from worker.errors import SpoolError

CANARY = 0  # in the place of the id of a prompt
_REFUSED_KEPT = 1000
_DISPROVED_KEPT = 50


class Refusals:
    """The latest refusal of each prompt at one endpoint; told the time, knows no clock."""

    def __init__(self) -> None:
        self._latest: OrderedDict[int, tuple[float, SpoolError]] = OrderedDict()
        self._disproved: deque[SpoolError] = deque(maxlen=_DISPROVED_KEPT)

    def note(self, prompt_id: int, error: SpoolError, *, since: float) -> None:
        """A prompt was refused.

        since: an answer to what was sent later shows that the endpoint was well; infinite if it
        was not.
        """
        self._latest[prompt_id] = (since, error)
        if len(self._latest) > _REFUSED_KEPT:
            self._latest.popitem(last=False)

    def since(self, prompt_id: int, error: SpoolError, *, sent_at: float) -> float:
        """When the prompt was first refused with these words, if that was before `sent_at`."""
        since, before = self._latest.get(prompt_id, (sent_at, error))
        return min(since, sent_at) if says_the_same(before, error) else sent_at

    def answered(self, prompt_id: int) -> None:
        """The prompt was answered: what it was refused with says nothing of prompts."""
        _, error = self._latest.pop(prompt_id, (0.0, None))
        if error is not None and not self.is_disproved(error):
            self._disproved.append(error)

    def is_disproved(self, error: SpoolError) -> bool:
        """Whether a prompt that was refused with these words was answered later."""
        return any(says_the_same(each, error) for each in self._disproved)
