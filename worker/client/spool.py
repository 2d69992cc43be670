"""Spool from Python: add, wait, iterate, follow, run; synchronously and asynchronously.

The same objects that the command line uses stand behind it.  ``Spool`` blocks;
``AsyncSpool`` has the same methods and does the waiting in threads.  Both only
queue and read, in any process; prompts are carried by `spool run`, or by
``run`` here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from worker.client.blocking import run_blocking
from worker.client.results import Narrow, Result, existing, selected
from worker.client.tail import LOOK_SECONDS, ChangeDetector, TailReader
from worker.clock import Clock, SystemClock
from worker.errors import InputError, NotFound, SpoolError, StoreBusy
from worker.records import Added, Kind, NewPrompt
from worker.settings import Loaded, Settings, load_all
from worker.states import FINAL_PROMPT_STATES, PromptState
from worker.store import Selection, Store
from worker.store.schema.migrate import upgrade

_PROMPT_FIELDS = frozenset(field.name for field in fields(NewPrompt))

AnyPrompt = str | Mapping[str, Any] | NewPrompt


class Spool:
    """One database of prompts and answers; a context manager that closes its connections."""

    def __init__(
        self,
        database_url: str | None = None,
        *,
        config: str | Path | None = None,
        migrate: bool = False,
    ) -> None:
        """Open a database; an SQLite file that does not exist is created with its tables.

        Args:
            database_url: `sqlite:///file.db` or `postgresql://user@host/database`; by default
                what the settings say.
            config: a settings file, instead of `spool.toml` in the working directory.
            migrate: make the tables in PostgreSQL as well, or bring them up to date.

        Raises:
            SettingsError: the settings or the URL cannot be used.
            StoreBroken: the schema is missing or too old; run `spool migrate`.
        """
        overrides = {"database_url": database_url} if database_url else {}
        # Only `run` needs the keys of endpoints: who queues and reads may be without.
        self.loaded: Loaded = load_all(Path(config) if config else None, overrides=overrides)
        self.settings: Settings = self.loaded.settings
        self.store = Store.open(
            self.settings.database_url,
            busy_timeout_seconds=self.settings.busy_timeout_seconds,
            synchronous=self.settings.sqlite_synchronous,
            keep_commits=self.settings.keep_commits,
        )
        try:
            if migrate or self.store.is_sqlite:
                upgrade(
                    self.settings.database_url,
                    busy_timeout_seconds=self.settings.busy_timeout_seconds,
                )
            self.store.check_schema()
        except SpoolError:
            self.store.close()
            raise

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

    def add(
        self,
        prompts: AnyPrompt | Iterable[AnyPrompt],
        *,
        batch: str | None = None,
        replace: bool = False,
    ) -> Added:
        """Queue prompts: texts, dicts with the fields of NewPrompt, or NewPrompt objects.

        Within a batch, a prompt whose `custom_id` is there already is left alone. One that asks
        something else is counted as `changed`; with `replace` it is queued anew, and the runs that
        answered the old request stay.

        Raises:
            InputError: a prompt cannot be used; those before it may be queued already.
        """
        several = [prompts] if isinstance(prompts, str | Mapping | NewPrompt) else prompts
        made = (_new_prompt(each) for each in several)
        return self.store.add(made, batch=batch, source="api", replace=replace)

    def results(
        self, selection: Selection | None = None, **narrow: Unpack[Narrow]
    ) -> Iterator[Result]:
        """Prompts in the order of their ids, page by page: all, or those that are selected.

        Raises NotFound for an id or a batch that does not exist.
        """
        wanted = existing(self.store, selected(selection, narrow))
        rows = self.store.results(wanted, report=_warn)
        return (Result.of(row, self.store) for row in rows)

    def result(self, prompt_id: int) -> Result:
        """One prompt; raises NotFound."""
        for found in self.results(ids=(prompt_id,)):
            return found
        raise NotFound.prompt(prompt_id)

    def unfinished(self, selection: Selection | None = None, **narrow: Unpack[Narrow]) -> int:
        """How many prompts are not in a final state yet: of all, or of those selected.

        Raises NotFound for an id or a batch that does not exist.
        """
        return self._left(existing(self.store, selected(selection, narrow)))

    def _left(self, selection: Selection) -> int:
        open_states = tuple(each for each in PromptState if each not in FINAL_PROMPT_STATES)
        wanted = tuple(each for each in selection.states or open_states if each in open_states)
        if not wanted:
            return 0
        return self.store.count(replace(selection, states=wanted))

    def wait(
        self,
        selection: Selection | None = None,
        *,
        timeout_seconds: float | None = None,
        **narrow: Unpack[Narrow],
    ) -> None:
        """Return when every prompt of a selection has finished, whoever carries them.

        Raises:
            NotFound: an id or a batch does not exist.
            TimeoutError: some have not, after `timeout_seconds`.
        """
        chosen = selected(selection, narrow)
        waiting = AsyncSpool(self)
        run_blocking(lambda: waiting.wait(chosen, timeout_seconds=timeout_seconds))

    def tail(self, prompt_id: int, kind: Kind = Kind.TEXT) -> Iterator[str]:
        """The text of a prompt while it streams, until it is finished.

        A new attempt begins its text from the start; ``TailReader`` tells attempts apart.
        """
        follower = TailReader(self.store, prompt_id, kind)
        changes = ChangeDetector(self.store, SystemClock())
        while True:
            yield from _new_text(follower)
            if follower.done:
                return
            run_blocking(changes.wait)

    def cancel(self, selection: Selection | None = None, **narrow: Unpack[Narrow]) -> int:
        """Give prompts up, also while they stream; how many that concerns."""
        return self.store.cancel(existing(self.store, _chosen(selection, narrow)))

    def retry(self, selection: Selection | None = None, **narrow: Unpack[Narrow]) -> int:
        """Queue failed or cancelled prompts again; how many there were."""
        return self.store.retry(existing(self.store, _chosen(selection, narrow)))

    def run(self, *, drain: bool = True) -> int:
        """Carry prompts in this process until nothing is left to do; how many were completed.

        What `spool run --drain` does, with the settings of this object.  SIGTERM and SIGINT end
        it as they end `spool run`: text is stored, and prompts are handed back.  Raises
        SettingsError if the key of an endpoint is missing.
        """
        from worker.app.worker_app import run_async  # noqa: PLC0415 - for those who carry runs

        return run_blocking(lambda: AsyncSpool(self).run(drain=drain), run_async)


class AsyncSpool:
    """The same, for programs with an event loop: every method waits in a thread."""

    def __init__(self, spool: Spool, *, clock: Clock | None = None) -> None:
        """Raise TypeError for anything but an open Spool, such as a URL: that is for `open`."""
        if not isinstance(spool, Spool):
            raise TypeError(
                f"AsyncSpool takes an open Spool, not {spool!r}; for a database write"
                " `async with await AsyncSpool.open(url) as spool`"
            )
        self.spool = spool
        self._clock = clock or SystemClock()

    @classmethod
    async def open(
        cls,
        database_url: str | None = None,
        *,
        config: str | Path | None = None,
        migrate: bool = False,
    ) -> Self:
        """Open a database; see Spool."""
        spool = await asyncio.to_thread(lambda: Spool(database_url, config=config, migrate=migrate))
        return cls(spool)

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
        await self.close()

    async def close(self) -> None:
        """Close every connection; see Spool.close."""
        await asyncio.to_thread(self.spool.close)

    async def add(
        self,
        prompts: AnyPrompt | Iterable[AnyPrompt],
        *,
        batch: str | None = None,
        replace: bool = False,
    ) -> Added:
        """Queue prompts; see Spool.add."""
        return await asyncio.to_thread(self.spool.add, prompts, batch=batch, replace=replace)

    async def run(self, *, drain: bool = True) -> int:
        """Carry prompts on this event loop until nothing is left to do; see Spool.run.

        Cancelled, it stores the text and hands the prompts back before it ends.
        """
        from worker import log  # noqa: PLC0415 - only those who carry runs pay for it
        from worker.app.worker_app import serve  # noqa: PLC0415
        from worker.diagnosis.wait_reasons import Announcer  # noqa: PLC0415

        self.spool.loaded.check_keys()
        settings = self.spool.settings
        logger = log.to_logging(secrets=settings.secrets)
        announcer = Announcer(self.spool.store, logger, self._clock)
        summary = await serve(
            settings, self.spool.store, logger, drain=drain, beside=announcer.follow
        )
        return summary.completed

    async def result(self, prompt_id: int) -> Result:
        """One prompt; raises NotFound."""
        return await asyncio.to_thread(self.spool.result, prompt_id)

    async def unfinished(self, selection: Selection | None = None, **narrow: Unpack[Narrow]) -> int:
        """How many prompts are not in a final state yet; see Spool.unfinished."""
        return await asyncio.to_thread(lambda: self.spool.unfinished(selection, **narrow))

    async def results(
        self, selection: Selection | None = None, **narrow: Unpack[Narrow]
    ) -> AsyncIterator[Result]:
        """Prompts in the order of their ids; see Spool.results."""
        found = await asyncio.to_thread(lambda: self.spool.results(selection, **narrow))
        while (each := await asyncio.to_thread(next, found, None)) is not None:
            yield each

    async def wait(
        self,
        selection: Selection | None = None,
        *,
        timeout_seconds: float | None = None,
        **narrow: Unpack[Narrow],
    ) -> None:
        """Return when every prompt of a selection has finished; see Spool.wait."""
        chosen = selected(selection, narrow)
        with suppress(StoreBusy):  # then it is waited for
            await asyncio.to_thread(existing, self.spool.store, chosen)
        ends_at = None if timeout_seconds is None else self._clock.monotonic() + timeout_seconds
        while said := await self._unfinished(chosen):
            if ends_at is not None and self._clock.monotonic() >= ends_at:
                raise TimeoutError(f"after {timeout_seconds:g} s {said}")
            await self._clock.sleep(LOOK_SECONDS)

    async def _unfinished(self, selection: Selection) -> str:
        """What there is to wait for, in words; nothing if all have finished."""
        try:
            left = await asyncio.to_thread(self.spool._left, selection)  # noqa: SLF001
        except StoreBusy as error:
            return f"nobody knows how many have not finished: {error.message}"
        have = "1 prompt has" if left == 1 else f"{left:,} prompts have"
        return f"{have} not finished{await self._why()}" if left else ""

    async def _why(self) -> str:
        workers = await asyncio.to_thread(self.spool.store.workers)
        if any(each.stopped_at is None and each.lease_seconds_left > 0 for each in workers):
            return ""
        return ", and no worker is running: start `spool run`, or call `run`"

    async def tail(self, prompt_id: int, kind: Kind = Kind.TEXT) -> AsyncIterator[str]:
        """The text of a prompt while it streams; see Spool.tail."""
        follower = TailReader(self.spool.store, prompt_id, kind)
        changes = ChangeDetector(self.spool.store, self._clock)
        while True:
            texts = _new_text(follower)
            while (text := await asyncio.to_thread(next, texts, None)) is not None:
                yield text
            if follower.done:
                return
            await changes.wait()

    async def cancel(self, selection: Selection | None = None, **narrow: Unpack[Narrow]) -> int:
        """Give prompts up; see Spool.cancel."""
        return await asyncio.to_thread(lambda: self.spool.cancel(selection, **narrow))

    async def retry(self, selection: Selection | None = None, **narrow: Unpack[Narrow]) -> int:
        """Queue failed or cancelled prompts again; see Spool.retry."""
        return await asyncio.to_thread(lambda: self.spool.retry(selection, **narrow))


def _warn(prompt_id: int, why: str) -> None:
    logging.getLogger("promptspool").warning(
        "prompt %s cannot be read as it is: %s", prompt_id, why
    )


def _new_text(follower: TailReader) -> Iterator[str]:
    """What was stored since the last look, as far as the database tells it now."""
    with suppress(StoreBusy):  # the next look goes on where this one was
        for piece in follower.look():
            yield piece.text


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


def _chosen(selection: Selection | None, narrow: Narrow) -> Selection:
    """The selection meant; nothing at all is not taken for everything by what changes prompts."""
    if selection is None and not narrow:
        raise InputError(
            "say which prompts: ids=..., batch=..., states=..., or Selection() for all"
        )
    return selected(selection, narrow)
