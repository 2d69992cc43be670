"""Finish reasons: kept raw in the database, grouped here for people.

The words differ by server, the meanings do not; the table below is the only place that
knows them.
"""

from __future__ import annotations

from enum import StrEnum


class FinishGroup(StrEnum):
    """What a finish reason means."""

    NATURAL = "natural"  # the model had said what it wanted to say
    TRUNCATED = "truncated"  # a limit cut it
    TOOLS = "tools"  # it waits for the result of a tool, or to be continued
    REFUSED = "refused"  # filtered or refused: neither retry nor continue
    BROKEN = "broken"  # the server gave up: not an answer, whatever follows
    NOTHING = "nothing"  # a model was loaded or unloaded: nothing was generated
    UNKNOWN = "unknown"  # no reason given, or one that this table does not know


_WORDS = {
    FinishGroup.NATURAL: "stop end_turn stop_sequence eos word eos_token completed STOP COMPLETE",
    FinishGroup.TRUNCATED: (
        "length max_tokens max_output_tokens limit model_length"
        " model_context_window_exceeded repetition MAX_TOKENS incomplete"
    ),
    FinishGroup.TOOLS: "tool_calls function_call tool_use pause_turn",
    FinishGroup.REFUSED: (
        "content_filter refusal SAFETY RECITATION PROHIBITED_CONTENT BLOCKLIST SPII"
    ),
    FinishGroup.BROKEN: "abort error insufficient_system_resource",
    FinishGroup.NOTHING: "load unload",
}

# The limit of the request cut it, and no other: the same server may go on.
AT_LENGTH = frozenset({"length", "max_tokens", "max_output_tokens", "limit", "MAX_TOKENS"})
TRUNCATED_REASONS = tuple(_WORDS[FinishGroup.TRUNCATED].split())

_GROUPS = {word: group for group, words in _WORDS.items() for word in words.split()}


def finish_group(reason: str | None) -> FinishGroup:
    """The meaning of a raw finish reason; UNKNOWN for None and for words not in the table."""
    return _GROUPS.get(reason or "", FinishGroup.UNKNOWN)
