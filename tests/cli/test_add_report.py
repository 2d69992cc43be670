"""What became of a source is one sentence, whatever came together in it."""

from __future__ import annotations

import pytest

from worker.cli.add_report import AddReport, elsewhere, foreseen, sentence
from worker.ingest import BadLine


def report(**given):
    return AddReport("p.jsonl", "b", good=9, **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"added": 9}, "added 9 prompts to batch b"),
        ({"added": 8, "existing": 1}, "added 8 prompts to batch b; 1 were there already"),
        (
            {"existing": 9},
            (
                "nothing new: 9 prompts of p.jsonl are already in batch b (another --batch would"
                " take them again)"
            ),
        ),
        (
            {"existing": 8, "changed": 1},
            (
                "added 0 prompts to batch b; 8 were there already; 1 prompt is in batch b with other"
                " content and left as it is: --replace queues it anew, another --batch keeps both"
            ),
        ),
        ({"replaced": 9}, "added 0 prompts to batch b; replaced 9, which are queued anew"),
        (
            {"added": 8, "bad": 1, "faults": [BadLine(2, "is odd")]},
            "added 8 prompts to batch b; 1 line left out",
        ),
    ],
)
def test_what_was_done_is_one_sentence(given, said):
    """Changed is told apart from there already."""
    assert sentence(report(**given), strict=False) == said


def test_strict_says_what_it_allows_not():
    """A bad line first: it has to be mended before anything else is looked at."""
    assert "allows no changed prompt" in sentence(report(changed=1), strict=True)
    assert "allows no bad line" in sentence(report(changed=1, bad=1), strict=True)


def test_a_dry_run_says_what_would_be_done():
    """Everything that `add` itself would tell apart."""
    assert foreseen(report(added=2, existing=3, replaced=4, changed=5)) == (
        "2 prompts would be added, 3 are there already, 4 would be replaced, 5 are there with other"
        " content (--replace queues them anew); nothing was"
    )


@pytest.mark.parametrize(
    ("stored", "words"), [("/x/p.jsonl", "/x/p.jsonl"), ("-", "standard input"), ("api", "Python")]
)
def test_another_place_has_a_name(stored, words):
    """Not every batch comes from a file."""
    said = elsewhere(report(other_source=stored), named=False)
    assert said.startswith(f"batch b was first added from {words}, ")
    assert elsewhere(report(other_source=stored), named=True) == ""
    assert elsewhere(report(), named=False) == ""
