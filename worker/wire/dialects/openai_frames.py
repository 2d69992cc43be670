"""The frames of OpenAI chat and legacy completions, and of all who imitate them.

One kind of chunk for both dialects: some servers answer a chat with chunks of
completions, and the other way round.  The plain chunks hold text and nothing
else (text_only.py).  Fields that a delta is not known to have are found in `unknown`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from worker.wire.frame_schema import Holder
from worker.wire.thoughts import NoThoughts, Thoughts


class Usage(msgspec.Struct, gc=False):
    """Token counts."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Groq(msgspec.Struct, gc=False):
    """What Groq says beside its answer."""

    usage: Usage | None = None
    error: Any = None


class Delta(Thoughts, gc=False, kw_only=True, forbid_unknown_fields=True):
    """What one choice says, as a piece or whole."""

    content: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None
    images: Any = None
    annotations: Any = None
    citations: Any = None
    # Known to say nothing about the answer.
    role: Any = None
    name: Any = None
    id: Any = None
    type: Any = None
    index: Any = None
    provider_specific_fields: Any = None
    obfuscation: Any = None

    def says_more_than_text(self) -> bool:
        """Whether there is any output besides the content."""
        return bool(
            self.refusal
            or self.tool_calls
            or self.function_call
            or self.audio
            or self.images
            or self.annotations
            or self.citations
            or self.unknown
            or self.has_thoughts()
        )


class Choice(Thoughts, gc=False, kw_only=True):
    """One answer of several that a protocol allows."""

    index: int | None = None
    delta: Delta | None = None
    message: Delta | None = None
    text: Any = None
    logprobs: Any = None
    finish_reason: str | None = None
    usage: Usage | None = None

    def speaks(self) -> bool:
        """Whether there is any output in it."""
        parts = (self.delta, self.message)
        return bool(self.text or self.has_thoughts()) or any(
            part is not None and (part.content or part.says_more_than_text()) for part in parts
        )


class Chunk(Holder, gc=False, kw_only=True):
    """One frame."""

    choices: list[Choice] | None = None
    error: Any = None
    usage: Usage | None = None
    object: str | None = None
    type: str | None = None
    x_groq: Groq | None = None
    code: Any = None
    message: Any = None
    detail: Any = None
    error_code: Any = None
    citations: Any = None
    search_results: Any = None

    def is_plain(self) -> bool:
        """Whether nothing but its choices is of interest."""
        return not (
            self.choices is None
            or self.error
            or self.usage
            or self.object == "error"
            or self.x_groq
            or self.type
            or self.citations
            or self.search_results
        )


class PlainDelta(NoThoughts, gc=False, kw_only=True, forbid_unknown_fields=True):
    """A delta of text."""

    content: str
    refusal: Literal[""] | None = None
    tool_calls: None = None
    function_call: None = None
    audio: None = None
    images: None = None
    annotations: None = None
    citations: None = None
    role: str | None = None


class PlainChatChoice(NoThoughts, gc=False, kw_only=True):
    """The first choice of a chat, with text."""

    index: Literal[0]
    delta: PlainDelta
    message: None = None
    text: None = None
    logprobs: None = None
    finish_reason: Literal[""] | None = None
    usage: None = None


class PlainTextChoice(NoThoughts, gc=False, kw_only=True):
    """The first choice of a completion, with text."""

    text: str
    index: Literal[0]
    delta: None = None
    message: None = None
    logprobs: None = None
    finish_reason: Literal[""] | None = None
    usage: None = None


class PlainChunk(msgspec.Struct, gc=False, kw_only=True):
    """A chunk without anything beside its choice."""

    error: None = None
    usage: None = None
    type: None = None
    x_groq: None = None
    citations: None = None
    search_results: None = None


class PlainChatChunk(PlainChunk, gc=False, kw_only=True):
    """A chunk of a chat."""

    object: Literal["chat.completion.chunk"]
    choices: tuple[PlainChatChoice]


class PlainTextChunk(PlainChunk, gc=False, kw_only=True):
    """A chunk of a completion."""

    object: Literal["text_completion"]
    choices: tuple[PlainTextChoice]


def chat_texts(chunks: Sequence[PlainChatChunk]) -> list[str]:
    """The texts of plain chunks of a chat."""
    return [chunk.choices[0].delta.content for chunk in chunks]


def texts(chunks: Sequence[PlainTextChunk]) -> list[str]:
    """The texts of plain chunks of a completion."""
    return [chunk.choices[0].text for chunk in chunks]


def is_report(chunk: Chunk) -> bool:
    """Whether a chunk reports an error, in any of the forms that are known."""
    if chunk.error or chunk.object == "error" or chunk.type == "error":
        return True
    if chunk.x_groq is not None and chunk.x_groq.error:
        return True
    says_why = chunk.error_code or chunk.detail or (chunk.code and chunk.message)
    return chunk.choices is None and bool(says_why)
