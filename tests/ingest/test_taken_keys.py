"""What was taken for what is one line, however many keys there are."""

from __future__ import annotations

from worker.ingest.taken_keys import Taken


def test_each_key_is_named_once():
    """In the order in which they were met."""
    taken = Taken()
    for _ in range(3):
        taken.note("text", "prompt")
        taken.kept("a")
        taken.kept("b")
        taken.count("ended with an answer")
    assert str(taken) == "text -> prompt; 2 columns kept as metadata (a, b); 3 ended with an answer"
    assert (taken.uses, taken.metadata) == ([("text", "prompt")], ["a", "b"])


def test_nothing_is_said_of_keys_that_are_what_they_are_called():
    """A file in Spool's own words needs no explanation."""
    assert str(Taken()) == ""


def test_many_keys_take_one_line_and_bounded_memory():
    """A file may have other keys on each line."""
    taken = Taken()
    for number in range(10_000):
        taken.kept(f"key {number}")
        taken.note(f"\x1b{number}", "prompt")
    assert len(taken.uses) + len(taken.metadata) == 200
    assert str(taken).endswith("and 94 more)")
    assert str(taken).isprintable()
