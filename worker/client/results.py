"""What `Spool` hands out: a prompt with what became of it, and the words that select prompts.

Everything about a prompt but its texts is read at once; a text is read from the database when it
is asked for, and can be read in pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol, TypedDict

from worker.errors import InputError, NotFound
from worker.records import Json, Kind
from worker.states import PromptState
from worker.store import Selection, Store
from worker.store.rows import ResultRow
from worker.suggest import nearest
from worker.wire.tool_calls import assemble_tool_calls


class Result(ResultRow):
    """One prompt and what became of it; its columns are those of the view `results`."""

    _store: Store

    @classmethod
    def of(cls, row: ResultRow, store: Store) -> Result:
        """The result that a row tells of."""
        result = cls(*row)
        result._store = store
        return result

    @property
    def completed(self) -> bool:
        """Whether the done frame has arrived."""
        return self.status is PromptState.COMPLETED

    @property
    def output(self) -> str | None:
        """The whole answer; None unless the prompt is completed."""
        return "".join(self.pieces()) if self.completed else None

    @property
    def partial_output(self) -> str:
        """The text so far, whether or not it is complete.

        Of a prompt that is not completed it is that of its latest run that has text and was asked
        the same; `text_run_id` says which run that is.
        """
        return "".join(self.pieces())

    @property
    def thinking(self) -> str:
        """What the model thought, as far as the server sent it."""
        return "".join(self.pieces(Kind.THINKING))

    @property
    def tool_calls(self) -> list[dict[str, Json]]:
        """Whole calls of tools: dicts with `index`, `id`, `name` and `arguments`, a JSON text."""
        return assemble_tool_calls("".join(self.pieces(Kind.TOOL_CALLS)))

    def as_dict(self) -> dict[str, Any]:
        """The columns of the view `results` by their names, the texts included.

        `pandas.DataFrame(result.as_dict() for result in spool.results())` is a table of answers.
        """
        texts = {
            "status": str(self.status),
            "output": self.output,
            "partial_output": None if self.completed else self.partial_output or None,
            "thinking": self.thinking or None,
            "tool_calls": self.tool_calls or None,
            "truncated": self.truncated,
            "spliced": self.spliced,
        }
        read = {"messages_json": "messages", "metadata_json": "metadata"}
        columns = {
            read.get(name, name): getattr(self, read.get(name, name)) for name in self._fields
        }
        return columns | texts

    def pieces(self, kind: Kind = Kind.TEXT) -> Iterator[str]:
        """The text in chunks, for answers that are too long for memory."""
        if self.text_run_id is not None:
            yield from (text for _, text in self._store.text(self.text_run_id, kind))


class Narrow(TypedDict, total=False):
    """Which prompts are meant; every key narrows.

    Keys:
        ids: ids of prompts.
        batch: name of a batch.
        states: `"queued"`, `"running"`, `"completed"`, `"failed"`, `"cancelled"`.
        error_code: such as `"rate_limited"`.
        endpoint: where they are sent.
        finished_before: only prompts that finished before this moment.
    """

    ids: Sequence[int]
    batch: str | None
    states: Sequence[PromptState | str]
    error_code: str | None
    endpoint: str | None
    finished_before: datetime | None


class Asked(Protocol):
    """What is asked of the store about a selection."""

    def count(self, selection: Selection) -> int:
        """How many prompts it holds."""
        ...

    def prompt(self, prompt_id: int) -> object | None:
        """One prompt."""
        ...

    def batch_names(self) -> Sequence[str]:
        """The names of all batches that hold prompts."""
        ...

    def has_batch(self, name: str) -> bool:
        """Whether the batch holds a prompt."""
        ...


def existing(store: Asked, selection: Selection) -> Selection:
    """The selection, if what it names exists.

    Raises:
        NotFound: no prompt has one of its ids, or it names a batch without prompts.
    """
    ids = set(selection.ids)
    if ids and store.count(Selection(ids=tuple(ids))) < len(ids):
        raise NotFound.prompt(next(each for each in selection.ids if store.prompt(each) is None))
    if selection.batch is not None and not store.has_batch(selection.batch):
        close = nearest(selection.batch, store.batch_names())
        advice = f"; did you mean {close!r}?" if close else ": `spool status` lists them"
        raise NotFound(f"there is no batch {selection.batch!r}{advice}")
    return selection


def selected(selection: Selection | None, narrow: Narrow) -> Selection:
    """The selection that was handed in, or the one that the words make.

    Raises:
        InputError: a state that does not exist.
        TypeError: both were given, or a word that does not exist.
    """
    if selection is not None:
        if narrow:
            raise TypeError("give a Selection or its fields by name, not both")
        return selection
    given: dict[str, Any] = dict(narrow)
    given["ids"] = tuple(narrow.get("ids", ()))
    given["states"] = tuple(_state(each) for each in narrow.get("states", ()))
    return Selection(**given)


def _state(name: PromptState | str) -> PromptState:
    try:
        return PromptState(name)
    except ValueError:
        known = ", ".join(PromptState)
        raise InputError(f"there is no state {name!r}; there are: {known}") from None
