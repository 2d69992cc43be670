"""The names that people give to what they ask: one table for rows of every format.

Data sets, request bodies and tables call the same thing by many names. Each name that is
understood stands here once, with what it becomes; docs/input.md shows the same table, and a test
keeps both equal. Every other key is kept as metadata. `add` reports what was taken for what.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from worker.suggest import nearest

_LIKENESS = 0.82  # of 1: "temperture" is a slip, "reason" is not "reasoning"
_SHOWN_CHARACTERS = 40


class Use(StrEnum):
    """What becomes of the value of a key."""

    OWN = "what its name says"
    PROMPT = "prompt"
    BESIDE = "text behind an instruction"
    CONVERSATION = "messages"
    ID = "custom_id"
    SYSTEM = "system"
    OPTIONS = "request options"
    OPTION = "request option"
    DROPPED = "left out, Spool always streams"


class Kind(NamedTuple):
    """A type of value, as messages call it."""

    name: str
    types: tuple[type, ...]


NUMBER = Kind("a number", (int, float))
WHOLE = Kind("a whole number", (int,))
TRUTH = Kind("true or false", (bool,))
TEXT = Kind("a text", (str,))
LIST = Kind("a list", (list,))
OBJECT = Kind("an object", (dict,))
TEXTS = Kind("a text or a list of texts", (str, list))
CHOICE = Kind("a text or an object", (str, dict))
COUNT = Kind("true, false or a whole number", (bool, int))
PERIOD = Kind("a text or a number", (str, int, float))

OPTION_KINDS = MappingProxyType(
    {
        "temperature": NUMBER,
        "top_p": NUMBER,
        "top_k": WHOLE,
        "min_p": NUMBER,
        "typical_p": NUMBER,
        "max_tokens": WHOLE,
        "max_completion_tokens": WHOLE,
        "max_output_tokens": WHOLE,
        "max_new_tokens": WHOLE,
        "min_tokens": WHOLE,
        "num_predict": WHOLE,
        "n_predict": WHOLE,
        "num_ctx": WHOLE,
        "n": WHOLE,
        "best_of": WHOLE,
        "seed": WHOLE,
        "stop": TEXTS,
        "stop_sequences": TEXTS,
        "stop_token_ids": LIST,
        "presence_penalty": NUMBER,
        "frequency_penalty": NUMBER,
        "repetition_penalty": NUMBER,
        "repeat_penalty": NUMBER,
        "length_penalty": NUMBER,
        "logit_bias": OBJECT,
        "logprobs": COUNT,
        "top_logprobs": WHOLE,
        "ignore_eos": TRUTH,
        "tools": LIST,
        "tool_choice": CHOICE,
        "parallel_tool_calls": TRUTH,
        "response_format": OBJECT,
        "guided_json": CHOICE,
        "guided_choice": LIST,
        "guided_regex": TEXT,
        "guided_grammar": TEXT,
        "structured_outputs": OBJECT,
        "reasoning": OBJECT,
        "reasoning_effort": TEXT,
        "thinking": OBJECT,
        "think": TRUTH,
        "verbosity": TEXT,
        "chat_template_kwargs": OBJECT,
        "extra_body": OBJECT,
        "keep_alive": PERIOD,
        "service_tier": TEXT,
    }
)
# Data sets keep chains of thought under these names: a value that fits no request is data.
ALSO_DATA = frozenset({"reasoning", "thinking", "think"})
OWN_FIELDS = (
    "prompt", "messages", "custom_id", "endpoint", "model", "system",
    "options", "metadata", "priority", "max_attempts",
)  # fmt: skip

USES = MappingProxyType(
    {
        **dict.fromkeys(OWN_FIELDS, Use.OWN),
        **dict.fromkeys(
            ("instruction", "question", "query", "text", "content", "input", "inputs"), Use.PROMPT
        ),
        "context": Use.BESIDE,
        **dict.fromkeys(("conversations", "conversation"), Use.CONVERSATION),
        "id": Use.ID,
        **dict.fromkeys(("system_prompt", "system_message", "instructions"), Use.SYSTEM),
        **dict.fromkeys(("sampling_params", "generation_config", "parameters"), Use.OPTIONS),
        **dict.fromkeys(OPTION_KINDS, Use.OPTION),
        **dict.fromkeys(("stream", "stream_options"), Use.DROPPED),
    }
)
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@lru_cache(maxsize=1024)
def known_as(name: str) -> str:
    """The name in the table that a key stands for: `Max Tokens` and `maxTokens` are `max_tokens`.

    A key that stands for none of them comes back as it is.
    """
    if name in USES:
        return name
    plain = re.sub(r"[\s-]+", "_", _WORD_START.sub("_", name.strip())).lower()
    return plain if plain in USES else name


@lru_cache(maxsize=1024)
def misspelt(name: str) -> str | None:
    """The field or option that a key of an object looks like, or None if it looks like none."""
    if name in USES or known_as(name) in USES:
        return None
    return nearest(name, (*OWN_FIELDS, *OPTION_KINDS), likeness=_LIKENESS)


def option_value(name: str, value: Any) -> tuple[Any, str]:
    """The value of a request option, and what is wrong with it or nothing."""
    kind = OPTION_KINDS[name]
    if isinstance(value, str) and str not in kind.types and value.lstrip()[:1] in ("[", "{"):
        with suppress(ValueError, RecursionError):  # data sets keep tools as JSON in a text
            value = json.loads(value)
    if isinstance(value, float) and value.is_integer() and float not in kind.types:
        # Tables turn whole numbers with gaps between them into fractions.
        value = int(value) if int in kind.types else value
    fits = isinstance(value, kind.types) and (type(value) is not bool or bool in kind.types)
    return value, "" if fits else f"expected {kind.name}, got {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'the text "{ascii(value[:_SHOWN_CHARACTERS])[1:-1]}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    return "an object" if isinstance(value, dict) else "a list"
