"""`spool tail`: the text of prompts as it is flushed, from any process, on any machine.

It reads chunks by their number, so it can be resumed (`--after-seq`), and it
follows a prompt from one attempt to the next: a new run begins its text from
the start, and standard error says so.  On SQLite it looks at the database only
when somebody has written to it.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from worker.cli.output import data, for_terminal, json_line, json_option, talk
from worker.cli.session import Session, session
from worker.cli.show import found, state_in_words
from worker.clock import Clock, SystemClock
from worker.records import Kind
from worker.states import FINAL_PROMPT_STATES, PromptState

if TYPE_CHECKING:
    from worker.store import Store
    from worker.store.rows import PromptDetail

_LOOK_SECONDS = 0.2
_ALWAYS_LOOK_SECONDS = 5.0  # whatever the database says of changes
_LINE_PIECES = 32  # chunks without a line end, after which one is put in: lines take memory


@dataclass(slots=True)
class Followed:
    """One prompt, and how far its text has been printed."""

    prompt_id: int
    run_id: int | None = None
    seq: int = -1
    line: list[str] = field(default_factory=list)  # with several prompts: a line not yet whole
    state: PromptState = PromptState.QUEUED

    @property
    def done(self) -> bool:
        """Whether nothing can follow."""
        return self.state in FINAL_PROMPT_STATES


@click.command(short_help="The text of prompts while it streams.")
@click.argument("prompt_ids", metavar="ID...", nargs=-1, type=int, required=True)
@click.option("-f", "--follow", is_flag=True, help="Go on until every prompt is finished.")
@click.option("--after-seq", metavar="N", type=int, help="Only chunks after this one.")
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
    tail = _Tail(store, ids, Kind.THINKING if thinking else Kind.TEXT, as_json=as_json)
    if after_seq is not None:
        tail.followed[0].run_id = found(store, ids[0]).run_id
        tail.followed[0].seq = after_seq
    try:
        tail.look()
        if follow:
            asyncio.run(_follow(tail, store, SystemClock()))
    except KeyboardInterrupt:
        tail.say_where()
        raise
    tail.finish(follow=follow)
    if follow and any(each.state is not PromptState.COMPLETED for each in tail.followed):
        ctx.exit(1)


async def _follow(tail: _Tail, store: Store, clock: Clock) -> None:
    version, looked_at = -1, clock.monotonic()
    while not tail.done:
        await clock.sleep(_LOOK_SECONDS)
        now_version, now = store.data_version(), clock.monotonic()
        # PostgreSQL answers 0 always, which means that nobody knows.
        if now_version and now_version == version and now - looked_at < _ALWAYS_LOOK_SECONDS:
            continue
        version, looked_at = now_version, now
        tail.look()


class _Tail:
    """Prints what is new of each prompt."""

    def __init__(self, store: Store, ids: tuple[int, ...], kind: Kind, *, as_json: bool) -> None:
        self._store = store
        self._kind = kind
        self._as_json = as_json
        self.followed = [Followed(found(store, prompt_id).id) for prompt_id in ids]

    @property
    def done(self) -> bool:
        return all(each.done for each in self.followed)

    def look(self) -> None:
        """Print everything that was stored since the last look."""
        for each in self.followed:
            if not each.done:
                self._look_at(each)
        sys.stdout.flush()

    def _look_at(self, each: Followed) -> None:
        # The state first and the text after it: a final state then means that the text is whole.
        detail = found(self._store, each.prompt_id)
        if detail.run_id != each.run_id:
            if each.run_id is not None:
                self._print_new(each)
                self._end_line(each)
                talk(f"prompt {each.prompt_id}: attempt {detail.runs} begins from the start")
            each.run_id, each.seq = detail.run_id, -1
        self._print_new(each)
        if detail.status != each.state:
            each.state = detail.status
            if each.done:
                self._end(each, detail)

    def _print_new(self, each: Followed) -> None:
        if each.run_id is None:
            return
        for seq, text in self._store.text(each.run_id, self._kind, each.seq):
            each.seq = seq
            if self._as_json:
                ids = {"prompt_id": each.prompt_id, "run_id": each.run_id}
                json_line({**ids, "seq": seq, "text": text})
            elif len(self.followed) == 1:
                each.line = [text]
                data(for_terminal(text), newline=False)
            else:
                self._print_lines(each, text)

    def _print_lines(self, each: Followed, text: str) -> None:
        *whole, rest = text.split("\n")
        for line in whole:
            each.line.append(line)
            data(for_terminal(f"[{each.prompt_id}] {''.join(each.line)}"))
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
            data(for_terminal(f"[{each.prompt_id}] {''.join(each.line)}"))
        elif not each.line[-1].endswith("\n"):
            data("")
        each.line.clear()
        sys.stdout.flush()

    def _end(self, each: Followed, detail: PromptDetail) -> None:
        self._end_line(each)
        if self._as_json:
            json_line({"prompt_id": each.prompt_id, "status": str(each.state)})
        if each.state is not PromptState.COMPLETED:
            talk(f"prompt {each.prompt_id} {state_in_words(detail)}")

    def finish(self, *, follow: bool) -> None:
        """Complete the last lines; without -f, say what is not finished."""
        for each in self.followed:
            self._end_line(each)
            if not follow and not each.done:
                detail = found(self._store, each.prompt_id)
                talk(f"prompt {each.prompt_id} {state_in_words(detail)}; -f follows it")

    def say_where(self) -> None:
        """How to go on after an interruption."""
        for each in self.followed:
            self._end_line(each)
        if len(self.followed) == 1 and self.followed[0].seq >= 0:
            each = self.followed[0]
            talk(f"to go on: spool tail {each.prompt_id} -f --after-seq {each.seq}")
