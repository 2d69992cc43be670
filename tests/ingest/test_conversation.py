"""Conversations of data sets become chat messages that a server understands."""

from __future__ import annotations

import pytest

from worker.errors import InputError
from worker.ingest.conversation import as_messages, rows_of, without_gaps


def turns(*pairs):
    return [{"from": said, "value": text} for said, text in pairs]


def test_turns_become_messages():
    """In their order, a system text first."""
    said = turns(("system", "s"), ("human", "a"), ("gpt", "b"), ("human", "c"))
    messages, answer = as_messages("conversations", said)
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert [message["content"] for message in messages] == ["s", "a", "b", "c"]
    assert answer is None


def test_the_last_answer_is_what_is_asked_for_now():
    """It is no part of the request; else the model would go on with it, or a server refuse it."""
    messages, answer = as_messages("conversations", turns(("human", "a"), ("gpt", "b")))
    assert (messages, answer) == ([{"role": "user", "content": "a"}], "b")


def test_calls_and_their_results_keep_together():
    """A server wants to know which call a result answers."""
    said = turns(
        ("human", "a"),
        ("function_call", '{"name": "f", "arguments": {"x": 1}}'),
        ("observation", "42"),
    )
    _, call, result = as_messages("conversations", said)[0]
    (made,) = call["tool_calls"]
    assert made["function"] == {"name": "f", "arguments": '{"x": 1}'}
    assert result == {"role": "tool", "content": "42", "tool_call_id": made["id"]}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (turns(("narrator", "a")), 'whose "from" is none of human, gpt, system, tool (c[0])'),
        ([{"from": "human"}], 'without a text as "value" (c[0])'),
        ([3], "a turn that is not an object (c[0])"),
        (turns(("human", "a"), ("function_call", "f(x)")), "is not JSON with a name"),
        ([], "asks nothing in its c"),
        (turns(("system", "a"), ("gpt", "b")), "asks nothing in its c"),
        ("text", "asks nothing in its c"),
    ],
)
def test_what_is_no_conversation_is_told(said, words):
    """With the place."""
    with pytest.raises(InputError) as caught:
        as_messages("c", said)
    assert words in str(caught.value)


def test_an_object_of_lists_is_a_list_of_objects():
    """As some tables keep them."""
    assert rows_of({"from": ["human"], "value": ["a"]}) == [{"from": "human", "value": "a"}]


def test_gaps_of_a_table_are_not_sent():
    """A null where a row lacks a key is nothing that was said; an empty content is."""
    message = {"role": "assistant", "content": None, "name": None, "parts": [{"a": 1, "b": None}]}
    assert without_gaps(message) == {"role": "assistant", "content": None, "parts": [{"a": 1}]}
