"""What a person sees while the demo streams: text as it arrives, or a line for each answer.

Everything shown is read back from the database, as any other program could
read it: what is seen is what is stored.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.cli.output import for_terminal, talk
from worker.clock import SystemClock
from worker.states import PromptState
from worker.store import Selection

if TYPE_CHECKING:
    from rich.live import Live

    from worker.store import Store
    from worker.store.rows import ResultRow
    from worker.supervisor.worker import Worker

LOOK_SECONDS = 0.3
BAR_WIDTH = 40


@dataclass(frozen=True, slots=True)
class Look:
    """The batch at one moment; `texts` is what the running prompts have so far, by name."""

    rows: Sequence[ResultRow]
    texts: Mapping[str, str]

    @property
    def answered(self) -> Sequence[ResultRow]:
        """The prompts that are done."""
        return [row for row in self.rows if row.status is PromptState.COMPLETED]


class Progress:
    """Follows one small batch."""

    def __init__(self, store: Store, batch: str) -> None:
        self._store = store
        self._batch = batch
        self._live: Live | None = None
        self._told = {row.id for row in self._look().answered}

    async def follow(self, _worker: Worker) -> None:
        """Show how it goes until cancelled."""
        clock = SystemClock()
        with self._screen() as self._live:
            while True:
                self._show(await asyncio.to_thread(self._look))
                await clock.sleep(LOOK_SECONDS)

    def finish(self) -> None:
        """Show what happened since the last look."""
        self._live = None
        self._show(self._look())

    def _look(self) -> Look:
        rows = list(self._store.results(Selection(batch=self._batch)))
        running = [row for row in rows if row.status is PromptState.RUNNING and self._live]
        return Look(rows, {_name(row): self._text(row.run_id) for row in running})

    def _text(self, run_id: int | None) -> str:
        return "" if run_id is None else "".join(text for _, text in self._store.text(run_id))

    def _show(self, look: Look) -> None:
        for row in look.answered:
            if row.id not in self._told:
                self._told.add(row.id)
                self._say(
                    f"{len(self._told)} of {len(look.rows)} answered: {_name(row)},"
                    f" {row.completion_tokens or 0} tokens in {row.seconds or 0.0:.1f} s"
                )
        if self._live:
            self._live.update(screenful(look, self._live.console.width))

    def _say(self, line: str) -> None:
        if self._live:
            self._live.console.print(f"spool: {line}", highlight=False, markup=False)
        else:
            talk(line)

    def _screen(self) -> AbstractContextManager[Live | None]:
        if not sys.stderr.isatty():
            return nullcontext()
        from rich.console import Console
        from rich.live import Live

        return Live(console=Console(stderr=True), transient=True, refresh_per_second=4)


def screenful(look: Look, width: int) -> Any:
    """A bar, and under it the newest words of each running prompt, a line each."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    total, answered = len(look.rows), len(look.answered)
    head = Table.grid(padding=(0, 1))
    head.add_row(ProgressBar(total or 1, answered, width=BAR_WIDTH), f"{answered} of {total}")
    names = max(map(len, look.texts), default=0)
    lines = []
    for name, text in look.texts.items():
        words = for_terminal(" ".join(text.split()))
        line = Text(f"{name.rjust(names)}  ", style="cyan", no_wrap=True, overflow="crop")
        lines.append(line.append(words[-max(1, width - names - 3) :], style="default"))
    return Group(head, *lines)


def _name(row: ResultRow) -> str:
    return row.custom_id or f"prompt {row.id}"
