"""Spool from Python: add, wait, iterate, follow, run; synchronously and asynchronously.

The same objects that the command line uses stand behind it.  ``Spool`` blocks;
``AsyncSpool`` has the same methods and does the waiting in threads.  Both only
queue and read, in any process; prompts are carried by `spool run`, or by
``run`` here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from worker.clock import Clock, SystemClock
from worker.errors import InputError, NotFound, StoreBusy
from worker.following import LOOK_SECONDS, Changes, Follower
from worker.records import Added, Kind, NewPrompt
from worker.settings import Settings, load
from worker.states import FINAL_PROMPT_STATES, PromptState
from worker.store import Selection, Store
from worker.store.rows import ResultRow
from worker.store.schema import upgrade

_PROMPT_FIELDS = frozenset(field.name for field in fields(NewPrompt))

AnyPrompt = str | Mapping[str, Any] | NewPrompt


@dataclass(frozen=True, slots=True)
class Result:
    """One prompt and what became of it; texts are read from the database when asked for.

    Attributes:
        row: everything but the texts: `id`, `custom_id`, `status`, `finish_reason`, token counts,
            `error_code`, `error`, `metadata`, ...
    """

    row: ResultRow
    _store: Store

    @property
    def id(self) -> int:
        """Of the prompt."""
        return self.row.id

    @property
    def status(self) -> PromptState:
        """Where the prompt stands."""
        return self.row.status

    @property
    def completed(self) -> bool:
        """Whether the done frame has arrived."""
        return self.row.status is PromptState.COMPLETED

    @property
    def output(self) -> str | None:
        """The whole answer; None unless the prompt is completed."""
        return "".join(self.pieces()) if self.completed else None

    @property
    def partial_output(self) -> str:
        """The text so far, or of the latest attempt, whether or not it is complete."""
        return "".join(self.pieces())

    def pieces(self, kind: Kind = Kind.TEXT) -> Iterator[str]:
        """The text in chunks, for answers that are too long for memory."""
        if self.row.run_id is not None:
            yield from (text for _, text in self._store.text(self.row.run_id, kind))


class Spool:
    """One database of prompts and answers; a context manager that closes its connections."""

    def __init__(
        self, database_url: str | None = None, *, config: str | Path | None = None
    ) -> None:
        """Open a database; an SQLite file that does not exist is created with its tables.

        Args:
            database_url: `sqlite:///file.db` or `postgresql://user@host/database`; by default
                what the settings say.
            config: a settings file, instead of `spool.toml` in the working directory.

        Raises:
            SettingsError: the settings or the URL cannot be used.
            StoreBroken: the schema is missing or too old; run `spool migrate`.
        """
        overrides = {"database_url": database_url} if database_url else {}
        self.settings: Settings = load(Path(config) if config else None, overrides=overrides)
        self.store = Store.open(
            self.settings.database_url,
            busy_timeout_seconds=self.settings.busy_timeout_seconds,
            synchronous=self.settings.sqlite_synchronous,
        )
        if self.store.is_sqlite:
            upgrade(self.settings.database_url)
        self.store.check_schema()

    def __enter__(self) -> Self:
        """The spool itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self.store.close()

    def migrate(self) -> None:
        """Create the tables, or bring them up to date."""
        upgrade(self.settings.database_url)

    def add(self, prompts: AnyPrompt | Iterable[AnyPrompt], *, batch: str | None = None) -> Added:
        """Queue prompts: texts, dicts with the fields of NewPrompt, or NewPrompt objects.

        Within a batch, a prompt whose `custom_id` is there already is left alone.

        Raises:
            InputError: a prompt cannot be used; those before it may be queued already.
        """
        several = [prompts] if isinstance(prompts, str | Mapping | NewPrompt) else prompts
        return self.store.add((_new_prompt(each) for each in several), batch=batch, source="api")

    def results(self, selection: Selection | None = None, **narrow: Any) -> Iterator[Result]:
        """Prompts in the order of their ids, page by page; `narrow` are fields of Selection."""
        for row in self.store.results(selection or Selection(**narrow)):
            yield Result(row, self.store)

    def result(self, prompt_id: int) -> Result:
        """One prompt; raises NotFound."""
        for found in self.results(ids=(prompt_id,)):
            return found
        raise NotFound(f"there is no prompt {prompt_id}")

    def unfinished(self, selection: Selection) -> int:
        """How many prompts of a selection are not in a final state yet."""
        open_states = tuple(each for each in PromptState if each not in FINAL_PROMPT_STATES)
        wanted = tuple(each for each in selection.states or open_states if each in open_states)
        if not wanted:
            return 0
        narrowed = {field.name: getattr(selection, field.name) for field in fields(selection)}
        return self.store.count(Selection(**{**narrowed, "states": wanted}))

    def wait(
        self,
        selection: Selection | None = None,
        *,
        timeout_seconds: float | None = None,
        **narrow: Any,
    ) -> None:
        """Return when every prompt of a selection has finished, whoever carries them.

        Raises:
            TimeoutError: some have not, after `timeout_seconds`.
        """
        waiting = AsyncSpool(self).wait(selection, timeout_seconds=timeout_seconds, **narrow)
        asyncio.run(waiting)

    def tail(self, prompt_id: int, kind: Kind = Kind.TEXT) -> Iterator[str]:
        """The text of a prompt while it streams, until it is finished.

        A new attempt begins its text from the start; ``Follower`` tells attempts apart.
        """
        follower = Follower(self.store, prompt_id, kind)
        changes = Changes(self.store, SystemClock())
        with asyncio.Runner() as runner:
            while True:
                yield from _new_text(follower)
                if follower.done:
                    return
                runner.run(changes.wait())

    def cancel(self, selection: Selection | None = None, **narrow: Any) -> int:
        """Give prompts up, also while they stream; how many that concerns."""
        return self.store.cancel(_chosen(selection, narrow))

    def retry(self, selection: Selection | None = None, **narrow: Any) -> int:
        """Queue failed or cancelled prompts again; how many there were."""
        return self.store.retry(_chosen(selection, narrow))

    def run(self, *, drain: bool = True) -> int:
        """Carry prompts in this process until nothing is left to do; how many were completed.

        What `spool run --drain` does, with the settings of this object; SIGTERM and SIGINT end it.
        """
        from worker import log  # noqa: PLC0415 - only those who carry runs pay for it
        from worker.cli.service import run_async, serve  # noqa: PLC0415

        logger = log.make(
            log_format=self.settings.log_format,
            level=self.settings.log_level,
            secrets=self.settings.secrets,
        )
        return run_async(lambda: serve(self.settings, self.store, logger, drain=drain)).completed


class AsyncSpool:
    """The same, for programs with an event loop: every method waits in a thread."""

    def __init__(self, spool: Spool, *, clock: Clock | None = None) -> None:
        self.spool = spool
        self._clock = clock or SystemClock()

    @classmethod
    async def open(
        cls, database_url: str | None = None, *, config: str | Path | None = None
    ) -> Self:
        """Open a database; see Spool."""
        return cls(await asyncio.to_thread(lambda: Spool(database_url, config=config)))

    async def __aenter__(self) -> Self:
        """The spool itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Close it."""
        await asyncio.to_thread(self.spool.close)

    async def add(
        self, prompts: AnyPrompt | Iterable[AnyPrompt], *, batch: str | None = None
    ) -> Added:
        """Queue prompts; see Spool.add."""
        return await asyncio.to_thread(self.spool.add, prompts, batch=batch)

    async def results(
        self, selection: Selection | None = None, **narrow: Any
    ) -> AsyncIterator[Result]:
        """Prompts in the order of their ids; see Spool.results."""
        found = self.spool.results(selection, **narrow)
        while (each := await asyncio.to_thread(next, found, None)) is not None:
            yield each

    async def wait(
        self,
        selection: Selection | None = None,
        *,
        timeout_seconds: float | None = None,
        **narrow: Any,
    ) -> None:
        """Return when every prompt of a selection has finished; see Spool.wait."""
        chosen = _chosen(selection, narrow, all_allowed=True)
        ends_at = None if timeout_seconds is None else self._clock.monotonic() + timeout_seconds
        while left := await self._unfinished(chosen):
            if ends_at is not None and self._clock.monotonic() >= ends_at:
                raise TimeoutError(f"{left} prompts have not finished in {timeout_seconds:g} s")
            await self._clock.sleep(LOOK_SECONDS)

    async def _unfinished(self, selection: Selection) -> int:
        try:
            return await asyncio.to_thread(self.spool.unfinished, selection)
        except StoreBusy:
            return 1  # nobody knows: ask again

    async def tail(self, prompt_id: int, kind: Kind = Kind.TEXT) -> AsyncIterator[str]:
        """The text of a prompt while it streams; see Spool.tail."""
        follower = Follower(self.spool.store, prompt_id, kind)
        changes = Changes(self.spool.store, self._clock)
        while True:
            for text in await asyncio.to_thread(_new_text, follower):
                yield text
            if follower.done:
                return
            await changes.wait()

    async def cancel(self, selection: Selection | None = None, **narrow: Any) -> int:
        """Give prompts up; see Spool.cancel."""
        return await asyncio.to_thread(lambda: self.spool.cancel(selection, **narrow))

    async def retry(self, selection: Selection | None = None, **narrow: Any) -> int:
        """Queue failed or cancelled prompts again; see Spool.retry."""
        return await asyncio.to_thread(lambda: self.spool.retry(selection, **narrow))


def _new_text(follower: Follower) -> list[str]:
    """What was stored since the last look, as far as the database tells it now."""
    texts = []
    try:
        for piece in follower.look():
            texts.append(piece.text)  # noqa: PERF401 - what came before a fault is kept
    except StoreBusy:
        pass  # the next look goes on where this one was
    return texts


def _new_prompt(given: AnyPrompt) -> NewPrompt:
    if isinstance(given, NewPrompt):
        return given
    if isinstance(given, str):
        return NewPrompt(prompt=given)
    if unknown := sorted(set(given) - _PROMPT_FIELDS):
        known = ", ".join(sorted(_PROMPT_FIELDS))
        raise InputError(f"a prompt has no field {unknown[0]!r}; it may have: {known}")
    if (given.get("prompt") is None) == (given.get("messages") is None):
        raise InputError("a prompt needs exactly one of `prompt` and `messages`")
    return NewPrompt(**given)


def _chosen(
    selection: Selection | None, narrow: Mapping[str, Any], *, all_allowed: bool = False
) -> Selection:
    """The selection meant; nothing at all is not taken for everything by what changes prompts."""
    if selection is None and not narrow and not all_allowed:
        raise InputError(
            "say which prompts: ids=..., batch=..., states=..., or Selection() for all"
        )
    return selection or Selection(**narrow)
