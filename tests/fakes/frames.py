"""The seven dialects as servers speak them: frames for tokens, errors, pings and the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


def dump(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def line(value: Json) -> bytes:
    return dump(value).encode() + b"\n"


def data(value: Json) -> bytes:
    return b"data: " + dump(value).encode() + b"\n\n"


def event(value: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (value["type"].encode(), dump(value).encode())


@dataclass(frozen=True)
class Count:
    prompt: int
    text: int


@dataclass(frozen=True)
class Speech:
    """How one dialect says things; every function returns whole frames.

    `whole` is the body of an answer to a request that did not ask for a stream.
    """

    dialect: str
    content_type: str
    opening: Callable[[], bytes]
    token: Callable[[str], bytes]
    thinking: Callable[[str], bytes]
    closing: Callable[[str, Count], bytes]  # usage and everything else before the done frame
    done: Callable[[str, Count], bytes]
    error: Callable[[str], bytes]
    ping: bytes
    whole: Callable[[str, str, Count], Json]
    limit: Callable[[Json], int | None]  # how many tokens the request allows


def nothing(*_: Any) -> bytes:
    return b""


def _ollama(dialect: str, put: Callable[[str, str], Json]) -> Speech:
    def frame(text: str = "", thinking: str = "", **more: Any) -> bytes:
        body = put(text, thinking)
        return line({"model": "fake", "created_at": "2026-11-22T10:00:00Z", **body, **more})

    def end(reason: str, count: Count) -> Json:
        counts = {"prompt_eval_count": count.prompt, "eval_count": count.text}
        return {"done": True, "done_reason": reason, "total_duration": 5_043_500_667, **counts}

    return Speech(
        dialect,
        "application/x-ndjson",
        opening=nothing,
        token=lambda text: frame(text, done=False),
        thinking=lambda text: frame("", text, done=False),
        closing=nothing,
        done=lambda reason, count: frame(**end(reason, count)),
        error=lambda message: line({"error": message}),
        ping=b"\n",
        whole=lambda text, reason, count: {"model": "fake", **put(text, ""), **end(reason, count)},
        limit=lambda body: (body.get("options") or {}).get("num_predict"),
    )


def _generate(text: str, thinking: str) -> Json:
    return {"response": text, **({"thinking": thinking} if thinking else {})}


def _chat(text: str, thinking: str) -> Json:
    extra = {"thinking": thinking} if thinking else {}
    return {"message": {"role": "assistant", "content": text, **extra}}


def _openai(dialect: str, kind: str, put: Callable[[str, str], Json]) -> Speech:
    head = {"id": "cmpl-1", "object": kind, "created": 1_741_569_952, "model": "fake"}

    def frame(choices: list[Json], **more: Any) -> bytes:
        return data({**head, "choices": choices, **more})

    def choice(text: str, thinking: str, reason: str | None) -> list[Json]:
        return [{"index": 0, **put(text, thinking), "finish_reason": reason}]

    def usage(count: Count) -> Json:
        total = count.prompt + count.text
        return {
            "prompt_tokens": count.prompt,
            "completion_tokens": count.text,
            "total_tokens": total,
        }

    def whole(text: str, reason: str, count: Count) -> Json:
        said = {"text": text} if "text" in put("", "") else {"message": {"content": text}}
        return {
            **head,
            "choices": [{"index": 0, **said, "finish_reason": reason}],
            "usage": usage(count),
        }

    return Speech(
        dialect,
        "text/event-stream",
        opening=lambda: frame(choice("", "", None)),
        token=lambda text: frame(choice(text, "", None)),
        thinking=lambda text: frame(choice("", text, None)),
        closing=lambda reason, count: frame(choice("", "", reason)) + frame([], usage=usage(count)),
        done=lambda _reason, _count: b"data: [DONE]\n\n",
        error=lambda message: data({"error": {"message": message, "type": "server_error"}}),
        ping=b": ping\n\n",
        whole=whole,
        limit=lambda body: body.get("max_completion_tokens", body.get("max_tokens")),
    )


def _delta(text: str, thinking: str) -> Json:
    return {"delta": {"reasoning_content": thinking} if thinking else {"content": text}}


def _text(text: str, thinking: str) -> Json:
    del thinking  # completions know none
    return {"text": text}


def _responses() -> Speech:
    def response(status: str, text: str = "", **more: Any) -> Json:
        part = {"type": "output_text", "text": text}
        output = [{"type": "message", "role": "assistant", "content": [part]}] if text else []
        return {"id": "resp_1", "status": status, "error": None, "output": output, **more}

    def delta(kind: str, text: str) -> bytes:
        where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        return event({"type": kind, **where, "delta": text})

    def final(reason: str, count: Count, text: str = "") -> Json:
        usage = {"input_tokens": count.prompt, "output_tokens": count.text}
        if reason == "length":
            why = {"reason": "max_output_tokens"}
            return response("incomplete", text, incomplete_details=why, usage=usage)
        return response("completed", text, usage=usage)

    def done(reason: str, count: Count) -> bytes:
        body = final(reason, count)
        return event({"type": f"response.{body['status']}", "response": body})

    return Speech(
        "openai-responses",
        "text/event-stream",
        opening=lambda: event({"type": "response.created", "response": response("in_progress")}),
        token=lambda text: delta("response.output_text.delta", text),
        thinking=lambda text: delta("response.reasoning_text.delta", text),
        closing=nothing,
        done=done,
        error=lambda message: event({"type": "error", "code": "server_error", "message": message}),
        ping=event({"type": "keepalive", "sequence_number": 1}),
        whole=lambda text, reason, count: final(reason, count, text),
        limit=lambda body: body.get("max_output_tokens"),
    )


def _anthropic() -> Speech:
    reasons = {"stop": "end_turn", "length": "max_tokens"}

    def delta(kind: str, **what: str) -> bytes:
        body = {"type": kind, **what}
        return event({"type": "content_block_delta", "index": 0, "delta": body})

    def opening() -> bytes:
        usage = {"input_tokens": 25, "output_tokens": 1}
        message = {"id": "msg_1", "role": "assistant", "content": [], "usage": usage}
        block = {"type": "text", "text": ""}
        return event({"type": "message_start", "message": message}) + event(
            {"type": "content_block_start", "index": 0, "content_block": block}
        )

    def closing(reason: str, count: Count) -> bytes:
        usage = {"input_tokens": count.prompt, "output_tokens": count.text}
        delta = {"stop_reason": reasons[reason], "stop_sequence": None}
        return event({"type": "content_block_stop", "index": 0}) + event(
            {"type": "message_delta", "delta": delta, "usage": usage}
        )

    def error(message: str) -> bytes:
        return event({"type": "error", "error": {"type": "api_error", "message": message}})

    def whole(text: str, reason: str, count: Count) -> Json:
        usage = {"input_tokens": count.prompt, "output_tokens": count.text}
        content = [{"type": "text", "text": text}]
        return {
            "type": "message",
            "content": content,
            "stop_reason": reasons[reason],
            "usage": usage,
        }

    return Speech(
        "anthropic-messages",
        "text/event-stream",
        opening=opening,
        token=lambda text: delta("text_delta", text=text),
        thinking=lambda text: delta("thinking_delta", thinking=text),
        closing=closing,
        done=lambda _reason, _count: event({"type": "message_stop"}),
        error=error,
        ping=event({"type": "ping"}),
        whole=whole,
        limit=lambda body: body.get("max_tokens"),
    )


def _llamacpp() -> Speech:
    def final(text: str, reason: str, count: Count) -> Json:
        counts = {"tokens_predicted": count.text, "tokens_evaluated": count.prompt}
        kind = {"stop": "eos", "length": "limit"}[reason]
        settings = {"stop": ["</s>"]}
        said = {"content": text, "stop": True, "stop_type": kind, "generation_settings": settings}
        return {"index": 0, **said, **counts}

    return Speech(
        "llamacpp-completion",
        "text/event-stream",
        opening=nothing,
        token=lambda text: data({"index": 0, "content": text, "stop": False}),
        thinking=nothing,
        closing=nothing,
        done=lambda reason, count: data(final("", reason, count)),
        error=lambda message: data({"error": {"code": 500, "message": message}}),
        ping=b":\n\n",
        whole=final,
        limit=lambda body: body.get("n_predict"),
    )


SPEECHES: dict[str, Speech] = {
    "/api/generate": _ollama("ollama-generate", _generate),
    "/api/chat": _ollama("ollama-chat", _chat),
    "/v1/chat/completions": _openai("openai-chat", "chat.completion.chunk", _delta),
    "/v1/completions": _openai("openai-completions", "text_completion", _text),
    "/v1/responses": _responses(),
    "/v1/messages": _anthropic(),
    "/completion": _llamacpp(),
}


def prompt_of(body: Json) -> str:
    """The prompt of a request in any dialect: the text of the last turn of the user."""
    asked = body.get("prompt", body.get("input"))
    if isinstance(asked, str):
        return asked
    turns = asked if isinstance(asked, list) else body.get("messages") or []
    for turn in reversed(turns):
        if isinstance(turn, dict) and turn.get("role", "user") == "user":
            content = turn.get("content") or ""
            if isinstance(content, str):
                return content
            return "".join(part.get("text", "") for part in content)
    return ""
