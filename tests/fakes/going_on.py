"""How the fake server goes on with an answer that was cut, as llama.cpp and Ollama do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tests.fakes.plan import Behaviour
from tests.fakes.words import words

CLOSED = "<|end|>\n<|assistant|>"


def carried_of(body: dict[str, Any]) -> str:
    """The text that a chat is asked to go on with: that of a last message of the assistant."""
    last = (body.get("messages") or [{}])[-1]
    is_ours = isinstance(last, dict) and last.get("role") == "assistant"
    text = last.get("content") if is_ours else ""
    return text if isinstance(text, str) else ""


def tokens_of(behaviour: Behaviour, prompt: str, carried: str, count: int) -> Iterator[str]:
    """What is left of the first `count` tokens of an answer behind the text that is carried on."""
    at = 0
    for token in words(behaviour.voice + prompt, count):
        end = at + len(token)
        if end > len(carried):
            yield token[max(0, len(carried) - at) :]
        at = end


def voice_of(earlier: Iterable[tuple[str, Behaviour]], prompt: str, carried: str) -> str | None:
    """The voice of the answer to this prompt that begins with this text; None: nobody said it."""
    for asked, behaviour in earlier:
        if asked == prompt:
            whole = "".join(words(behaviour.voice + prompt, behaviour.tokens))
            if whole.startswith(carried):
                return behaviour.voice
    return None


def rendered(path: str, body: dict[str, Any], *, goes_on: bool) -> bytes | None:
    """The answer to a question for the prompt of a request; None: it is no such question."""
    prompt = json.dumps(body.get("messages")) + carried_of(body)
    prompt += "" if goes_on else CLOSED
    if path == "/apply-template":
        return json.dumps({"prompt": prompt}).encode()
    if body.get("_debug_render_only"):
        return json.dumps({"_debug_info": {"rendered_template": prompt}}).encode()
    return None
