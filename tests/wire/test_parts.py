"""Content in parts, and calls in any wrapping."""

import pytest

from worker.errors import Malformed
from worker.records import Kind
from worker.wire.parts import named, parts_of


def test_parts_are_text_thoughts_or_kept_as_they_came():
    image = {"type": "image_url", "image_url": {"url": "x"}}
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "t"}, "u"]},
        {"type": "text", "text": "a"},
        {"type": "output_text", "text": "b"},
        {"type": "refusal", "refusal": "c"},
        "d",
        image,
        None,
    ]
    assert list(parts_of(content)) == [
        (Kind.THINKING, "tu"),
        *((Kind.TEXT, text) for text in "abcd"),
        (None, image),
    ]
    assert list(parts_of("text")) == list(parts_of(None)) == []


@pytest.mark.parametrize(
    "call",
    [
        {"function": {"name": "f", "arguments": "{}"}},
        {"custom": {"name": "f", "input": "{}"}},
        {"name": "f", "arguments": "{}"},
    ],
)
def test_a_call_is_found_in_any_wrapping(call):
    assert named(call) == ("f", "{}")


@pytest.mark.parametrize("call", ["f", 3, [], {"function": "f"}])
def test_a_call_of_another_form_is_an_error(call):
    with pytest.raises(Malformed):
        named(call)
