"""Requests for several answers (`n` > 1): each becomes as many prompts, with ids of their own.

A run stores one answer, and each answer has a state, retries and a cost of its own.  So `n` is
taken out of the options, and the prompt is queued `n` times: `ID#1`, `ID#2` and so on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from worker.records import NewPrompt
from worker.wire.dialects.request import ANSWER_COUNTS

if TYPE_CHECKING:
    from worker.ingest.intake import BadLine

ANSWERS_MOST = 128  # to one request, as OpenAI has it
REFUSED = f"asks for a number of answers (n) that is not 1 to {ANSWERS_MOST}"
SAID = "asked for several answers: each is queued that often, as ID#1, ID#2 and so on"


def number_of(prompt: NewPrompt) -> int:
    """How many answers a prompt asks for, 0 if that is no number that can be meant."""
    asked = (prompt.options or {}).get
    given = [value for name in ANSWER_COUNTS if (value := asked(name)) is not None]
    if not given:
        return 1
    number = given[0]
    if len(given) > 1 or not isinstance(number, int) or isinstance(number, bool):
        return 0
    return number if 1 <= number <= ANSWERS_MOST else 0


def single(prompt: NewPrompt) -> NewPrompt:
    """The same prompt, asking for one answer."""
    kept = {
        name: value for name, value in (prompt.options or {}).items() if name not in ANSWER_COUNTS
    }
    return replace(prompt, options=kept or None)


def expanded(items: Iterable[NewPrompt | BadLine]) -> Iterator[NewPrompt | BadLine]:
    """Each prompt as often as it asks for answers; everything else as it is."""
    for item in items:
        number = number_of(item) if isinstance(item, NewPrompt) else 1
        if number <= 1 or not isinstance(item, NewPrompt):
            yield item
            continue
        one = single(item)
        for index in range(1, number + 1):
            own = None if item.custom_id is None else f"{item.custom_id}#{index}"
            yield replace(one, custom_id=own)
