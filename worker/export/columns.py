"""A prompt as a row: the columns of the view `results`, by the same names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.export.pieces import AsStored, Pieces, Texts, calls_of, text_of
from worker.records import Kind
from worker.states import PromptState

if TYPE_CHECKING:
    from worker.store.rows import ResultRow

COLUMNS = (
    "id",
    "batch",
    "custom_id",
    "endpoint",
    "model",
    "prompt",
    "messages",
    "status",
    "output",
    "partial_output",
    "thinking",
    "tool_calls",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "attempts",
    "seconds",
    "error_code",
    "error",
    "metadata",
    "created_at",
    "finished_at",
    "run_id",
    "text_run_id",
    "truncated",
    "continued_by",
    "carried_chars",
    "spliced",
    "total_prompt_tokens",
    "total_completion_tokens",
    "first_text_seconds",
)


def columns(row: ResultRow, texts: Texts, *, partial: bool) -> dict[str, Any]:
    """The row with its texts as `Pieces`; `partial` reads those of unfinished runs as well.

    `output` is the text of the completed run and nothing else, so that a part is never taken
    for the whole; `partial_output` is the text of the latest run, of any other prompt, that has
    text and was asked the same. `tool_calls` are whole calls, in a list.
    """
    values: dict[str, Any] = {
        "id": row.id,
        "batch": row.batch,
        "custom_id": row.custom_id,
        "endpoint": row.endpoint,
        "model": row.model,
        "prompt": row.prompt,
        "messages": AsStored.of(row.messages_json),
        "status": str(row.status),
        "output": None,
        "partial_output": None,
        "thinking": None,
        "tool_calls": None,
        "finish_reason": row.finish_reason,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "attempts": row.attempts,
        "seconds": _rounded(row.seconds),
        "error_code": row.error_code,
        "error": row.error,
        "metadata": AsStored.of(row.metadata_json),
        "created_at": row.created_at,
        "finished_at": row.finished_at,
        "run_id": row.run_id,
        "text_run_id": row.text_run_id,
        "truncated": row.truncated,
        "continued_by": row.continued_by,
        "carried_chars": row.carried_chars,
        "spliced": row.spliced,
        "total_prompt_tokens": row.total_prompt_tokens,
        "total_completion_tokens": row.total_completion_tokens,
        "first_text_seconds": _rounded(row.first_text_seconds),
    }
    completed = row.status is PromptState.COMPLETED
    if completed:
        values["output"] = text_of(texts, row.text_run_id) or Pieces((), only="")
    elif partial:
        values["partial_output"] = text_of(texts, row.text_run_id)
    if completed or partial:
        values["thinking"] = text_of(texts, row.text_run_id, Kind.THINKING)
        values["tool_calls"] = calls_of(texts, row.text_run_id) or None
    return values


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
