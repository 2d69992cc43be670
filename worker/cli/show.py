"""`spool show`: one prompt, its text, its attempts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from worker.app.process_tuning import give_back
from worker.cli.output import data, for_terminal, json_option, moment, talk
from worker.cli.param_types import WholeNumber
from worker.cli.selection_options import PromptId
from worker.cli.session import Session, session
from worker.diagnosis.phrases import counted
from worker.errors import NotFound
from worker.records import Kind
from worker.states import PromptState

if TYPE_CHECKING:
    from worker.store import Store
    from worker.store.rows import Attempt, PromptDetail

_DETAILS = (
    "id", "batch", "custom_id", "endpoint", "model", "prompt", "system", "messages_json",
    "options_json", "priority", "status", "available_at", "attempts", "max_attempts", "crashes",
    "runs", "cancel_requested_at", "run_id", "error_code", "error", "metadata_json", "created_at",
    "finished_at",
)  # fmt: skip


@click.command(short_help="The text of a prompt.")
@click.argument("prompt_id", metavar="[ID]", type=PromptId(), required=False)
@click.option("--custom-id", metavar="ID", help="Find it by the id its owner chose.")
@click.option("--batch", metavar="NAME", help="With --custom-id: in this batch.")
@click.option("--raw", is_flag=True, help="Exactly what the model said, to the last byte.")
@click.option("--thinking", is_flag=True, help="What the model thought, instead of its answer.")
@click.option("--attempts", is_flag=True, help="Every run of it: when, how long, how it ended.")
@click.option(
    "--attempt",
    "number",
    metavar="N",
    type=WholeNumber(1, 2**31 - 1),
    help="The text of this attempt.",
)
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
    number: int | None,
    as_json: bool,
) -> None:
    """Print the answer of a prompt, or what there is of it.

    Line ends at the end of the text are left off for the eye; --raw keeps them. If the prompt is
    not completed, standard error says so, and the text is that of its latest attempt that has
    text and was asked the same. --attempt N prints the text of any attempt.
    """
    if (prompt_id is None) == (custom_id is None):
        raise click.UsageError("name one prompt: by ID, or by --custom-id")
    if batch is not None and custom_id is None:
        raise click.UsageError("--batch goes with --custom-id; an ID is enough by itself")
    if number is not None and (attempts or as_json):
        raise click.UsageError("--attempt prints one text: leave out --attempts and --json")
    give_back()
    store = session.store()
    detail = found(store, prompt_id, custom_id, batch)
    if as_json:
        _print_json(store, detail)
    elif attempts:
        _print_attempts(store.attempts(detail.id))
    else:
        kind = Kind.THINKING if thinking else Kind.TEXT
        if number is None:
            _print_prompt(store, detail, kind, raw=raw)
        else:
            attempt = _attempt(store, detail, number)
            _print_attempt(store, detail, attempt, kind, raw=raw)


def found(
    store: Store, prompt_id: int | None, custom_id: str | None = None, batch: str | None = None
) -> PromptDetail:
    """The prompt that was named; raises NotFound with the next step."""
    if prompt_id is None:
        ids = store.find(custom_id or "", batch)
        where = f" in batch {batch!r}" if batch else ""
        if not ids:
            raise NotFound(
                f"no prompt has the custom_id {custom_id!r}{where}: `spool list` shows them"
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
        case PromptState.QUEUED:
            return _queued_in_words(detail)
        case PromptState.RUNNING:
            return "is still streaming"
        case PromptState.FAILED:
            return f"failed{_why(detail)}"
        case PromptState.CANCELLED:
            return "was cancelled"
        case PromptState.COMPLETED:
            return "is completed"


def _queued_in_words(detail: PromptDetail) -> str:
    if not detail.runs:
        return "is queued and was not started yet"
    if detail.run_id is None:
        return "is queued anew, because what it asks was changed"
    return f"is queued again after {counted(detail.runs, 'attempt')}{_why(detail)}"


def _why(detail: PromptDetail) -> str:
    return f" ({detail.error_code}: {detail.error})" if detail.error_code else ""


def _print_prompt(store: Store, detail: PromptDetail, kind: Kind, *, raw: bool) -> None:
    wrote = _print_text(store, detail.text_run_id, kind, raw=raw)
    calls = _print_calls(store, detail.text_run_id, kind, raw=raw)
    if remark := _remark(store, detail, kind, wrote=wrote, calls=calls):
        sys.stdout.flush()
        talk(f"prompt {detail.id} {remark}")


def _remark(store: Store, detail: PromptDetail, kind: Kind, *, wrote: bool, calls: bool) -> str:
    """What has to be known about the text and is not in it."""
    if detail.status is not PromptState.COMPLETED:
        left = (
            f"this is what {_whose(store, detail)} left" if wrote or calls else "there is no text"
        )
        return f"{state_in_words(detail)}; {left}"
    if detail.truncated and kind is Kind.TEXT:
        return f"is completed, but its answer was cut at its length limit ({detail.finish_reason})"
    return "" if wrote or calls else f"is completed, but has no {kind}"


def _whose(store: Store, detail: PromptDetail) -> str:
    if detail.text_run_id == detail.run_id:
        return "its latest run"
    numbers = {each.run_id: each.attempt for each in store.attempts(detail.id)}
    number = numbers.get(detail.text_run_id or 0)
    return f"attempt {number}, the latest one with text,"


def _print_attempt(
    store: Store, detail: PromptDetail, attempt: Attempt, kind: Kind, *, raw: bool
) -> None:
    wrote = _print_text(store, attempt.run_id, kind, raw=raw)
    wrote |= _print_calls(store, attempt.run_id, kind, raw=raw)
    sys.stdout.flush()
    why = f" ({attempt.error_code}: {attempt.error})" if attempt.error_code else ""
    left = "" if wrote else f"; it has no {kind}"
    talk(f"attempt {attempt.attempt} of prompt {detail.id}: {attempt.status}{why}{left}")


def _print_text(store: Store, run_id: int | None, kind: Kind, *, raw: bool) -> bool:
    parts: Iterable[str] = ()
    if run_id is not None:
        parts = (text for _, text in store.text(run_id, kind))
    wrote = False
    for part in parts if raw else without_last_newlines(parts):
        wrote = True
        data(part if raw else for_terminal(part), newline=False)
    if wrote and not raw:
        data("")
    return wrote


def _print_calls(store: Store, run_id: int | None, kind: Kind, *, raw: bool) -> bool:
    """Tool calls are a part of the answer; whether there are any."""
    from worker.export import calls_of

    calls = calls_of(store, run_id) if kind is Kind.TEXT else []
    if calls and not raw:
        data(for_terminal(json.dumps(calls, ensure_ascii=False)))
    return bool(calls)


def _attempt(store: Store, detail: PromptDetail, number: int) -> Attempt:
    found = store.attempts(detail.id)
    for each in found:
        if each.attempt == number:
            return each
    there = f"its attempts are 1 to {found[-1].attempt}" if found else "it was not started yet"
    raise NotFound(f"prompt {detail.id} has no attempt {number}: {there}")


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
    from worker.export import AsStored, Pieces, calls_of, text_of, write_json

    shown: dict[str, Any] = {}
    for name in _DETAILS:
        plain = name.removesuffix("_json")
        value = getattr(detail, name)
        shown[plain] = value if plain == name else AsStored.of(value)
    shown["status"] = str(detail.status)
    text = text_of(store, detail.text_run_id)
    completed = detail.status is PromptState.COMPLETED
    shown["output"] = (text or Pieces(())) if completed else None
    shown["partial_output"] = None if completed else text
    shown["thinking"] = text_of(store, detail.text_run_id, Kind.THINKING)
    shown["tool_calls"] = calls_of(store, detail.text_run_id) or None
    shown["text_run_id"] = detail.text_run_id
    shown["finish_reason"] = detail.finish_reason
    shown["truncated"] = detail.truncated
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
        "continues_run_id": attempt.continues_run_id,
        "carried_chars": attempt.carried_chars,
        "dropped_chars": attempt.dropped_chars,
        "continued_by": attempt.continued_by,
        "not_continued": attempt.not_continued,
    }


def _print_attempts(attempts: Iterable[Attempt]) -> None:
    none = True
    numbers: dict[int | None, int] = {}
    for each in attempts:
        none = False
        numbers[each.run_id] = each.attempt
        lasted = ""
        if each.finished_at is not None and each.started_at is not None:
            lasted = f", {(each.finished_at - each.started_at).total_seconds():.1f} s"
        how = each.finish_reason or (f"{each.error_code}: {each.error}" if each.error_code else "")
        words = f"attempt {each.attempt}: {each.status}{lasted}, {each.chars:,} characters"
        data(for_terminal(f"{words}{', ' + how if how else ''} (run {each.run_id})"))
        if each.carried_chars:
            source = f"attempt {numbers.get(each.continues_run_id, '?')}"
            seam = f"its first {each.carried_chars:,} characters are those of {source}"
            data(f"  {seam}, {each.dropped_chars or 0:,} at the end left off; then its own")
        if each.not_continued:
            data(for_terminal(f"  began again: {each.not_continued}"))
    if none:
        talk("it was not started yet")
