"""What a page of rows weighs is known, so that a page of long prompts is a short one."""

from __future__ import annotations

import pytest

from tests.export.rows import row


@pytest.mark.parametrize(
    ("asked", "characters"),
    [
        ({"prompt": "12345"}, 5),
        ({"prompt": "12345", "system": "123"}, 8),
        ({"prompt": None, "messages": [{"role": "user", "content": "x" * 1000}]}, 1033),
        ({"prompt": "12345", "metadata": {"source": "x" * 1000}}, 1019),
    ],
)
def test_a_row_is_as_long_as_what_was_asked(asked, characters):
    """A prompt with its system prompt, or messages; and what its owner keeps with it."""
    assert row(**asked).characters == characters
