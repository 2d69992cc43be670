"""The brake of a batch whose every prompt is refused, while the endpoint is well.

A canary cannot see everything: a limit of the body, a template, a format, a bad option in every
line of a file.  After `PROMPTS_BELIEVED` different prompts of one batch in a row, refused with one
code and without an answer between, the batch goes on one prompt at a time, at a distance that
grows to a minute.  One answer releases it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PROMPTS_BELIEVED = 20
SECONDS_FIRST = 1.0
SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Room:
    """What a claim may take now.

    Attributes:
        limit: prompts.
        suspects: prompts that broke off twice without evidence and progress, among them.
        without: batches that are left out.
    """

    limit: int
    suspects: int = 0
    without: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Row:
    """Refusals of a batch, in a row."""

    code: str
    message: str
    prompts: set[int] = field(default_factory=set)
    seconds: float = SECONDS_FIRST
    next_at: float = 0.0

    @property
    def is_held(self) -> bool:
        return len(self.prompts) >= PROMPTS_BELIEVED


class Brake:
    """The batches of one endpoint that go on one prompt at a time; told the time."""

    def __init__(self) -> None:
        self._rows: dict[int, _Row] = {}

    def refused(self, batch_id: int, prompt_id: int, code: str, message: str, *, at: float) -> bool:
        """A prompt was refused; True if its batch is held from now on."""
        row = self._rows.get(batch_id)
        if row is None or row.code != code:
            row = self._rows[batch_id] = _Row(code, message)
        was_held = row.is_held
        if not was_held:
            row.prompts.add(prompt_id)
        if row.is_held:
            row.next_at = at + row.seconds
            row.seconds = min(row.seconds * 2, SECONDS_MAX)
        return row.is_held and not was_held

    def answered(self, batch_id: int) -> bool:
        """A prompt of the batch was answered; True if that released it."""
        row = self._rows.pop(batch_id, None)
        return row is not None and row.is_held

    def held(self) -> dict[int, _Row]:
        """The batches that are held."""
        return {batch_id: row for batch_id, row in self._rows.items() if row.is_held}

    def claimable(self, under_way: set[int], *, at: float) -> tuple[frozenset[int], bool]:
        """Batches that a claim leaves out now, and whether one prompt of another is to be tried.

        under_way: batches that have a prompt under way.
        """
        held = self.held()
        waiting = {
            batch_id for batch_id, row in held.items() if batch_id in under_way or at < row.next_at
        }
        return frozenset(waiting), len(waiting) < len(held)
