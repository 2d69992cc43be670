"""Reading ahead: the short texts of a page of rows are fetched together.

Most answers are short and asking for each one separately takes longer than
reading it.  Long ones are not held; they pass through in pieces as before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from worker.export.pieces import Texts
from worker.records import Kind

if TYPE_CHECKING:
    from worker.store.rows import ResultRow

PAGE_CHARACTERS = 1 << 20  # of prompts: long ones are few to a page


class HeldRun(Protocol):
    """What is known of a run."""

    @property
    def kinds(self) -> Collection[Kind]:
        """What it produced."""
        ...

    @property
    def texts(self) -> Mapping[Kind, str] | None:
        """Its texts; None if they are too long to be held."""
        ...


class Reader(Protocol):
    """Where a page is fetched from."""

    def of(self, run_ids: Collection[int]) -> Mapping[int, HeldRun]:
        """What each of these runs produced."""
        ...


class Ahead:
    """`Texts` that knows the page at hand, and asks another for what it does not hold."""

    def __init__(self, reader: Reader, texts: Texts, *, page: int) -> None:
        self._reader = reader
        self._texts = texts
        self._page = page
        self._held: Mapping[int, HeldRun] = {}

    def rows(self, rows: Iterable[ResultRow]) -> Iterator[ResultRow]:
        """The same rows; before each page its texts are fetched."""
        for page in self._pages(rows):
            self._held = self._reader.of(
                [each for each in (row.text_run_id for row in page) if each is not None]
            )
            yield from page

    def _pages(self, rows: Iterable[ResultRow]) -> Iterator[list[ResultRow]]:
        page: list[ResultRow] = []
        characters = 0
        for row in rows:
            page.append(row)
            characters += row.characters
            if len(page) == self._page or characters >= PAGE_CHARACTERS:
                yield page
                page, characters = [], 0
        if page:
            yield page

    def text(
        self, run_id: int, kind: Kind = Kind.TEXT, after_seq: int = -1
    ) -> Iterable[tuple[int, str]]:
        """The chunks of one kind of a run, in order; a held text is one chunk."""
        held = self._held.get(run_id)
        if held is None or after_seq >= 0:
            return self._texts.text(run_id, kind, after_seq)
        if kind not in held.kinds:
            return ()
        if held.texts is None:
            return self._texts.text(run_id, kind)
        return ((0, held.texts[kind]),)
