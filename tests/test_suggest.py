"""Whoever misspelt a word is told the one that was meant, and nobody is told nonsense."""

import pytest

from worker.suggest import did_you_mean, nearest

KNOWN = ("queued", "running", "completed", "failed")


@pytest.mark.parametrize(
    ("word", "meant"),
    [("compleded", "completed"), ("fail", "failed"), ("runing", "running"), ("queued", "queued")],
)
def test_the_nearest_is_found(word, meant):
    """A letter missing, doubled or exchanged."""
    assert nearest(word, KNOWN) == meant
    assert did_you_mean(word, KNOWN) == f"; did you mean {meant}?"


@pytest.mark.parametrize("word", ["", "x", "everything"])
def test_nothing_is_said_when_nothing_is_near(word):
    """An advice that is wrong is worse than none."""
    assert nearest(word, KNOWN) is None
    assert did_you_mean(word, KNOWN) == ""


def test_how_like_a_word_must_be_can_be_said():
    """Where words share their beginnings, more."""
    assert nearest("SPOOL_LEASES", ["SPOOL_LEASE_SECONDS"], likeness=0.7) == "SPOOL_LEASE_SECONDS"
    assert nearest("SPOOL_LEASES", ["SPOOL_LEASE_SECONDS"], likeness=0.9) is None


def test_any_words_may_be_searched():
    """The keys of a table as well as a list, and once only."""
    assert nearest("fail", iter(KNOWN)) == "failed"
    assert nearest("fail", dict.fromkeys(KNOWN)) == "failed"
