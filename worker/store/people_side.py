"""What people do with the database: queue prompts, read what came of them, change their mind."""

from __future__ import annotations

from collections.abc import Iterable

from worker.records import Added, NewPrompt
from worker.store import arrivals
from worker.store.engine import Database


class PeopleSide:
    """The part of the store that commands use."""

    _db: Database

    def add(
        self, prompts: Iterable[NewPrompt], *, batch: str | None = None, source: str | None = None
    ) -> Added:
        """Queue prompts, a page of at most 1,000 in each transaction, in bounded memory.

        A prompt whose `custom_id` the batch has already is counted and left alone, so the same
        file may be added twice.  Without a batch nothing is recognised.  Raises InputError,
        naming the prompt, for what no database can store; earlier pages stay.
        """
        return arrivals.add(self._db, prompts, batch=batch, source=source)
