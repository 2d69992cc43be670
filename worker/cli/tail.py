"""`spool tail`: the text of prompts as it is flushed, from any process, on any machine.

It reads chunks by their number, so it can be resumed (`--after-seq`), and it
follows a prompt from one attempt to the next: a new run begins its text from
the start, and standard error says so.  What is new is found by `worker.following`;
this file prints it.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from worker.cli.choosing import PromptId
from worker.cli.output import data, for_terminal, json_line, json_option, talk
from worker.cli.pairs import Whole
from worker.cli.session import Session, session
from worker.cli.show import found, state_in_words
from worker.clock import SystemClock
from worker.following import Changes, Follower, Piece
from worker.records import Kind
from worker.states import PromptState

if TYPE_CHECKING:
    from worker.store import Store

_LINE_PIECES = 32  # chunks without a line end, after which one is put in: lines take memory


@dataclass(slots=True)
class Followed:
    """One prompt, and what of its text waits to be printed."""

    text: Follower
    line: list[str] = field(default_factory=list)  # with several prompts: a line not yet whole

    @property
    def id(self) -> int:
        """Of the prompt."""
        return self.text.prompt_id


@click.command(short_help="The text of prompts while it streams.")
@click.argument("prompt_ids", metavar="ID...", nargs=-1, type=PromptId(), required=True)
@click.option("-f", "--follow", is_flag=True, help="Go on until every prompt is finished.")
@click.option("--after-seq", metavar="N", type=Whole(0), help="Only chunks after this one.")
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
    store = session.store()
    kind = Kind.THINKING if thinking else Kind.TEXT
    tail = _Tail(store, ids, kind, after_seq=after_seq, as_json=as_json)
    try:
        tail.look()
        if follow:
            asyncio.run(_follow(tail, Changes(store, SystemClock())))
    except KeyboardInterrupt:
        tail.say_where()
        raise
    tail.finish(follow=follow)
    if follow and any(each.text.state is not PromptState.COMPLETED for each in tail.followed):
        ctx.exit(1)


async def _follow(tail: _Tail, changes: Changes) -> None:
    while not tail.done:
        await changes.wait()
        tail.look()


class _Tail:
    """Prints what is new of each prompt."""

    def __init__(
        self,
        store: Store,
        ids: tuple[int, ...],
        kind: Kind,
        *,
        after_seq: int | None,
        as_json: bool,
    ) -> None:
        self._store = store
        self._as_json = as_json
        self.followed = []
        for prompt_id in ids:
            detail = found(store, prompt_id)  # before anything is printed
            follower = Follower(store, prompt_id, kind)
            if after_seq is not None:
                follower = Follower(
                    store, prompt_id, kind, run_id=detail.run_id, after_seq=after_seq
                )
            self.followed.append(Followed(follower))

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
        if self._as_json:
            ids = {"prompt_id": each.id, "run_id": piece.run_id}
            json_line({**ids, "seq": piece.seq, "text": piece.text})
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
        if len(self.followed) == 1 and self.followed[0].text.seq >= 0:
            each = self.followed[0]
            talk(f"to go on: spool tail {each.id} -f --after-seq {each.text.seq}")
