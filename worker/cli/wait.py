"""`spool wait`: return when a batch has finished, whoever answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING

import click

from worker.cli.output import data, json_line, json_option, talk
from worker.cli.param_types import Seconds
from worker.cli.session import Session, session
from worker.clock import Clock, SystemClock
from worker.diagnosis.phrases import counted
from worker.diagnosis.wait_reasons import AGAIN_SECONDS, of_prompts
from worker.errors import StoreBusy
from worker.states import FINAL_PROMPT_STATES, PromptState

if TYPE_CHECKING:
    from worker.store import Store
    from worker.store.statements.outcomes import Outcome

_LOOK_SECONDS = 0.5
_LOOK_SHARE = 20  # a look costs at most a twentieth of the time between two


@click.command(short_help="Return when a batch has finished.")
@click.argument("batch", required=False)
@click.option("--all", "everything", is_flag=True, help="Every prompt of the database.")
@click.option(
    "--timeout", metavar="SECONDS", type=Seconds(min=0), help="Give up after so long; exits with 1."
)
@json_option
@session
@click.pass_context
def command(
    ctx: click.Context,
    session: Session,
    /,
    *,
    batch: str | None,
    everything: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Return when every prompt of BATCH has finished, whichever worker answers it.

    Says on standard error what it waits for, at once, when that changes, and every five minutes.
    Exits with 0 if all are completed, with 1 if some failed, were cancelled, or have not finished
    within --timeout. With --all, only what failed while it waited counts.
    """
    if (batch is None) is not everything:
        raise click.UsageError("name one BATCH, or --all")
    store = session.store()
    if batch is not None:
        from worker.client.results import existing
        from worker.store import Selection

        existing(store, Selection(batch=batch))
    before = 0 if batch is not None else store.unanswered()
    waiter = Waiter(store, batch, SystemClock(), talk)
    outcome = asyncio.run(waiter.wait(inf if timeout is None else timeout))
    unanswered = outcome.unanswered if batch is not None else max(0, store.unanswered() - before)
    if as_json:
        counts = {str(each): outcome.number(each) for each in sorted(FINAL_PROMPT_STATES)}
        told = counts if batch is not None else {"unanswered": unanswered}
        json_line({"batch": batch, "left": outcome.left, **told})
    elif outcome.left:
        talk(f"after {timeout:g} s {counted(outcome.left, 'prompt')} have not finished")
    elif batch is not None:
        completed = counted(outcome.number(PromptState.COMPLETED), "prompt")
        data(f"{completed} of batch {batch} completed, {unanswered:,} failed or cancelled")
    else:
        data(f"nothing is left to do; {unanswered:,} failed or cancelled meanwhile")
    if outcome.left or unanswered:
        ctx.exit(1)


class Waiter:
    """Looks at a batch, or at everything, until nothing is left; says why that takes so long."""

    def __init__(
        self, store: Store, batch: str | None, clock: Clock, say: Callable[[str], None]
    ) -> None:
        self._store = store
        self._batch = batch
        self._clock = clock
        self._say = say
        self._told, self._told_at = "", -inf

    async def wait(self, timeout_seconds: float) -> Outcome:
        """How it stands when nothing is left, or when the time is over."""
        ends_at = self._clock.monotonic() + timeout_seconds
        until = ""
        if timeout_seconds != inf:
            end = self._clock.now() + timedelta(seconds=timeout_seconds)
            until = f"; until {end.astimezone():%H:%M:%S} at most"
        while True:
            began = self._clock.monotonic()
            outcome = self._look(until)
            now = self._clock.monotonic()
            if outcome is not None and (not outcome.left or now >= ends_at):
                return outcome
            pause = max(_LOOK_SECONDS, (now - began) * _LOOK_SHARE)
            await self._clock.sleep(max(0.0, min(pause, ends_at - now)))

    def _look(self, until: str) -> Outcome | None:
        """How it stands; None if the database does not say."""
        try:
            batch = self._batch
            outcome = self._store.unfinished() if batch is None else self._store.outcome(batch)
            if outcome.left:
                wait = of_prompts(outcome.endpoints, self._store.workers())
                self._tell(wait.kind, f"{self._whose(outcome.left)}: {wait.words}{until}")
        except StoreBusy as error:
            self._tell("away", f"{error.message}; asking again")
            return None
        return outcome

    def _whose(self, left: int) -> str:
        of = "" if self._batch is None else f" of batch {self._batch}"
        return f"waiting for {counted(left, 'prompt')}{of}"

    def _tell(self, kind: str, words: str) -> None:
        now = self._clock.monotonic()
        if kind == self._told and now - self._told_at < AGAIN_SECONDS:
            return
        self._told, self._told_at = kind, now
        self._say(words)
