"""Numbers and durations read as a person would write them."""

import pytest

from worker.diagnosis import phrases


@pytest.mark.parametrize(
    ("number", "noun", "expected"),
    [(0, "prompt", "0 prompts"), (1, "prompt", "1 prompt"), (12345, "batch", "12,345 batches")],
)
def test_counts_are_words(number, noun, expected):
    """One, or many."""
    assert phrases.counted(number, noun) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.4, "0 s"), (59.9, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (273600, "3 d 4 h")],
)
def test_durations_are_words(seconds, expected):
    """As precise as a person needs."""
    assert phrases.span(seconds) == expected
