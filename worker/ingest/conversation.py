"""Conversations of data sets (ShareGPT and its kin) as chat messages.

`[{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]`, also with `role` and
`content`. A conversation that ends with the model's turn ends with the answer that is wanted from
the model now: that turn is left out of the request and kept as metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from worker.errors import InputError

REFERENCE = "reference_answer"  # the key of the metadata that keeps the last turn
_CALL = "function_call"
_ROLES = MappingProxyType(
    {
        **dict.fromkeys(("human", "user", "prompter"), "user"),
        **dict.fromkeys(
            ("gpt", "chatgpt", "assistant", "model", "bot", "bing", "bard"), "assistant"
        ),
        **dict.fromkeys(("system", "developer"), "system"),
        **dict.fromkeys(("tool", "observation", "function_response", "tool_response"), "tool"),
        **dict.fromkeys((_CALL, "tool_call"), _CALL),
    }
)
Message = dict[str, Any]


def as_messages(name: str, turns: Any) -> tuple[list[Message], Any]:
    """The messages of a request, and the last answer if the conversation ends with one.

    Raises:
        InputError: a turn has no role or no text that can be understood.
    """
    messages: list[Message] = []
    calls: list[str] = []  # ids of calls that wait for their results
    for number, turn in enumerate(rows_of(turns)):
        messages.append(_message(f"{name}[{number}]", turn, calls, number))
    last = messages[-1] if messages else None
    answer = None
    if last is not None and last["role"] == "assistant" and "tool_calls" not in last:
        answer = messages.pop()["content"]
    if not any(message["role"] != "system" for message in messages):
        raise InputError(f"asks nothing in its {name}: a turn of the user is missing")
    return messages, answer


def rows_of(turns: Any) -> Sequence[Any]:
    """The turns one by one; some tables keep them as an object with a list for each key."""
    if isinstance(turns, Mapping) and all(isinstance(each, list) for each in turns.values()):
        return [dict(zip(turns, each, strict=True)) for each in zip(*turns.values(), strict=False)]
    return turns if isinstance(turns, Sequence) and not isinstance(turns, str) else ()


def without_gaps(value: Any) -> Any:
    """Nested values without the nulls that a table writes where a row lacks a key.

    A `content` may be null: a message that only calls tools has none.
    """
    if isinstance(value, Mapping):
        return {
            key: without_gaps(each)
            for key, each in value.items()
            if each is not None or key == "content"
        }
    return [without_gaps(each) for each in value] if isinstance(value, list) else value


def _message(where: str, turn: Any, calls: list[str], number: int) -> Message:
    if not isinstance(turn, Mapping):
        raise InputError(f"has a turn that is not an object ({where})")
    said = turn.get("from", turn.get("role"))
    role = _ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        known = "human, gpt, system, tool"
        raise InputError(f'has a turn whose "from" is none of {known} ({where}): change it there')
    text = turn.get("value", turn.get("content"))
    if role == _CALL:
        return _calling(where, text, calls, number)
    if not isinstance(text, (str, list)):
        raise InputError(f'has a turn without a text as "value" ({where})')
    message: Message = {"role": role, "content": text}
    if role == "tool" and calls:
        message["tool_call_id"] = calls.pop(0)
    return message


def _calling(where: str, text: Any, calls: list[str], number: int) -> Message:
    """A turn that calls functions, as the message of an assistant."""
    try:
        found = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        found = None
    asked = found if isinstance(found, list) else [found]
    if not all(isinstance(each, Mapping) and isinstance(each.get("name"), str) for each in asked):
        raise InputError(f"has a call that is not JSON with a name and arguments ({where})")
    made = []
    for index, each in enumerate(asked):
        arguments = each.get("arguments", {})
        written = arguments if isinstance(arguments, str) else json.dumps(arguments)
        calls.append(f"call_{number}_{index}")
        function = {"name": each["name"], "arguments": written}
        made.append({"id": calls[-1], "type": "function", "function": function})
    return {"role": "assistant", "content": None, "tool_calls": made}
