"""`spool show`: one prompt, its text, its attempts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from worker.cli.choosing import PromptId
from worker.cli.lean import give_back
from worker.cli.output import counted, data, for_terminal, json_option, moment, talk
from worker.cli.session import Session, session
from worker.errors import NotFound
from worker.records import Kind
from worker.states import PromptState

if TYPE_CHECKING:
    from worker.records import Attempt
    from worker.store import Store
    from worker.store.rows import PromptDetail

_DETAILS = (
    "id", "batch", "custom_id", "endpoint", "model", "prompt", "system", "messages", "options",
    "priority", "status", "available_at", "attempts", "max_attempts", "crashes", "runs",
    "cancel_requested_at", "run_id", "error_code", "error", "metadata", "created_at",
    "finished_at",
)  # fmt: skip


@click.command(short_help="The text of a prompt.")
@click.argument("prompt_id", metavar="[ID]", type=PromptId(), required=False)
@click.option("--custom-id", metavar="ID", help="Find it by the id its owner chose.")
@click.option("--batch", metavar="NAME", help="With --custom-id: in this batch.")
@click.option("--raw", is_flag=True, help="Exactly what the model said, to the last byte.")
@click.option("--thinking", is_flag=True, help="What the model thought, instead of its answer.")
@click.option("--attempts", is_flag=True, help="Every run of it: when, how long, how it ended.")
@json_option
@session
def command(
    session: Session,
    /,
    *,
    prompt_id: int | None,
    custom_id: str | None,
    batch: str | None,
    raw: bool,
    thinking: bool,
    attempts: bool,
    as_json: bool,
) -> None:
    """Print the answer of a prompt, or what there is of it.

    Line ends at the end of the text are left off for the eye; --raw keeps them. If the prompt is
    not completed, standard error says so, and the text is what its latest run left.
    """
    if (prompt_id is None) == (custom_id is None):
        raise click.UsageError("name one prompt: by ID, or by --custom-id")
    if batch is not None and custom_id is None:
        raise click.UsageError("--batch goes with --custom-id; an ID is enough by itself")
    give_back()
    store = session.store()
    detail = found(store, prompt_id, custom_id, batch)
    if as_json:
        _print_json(store, detail)
    elif attempts:
        _print_attempts(store.attempts(detail.id))
    else:
        _print_text(store, detail, Kind.THINKING if thinking else Kind.TEXT, raw=raw)


def found(
    store: Store, prompt_id: int | None, custom_id: str | None = None, batch: str | None = None
) -> PromptDetail:
    """The prompt that was named; raises NotFound with the next step."""
    if prompt_id is None:
        ids = store.find(custom_id or "", batch)
        where = f" in batch {batch!r}" if batch else ""
        if not ids:
            raise NotFound(
                f"no prompt has the custom_id {custom_id!r}{where}: `spool export` lists them"
            )
        if len(ids) > 1:
            listed = ", ".join(map(str, ids[:5]))
            raise NotFound(
                f"{len(ids)} prompts have the custom_id {custom_id!r}{where}: add --batch, or use"
                f" an ID ({listed}{', ...' if len(ids) > 5 else ''})"  # noqa: PLR2004
            )
        prompt_id = ids[0]
    detail = store.prompt(prompt_id)
    if detail is None:
        raise NotFound.prompt(prompt_id)
    return detail


def state_in_words(detail: PromptDetail) -> str:
    """What stands between a prompt and its answer."""
    match detail.status:
        case PromptState.QUEUED if detail.runs:
            return f"is queued again after {counted(detail.runs, 'attempt')}{_why(detail)}"
        case PromptState.QUEUED:
            return "is queued and was not started yet"
        case PromptState.RUNNING:
            return "is still streaming"
        case PromptState.FAILED:
            return f"failed{_why(detail)}"
        case PromptState.CANCELLED:
            return "was cancelled"
        case PromptState.COMPLETED:
            return "is completed"


def _why(detail: PromptDetail) -> str:
    return f" ({detail.error_code}: {detail.error})" if detail.error_code else ""


def _print_text(store: Store, detail: PromptDetail, kind: Kind, *, raw: bool) -> None:
    parts: Iterable[str] = ()
    if detail.run_id is not None:
        parts = (text for _, text in store.text(detail.run_id, kind))
    wrote = False
    for part in parts if raw else without_last_newlines(parts):
        wrote = True
        data(part if raw else for_terminal(part), newline=False)
    if wrote and not raw:
        data("")
    if detail.status is not PromptState.COMPLETED:
        left = "this is what its latest run left" if wrote else "there is no text"
        sys.stdout.flush()
        talk(f"prompt {detail.id} {state_in_words(detail)}; {left}")
    elif not wrote:
        talk(f"prompt {detail.id} is completed, but has no {kind}")


def without_last_newlines(parts: Iterable[str]) -> Iterator[str]:
    """The text without the line ends at its end; only those are held back."""
    held = ""
    for part in parts:
        text = held + part
        kept = text.rstrip("\r\n")
        held = text[len(kept) :]
        if kept:
            yield kept


def _print_json(store: Store, detail: PromptDetail) -> None:
    from worker.export import Pieces, text_of, write_json

    shown: dict[str, Any] = {name: getattr(detail, name) for name in _DETAILS}
    shown["status"] = str(detail.status)
    text = text_of(store, detail.run_id)
    completed = detail.status is PromptState.COMPLETED
    shown["output"] = (text or Pieces(())) if completed else None
    shown["partial_output"] = None if completed else text
    shown["thinking"] = text_of(store, detail.run_id, Kind.THINKING)
    shown["tool_calls"] = text_of(store, detail.run_id, Kind.TOOL_CALLS)
    shown["history"] = [attempt_as_json(each) for each in store.attempts(detail.id)]
    write_json(sys.stdout, shown)
    data("")


def attempt_as_json(attempt: Attempt) -> dict[str, Any]:
    """One run, as JSON has it."""
    return {
        "run_id": attempt.run_id,
        "attempt": attempt.attempt,
        "status": str(attempt.status),
        "worker_id": attempt.worker_id,
        "started_at": moment(attempt.started_at),
        "finished_at": moment(attempt.finished_at),
        "finish_reason": attempt.finish_reason,
        "chars": attempt.chars,
        "error_code": attempt.error_code,
        "error": attempt.error,
    }


def _print_attempts(attempts: Iterable[Attempt]) -> None:
    none = True
    for each in attempts:
        none = False
        lasted = ""
        if each.finished_at is not None:
            lasted = f", {(each.finished_at - each.started_at).total_seconds():.1f} s"
        how = each.finish_reason or (f"{each.error_code}: {each.error}" if each.error_code else "")
        words = f"attempt {each.attempt}: {each.status}{lasted}, {each.chars:,} characters"
        data(for_terminal(f"{words}{', ' + how if how else ''} (run {each.run_id})"))
    if none:
        talk("it was not started yet")
