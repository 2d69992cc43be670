"""A finding is a line for people and an object for programs."""

from __future__ import annotations

from worker.cli.check_result import broken, doubtful, ok


def test_a_finding_says_how_bad_it_is_what_it_is_and_what_to_do():
    """What is fine is not shouted."""
    assert str(ok("disk", "much")) == "ok        disk: much"
    assert str(doubtful("disk", "little", "prune")) == "DOUBTFUL  disk: little; prune"
    assert str(broken("disk", "none")) == "BROKEN    disk: none"
    assert broken("disk", "none", "make room").as_object() == {
        "about": "disk",
        "health": "broken",
        "said": "none",
        "cure": "make room",
    }
