"""OpenAI Batch output and error files, line by line as OpenAI's own clients read them.

A completed prompt becomes an output line whose body has the shape of the API
that was asked for: the `url` that `add` kept from a batch file, or a chat
completion for prompts that came in other ways.  A failed or cancelled one
becomes an error line: with the response if a server answered with an HTTP error,
with `response: null` if it never got that far.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from worker.export.pieces import Pieces, Texts, calls_of, text_of, write_line
from worker.records import BATCH_URL, Json, Kind
from worker.states import PromptState
from worker.wire.finish_reason import FinishGroup, finish_group

if TYPE_CHECKING:
    from worker.store.rows import ResultRow

_OK = 200
_LOWEST_ERROR = 400
_REASONS = {
    FinishGroup.TRUNCATED: "length",
    FinishGroup.TOOLS: "tool_calls",
    FinishGroup.REFUSED: "content_filter",
}
_CLIENT_ERRORS = range(400, 500)


@dataclass(slots=True)
class Written:
    """How many lines went where; `left_out` are failures without a file for them."""

    output: int = 0
    errors: int = 0
    left_out: int = 0


def write(rows: Iterable[ResultRow], texts: Texts, out: TextIO, errors: TextIO | None) -> Written:
    """Write completed prompts to `out` and the others, which are all final, to `errors`."""
    written = Written()
    for row in rows:
        if row.status is PromptState.COMPLETED:
            write_line(out, _output_line(row, texts))
            written.output += 1
        elif errors is not None:
            write_line(errors, _error_line(row))
            written.errors += 1
        else:
            written.left_out += 1
    return written


def _output_line(row: ResultRow, texts: Texts) -> dict[str, Any]:
    return {
        **_identity(row),
        "response": {
            "status_code": row.http_status or _OK,
            "request_id": row.request_id or f"req_{row.run_id}",
            "body": _body(row, texts),
        },
        "error": None,
    }


def _error_line(row: ResultRow) -> dict[str, Any]:
    code = row.error_code or str(row.status)
    message = row.error or f"the prompt is {row.status}"
    if row.http_status is None or row.http_status < _LOWEST_ERROR:
        return {**_identity(row), "response": None, "error": {"code": code, "message": message}}
    kind = "invalid_request_error" if row.http_status in _CLIENT_ERRORS else "server_error"
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return {
        **_identity(row),
        "response": {
            "status_code": row.http_status,
            "request_id": row.request_id or f"req_{row.run_id}",
            "body": body,
        },
        "error": None,
    }


def _identity(row: ResultRow) -> dict[str, Any]:
    # A batch line must have a custom_id; prompts that have none are known by their id.
    return {"id": f"batch_req_{row.id}", "custom_id": row.custom_id or f"prompt-{row.id}"}


def _url(row: ResultRow) -> Json:
    """Which API was asked for; None where the metadata do not say, or cannot be read."""
    try:  # the digits of numbers do not matter here, and may be too many for Python
        said = json.loads(row.metadata_json or "null", parse_int=str)
    except (ValueError, RecursionError):
        return None
    return said.get(BATCH_URL) if isinstance(said, dict) else None


def _body(row: ResultRow, texts: Texts) -> dict[str, Any]:
    url = _url(row)
    content = text_of(texts, row.run_id) or Pieces((), only="")
    if url == "/v1/completions":
        return _completion(row, content)
    tools = calls_of(texts, row.run_id)
    if url == "/v1/responses":
        return _response(row, content, tools)
    return _chat_completion(row, content, tools, text_of(texts, row.run_id, Kind.THINKING))


def _chat_completion(
    row: ResultRow, content: Pieces, tools: list[dict[str, Any]], thinking: Pieces | None
) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if thinking:
        message["reasoning_content"] = thinking  # as vLLM and DeepSeek call it
    if tools:
        message["tool_calls"] = [
            {
                "id": call["id"] or f"call_{row.run_id}_{call['index']}",
                "type": "function",
                "function": {"name": call["name"] or "", "arguments": call["arguments"]},
            }
            for call in tools
        ]
    reason = _finish_reason(row)
    if tools and reason == "stop":  # Ollama's word for the end of a call, too
        reason = "tool_calls"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return _envelope(row, "chatcmpl", "chat.completion", choice)


def _completion(row: ResultRow, content: Pieces) -> dict[str, Any]:
    reason = _finish_reason(row)
    choice = {"index": 0, "text": content, "logprobs": None, "finish_reason": reason}
    return _envelope(row, "cmpl", "text_completion", choice)


def _envelope(row: ResultRow, prefix: str, kind: str, choice: dict[str, Any]) -> dict[str, Any]:
    body = {
        "id": f"{prefix}-{row.run_id}",
        "object": kind,
        "created": _unix(row),
        "model": row.model or "",
        "choices": [choice],
    }
    usage = _tokens(row)
    if usage:
        names = ("prompt_tokens", "completion_tokens", "total_tokens")
        body["usage"] = dict(zip(names, usage, strict=True))
    return body


def _response(row: ResultRow, content: Pieces, tools: list[dict[str, Any]]) -> dict[str, Any]:
    cut = finish_group(row.finish_reason) is FinishGroup.TRUNCATED
    status = "incomplete" if cut else "completed"
    message = {
        "type": "message",
        "id": f"msg_{row.run_id}",
        "role": "assistant",
        "status": status,
        "content": [{"type": "output_text", "text": content, "annotations": []}],
    }
    calls = [
        {
            "type": "function_call",
            "id": f"fc_{row.run_id}_{call['index']}",
            "call_id": call["id"] or f"call_{row.run_id}_{call['index']}",
            "name": call["name"] or "",
            "arguments": call["arguments"],
            "status": "completed",
        }
        for call in tools
    ]
    body: dict[str, Any] = {
        "id": f"resp_{row.run_id}",
        "object": "response",
        "created_at": _unix(row),
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": None,
        "metadata": {},
        "model": row.model or "",
        "output": [message, *calls],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
    }
    usage = _tokens(row)
    if usage:
        names = ("input_tokens", "output_tokens", "total_tokens")
        body["usage"] = {
            **dict(zip(names, usage, strict=True)),
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }
    return body


def _finish_reason(row: ResultRow) -> str:
    """OpenAI's word for the server's; what has no counterpart was at least an end."""
    return _REASONS.get(finish_group(row.finish_reason), "stop")


def _tokens(row: ResultRow) -> tuple[int, int, int] | None:
    """Prompt, completion and total; None where the server reported nothing."""
    if row.prompt_tokens is None and row.completion_tokens is None:
        return None
    asked, answered = row.prompt_tokens or 0, row.completion_tokens or 0
    return asked, answered, asked + answered


def _unix(row: ResultRow) -> int:
    moment = row.finished_at or row.created_at
    return 0 if moment is None else int(moment.timestamp())
