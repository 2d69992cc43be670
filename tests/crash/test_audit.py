"""The experiment excuses no attempt that should have been charged, unless somebody told the run to stop."""

from __future__ import annotations

import pytest

from benchmarks.chaos.audit import CHARGED, Audit
from benchmarks.chaos.evidence import Evidence, lapses_in
from benchmarks.chaos.tables import PromptRow, RunRow, Tables

STARTED, ENDED = 100.0, 110.0


def charges(*, cancelled_at=None, lapses=(), error_code="no_done_frame"):
    """What is found of a prompt whose only run broke off, and which was not charged."""
    prompt = PromptRow(
        1, "a", "say", "cancelled", 0, 0, 1, 1, error_code, None, STARTED, cancelled_at, ENDED
    )
    run = RunRow(
        1, 1, 1, "worker", "interrupted", STARTED, ENDED, None, 0, 0, None, error_code, None, False
    )
    tables = Tables({1: prompt}, {1: run}, {}, {"worker": 7}, {"worker": 0.0})
    audit = Audit(tables, Evidence([], [], [], [], lapses=list(lapses)))
    audit._charges(prompt, [run])
    return audit.findings[CHARGED]


def test_a_run_that_broke_off_by_itself_has_to_be_charged():
    assert len(charges()) == 1


@pytest.mark.parametrize(
    ("told", "excused"),
    [
        ({"cancelled_at": ENDED - 1}, True),
        ({"cancelled_at": ENDED + 1}, False),
        ({"lapses": [("worker", ENDED - 1)]}, True),
        ({"lapses": [("worker", STARTED - 1)]}, False),
        ({"lapses": [("worker", ENDED + 1)]}, False),
        ({"lapses": [("another", ENDED - 1)]}, False),
        ({"cancelled_at": ENDED - 1, "error_code": "malformed_frame"}, False),
    ],
)
def test_only_who_was_told_to_stop_before_the_end_is_excused(told, excused):
    """Its prompt cancelled, or the lease of its own worker over; and only where blame is asked for."""
    assert (charges(**told) == []) is excused


def test_lapses_are_what_workers_log():
    """And nothing else that they say."""
    lapse = {"event": "lease_lapsed", "worker_id": "a", "timestamp": "1970-01-01T00:01:40.500Z"}
    assert lapses_in([{"event": "run_completed"}, lapse]) == [("a", 100.5)]
