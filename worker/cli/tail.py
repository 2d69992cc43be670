"""`spool tail`: the text of prompts as it is flushed, from any process, on any machine.

It reads chunks by their number, so it can be resumed (`--after RUN:SEQ`, which it says itself
when it is interrupted), and it follows a prompt from one attempt to the next: a new run begins
its text from the start, or where the one before was cut, and standard error says so.  What is new
is found by `worker.client.tail`; this file prints it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

import click

from worker.cli.output import data, for_terminal, json_line, json_option, talk
from worker.cli.param_types import WholeNumber
from worker.cli.selection_options import PromptId
from worker.cli.session import Session, session
from worker.cli.show import found, state_in_words
from worker.client.tail import ChangeDetector, Piece, TailReader
from worker.clock import Clock, SystemClock
from worker.diagnosis.phrases import counted
from worker.diagnosis.wait_reasons import AGAIN_SECONDS, of_prompt
from worker.errors import NotFound, StoreBusy
from worker.records import Kind
from worker.states import FINAL_PROMPT_STATES, PromptState

if TYPE_CHECKING:
    from worker.store import Store

_ASK_SECONDS = 5.0  # between two questions what a prompt without new text waits for
_AWAY_SECONDS = 1.0  # between two questions to a database that does not answer
_LARGEST_SEQ = 2**31 - 1
_LINE_PIECES = 32  # chunks without a line end, after which one is put in: lines take memory


@dataclass(slots=True)
class Followed:
    """One prompt, and what of its text waits to be printed."""

    text: TailReader
    line: list[str] = field(default_factory=list)  # with several prompts: a line not yet whole

    @property
    def id(self) -> int:
        """Of the prompt."""
        return self.text.prompt_id


def _places(_ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[int, int]:
    """Chunks by run, of `RUN:SEQ`."""
    places = {}
    for value in values:
        run, colon, seq = value.partition(":")
        if not (colon and run.isdecimal() and seq.isdecimal() and int(seq) <= _LARGEST_SEQ):
            raise click.BadParameter(
                f"{value!r} is not RUN:SEQ, such as 7:12, which --json shows with every piece",
                param=param,
            )
        places[int(run)] = int(seq)
    return places


@click.command(short_help="The text of prompts while it streams.")
@click.argument("prompt_ids", metavar="ID...", nargs=-1, type=PromptId(), required=True)
@click.option("-f", "--follow", is_flag=True, help="Go on until every prompt is finished.")
@click.option(
    "--after",
    metavar="RUN:SEQ",
    multiple=True,
    callback=_places,
    help="Go on behind this chunk of this run; repeatable, for several IDs.",
)
@click.option(
    "--after-seq",
    metavar="N",
    type=WholeNumber(0, _LARGEST_SEQ),
    help="The same for the latest run of a single ID.",
)
@click.option("--thinking", is_flag=True, help="What the model thinks, instead of its answer.")
@json_option
@session
@click.pass_context
def command(
    ctx: click.Context,
    session: Session,
    /,
    *,
    prompt_ids: tuple[int, ...],
    follow: bool,
    after: dict[int, int],
    after_seq: int | None,
    thinking: bool,
    as_json: bool,
) -> None:
    """Print the text of prompts as far as it is stored; -f goes on while they stream.

    With several prompts each line begins with the id of its prompt. Interrupted, it says how to
    go on from where it was. Exits 1 if a prompt that was followed did not complete.
    """
    ids = tuple(dict.fromkeys(prompt_ids))
    if after_seq is not None and len(ids) > 1:
        raise click.UsageError("--after-seq goes with one ID: each prompt counts its own chunks")
    if after_seq is not None and after:
        raise click.UsageError("--after-seq and --after say the same: keep one")
    store = session.store()
    kind = Kind.THINKING if thinking else Kind.TEXT
    tail = _Tail(store, ids, kind, after=after, after_seq=after_seq, as_json=as_json)
    try:
        tail.look()
        if follow:
            clock = SystemClock()
            asyncio.run(_follow(tail, ChangeDetector(store, clock), _Patience(store, clock), clock))
    except KeyboardInterrupt:
        tail.say_where()
        raise
    tail.finish(follow=follow)
    if follow and any(each.text.state is not PromptState.COMPLETED for each in tail.followed):
        ctx.exit(1)


async def _follow(tail: _Tail, changes: ChangeDetector, patience: _Patience, clock: Clock) -> None:
    away = False
    while not tail.done:
        try:
            patience.tell(tail.followed)
            await changes.wait()
            tail.look()
            away = False
        except StoreBusy as error:
            if not away:
                talk(f"{error.message}; asking again")
            away = True
            await clock.sleep(_AWAY_SECONDS)


class _Patience:
    """Says of prompts without new text what they wait for."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._asked_at = -inf
        self._told: dict[int, tuple[str, float]] = {}
        self._places: dict[int, tuple[int | None, int]] = {}

    def tell(self, followed: Sequence[Followed]) -> None:
        """At once, when the reason changes, and again after a while."""
        now = self._clock.monotonic()
        if now - self._asked_at < _ASK_SECONDS:
            return
        self._asked_at = now
        for each in followed:
            place = (each.text.run_id, each.text.seq)
            moved, self._places[each.id] = place != self._places.get(each.id), place
            if not each.text.done and (not moved or each.text.seq < 0):
                self._tell(each, now)

    def _tell(self, each: Followed, now: float) -> None:
        detail = found(self._store, each.id)
        attempts = self._store.attempts(each.id)
        holder = attempts[-1].worker_id if attempts else None
        wait = of_prompt(detail, self._store.workers(), holder, self._clock.now())
        kind, told_at = self._told.get(each.id, ("", -inf))
        if detail.status in FINAL_PROMPT_STATES or (
            wait.kind == kind and now - told_at < AGAIN_SECONDS
        ):
            return
        self._told[each.id] = (wait.kind, now)
        talk(f"prompt {each.id} waits: {wait.words}")


class _Tail:
    """Prints what is new of each prompt."""

    def __init__(
        self,
        store: Store,
        ids: tuple[int, ...],
        kind: Kind,
        *,
        after: dict[int, int],
        after_seq: int | None,
        as_json: bool,
    ) -> None:
        self._store = store
        self._as_json = as_json
        self._kind = kind
        self.followed = []
        left = dict(after)
        for prompt_id in ids:
            detail = found(store, prompt_id)  # before anything is printed
            run_id, seq = None, -1
            if after_seq is not None:
                run_id, seq = detail.run_id, after_seq
            for attempt in store.attempts(prompt_id) if left else ():
                if attempt.run_id in left:
                    run_id, seq = attempt.run_id, left.pop(attempt.run_id)
            follower = TailReader(store, prompt_id, kind, run_id=run_id, after_seq=seq)
            self.followed.append(Followed(follower))
        if left:
            raise NotFound(
                f"--after: run {min(left)} is no attempt at these prompts;"
                f" `spool show {ids[0]} --attempts` lists them"
            )

    @property
    def done(self) -> bool:
        return all(each.text.done for each in self.followed)

    def look(self) -> None:
        """Print everything that was stored since the last look."""
        for each in [each for each in self.followed if not each.text.done]:
            for piece in each.text.look():
                self._print(each, piece)
            if each.text.done:
                self._end(each)
        sys.stdout.flush()

    def _print(self, each: Followed, piece: Piece) -> None:
        if piece.fresh:
            self._end_line(each)
            talk(f"prompt {each.id}: attempt {piece.attempt} begins from the start")
        if piece.replaces_chars:
            self._end_line(each)
            again = f"the last {counted(piece.replaces_chars, 'character')} come again"
            talk(f"prompt {each.id}: attempt {piece.attempt} goes on where it was cut; {again}")
        if self._as_json:
            ids = {"prompt_id": each.id, "run_id": piece.run_id}
            seam = {"replaces_chars": piece.replaces_chars} if piece.replaces_chars else {}
            json_line({**ids, "seq": piece.seq, "text": piece.text, **seam})
        elif len(self.followed) == 1:
            each.line = [piece.text]
            data(for_terminal(piece.text), newline=False)
        else:
            self._print_lines(each, piece.text)

    def _print_lines(self, each: Followed, text: str) -> None:
        *whole, rest = text.split("\n")
        for line in whole:
            each.line.append(line)
            data(for_terminal(f"[{each.id}] {''.join(each.line)}"))
            each.line.clear()
        if rest:
            each.line.append(rest)
        if len(each.line) > _LINE_PIECES:
            self._end_line(each)

    def _end_line(self, each: Followed) -> None:
        """Whatever follows must begin on a line of its own."""
        if self._as_json or not each.line:
            return
        if len(self.followed) > 1:
            data(for_terminal(f"[{each.id}] {''.join(each.line)}"))
        elif not each.line[-1].endswith("\n"):
            data("")
        each.line.clear()
        sys.stdout.flush()

    def _end(self, each: Followed) -> None:
        self._end_line(each)
        if self._as_json:
            json_line({"prompt_id": each.id, "status": str(each.text.state)})
        if each.text.state is not PromptState.COMPLETED:
            talk(f"prompt {each.id} {state_in_words(found(self._store, each.id))}")

    def finish(self, *, follow: bool) -> None:
        """Complete the last lines; without -f, say what is not finished."""
        for each in self.followed:
            self._end_line(each)
            if not follow and not each.text.done:
                detail = found(self._store, each.id)
                talk(f"prompt {each.id} {state_in_words(detail)}; -f follows it")

    def say_where(self) -> None:
        """How to go on after an interruption."""
        for each in self.followed:
            self._end_line(each)
        ids = " ".join(str(each.id) for each in self.followed)
        places = [
            f" --after {each.text.run_id}:{each.text.seq}"
            for each in self.followed
            if each.text.seq >= 0
        ]
        how = " --thinking" if self._kind is Kind.THINKING else ""
        how += " --json" if self._as_json else ""
        talk(f"to go on: spool tail {ids} -f{how}{''.join(places)}")
