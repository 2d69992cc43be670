"""The page of `spool status`: what needs a person is seen, however small the window."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from worker.cli import status_page
from worker.settings import Settings
from worker.states import PromptState
from worker.store.rows import LiveRun, QueueStatus, Tally, WorkerStatus

THEN = datetime(2026, 11, 22, tzinfo=UTC)


class Texts:
    """Says how long the text of a run is."""

    def __init__(self):
        self.asked = []

    def lengths(self, run_ids):
        self.asked = list(run_ids)
        return {run_id: 100 * run_id for run_id in run_ids if run_id > 1}


def run(number, silent=1.0, chunks=1, custom_id=None):
    return LiveRun(
        number, number, "b", custom_id, "default", "m", "w", 1, THEN, 10.0, silent, chunks
    )


def worker(runs=1, stopped_at=None, left=25.0, **endpoints):
    return WorkerStatus("w", "host", 12, "0", THEN, stopped_at, left, runs, endpoints or None)


def tally(name, **counts):
    return Tally(name, "default", {PromptState(state): n for state, n in counts.items()})


def page(texts=None, **status):
    given = {name: status.pop(name) for name in ("rows", "columns") if name in status}
    made = status_page.page(QueueStatus(**status), Settings(), "url", texts or Texts(), **given)
    return [" ".join(line.text.split()) for line in made]


def test_the_slowest_streams_come_first():
    """Those that have been silent for longest, with what they have so far."""
    texts = Texts()
    lines = page(texts, live=(run(1, 0.5, 0), run(2, 3.0), run(3, 9.0, custom_id="x" * 30)))
    at = lines.index("slowest custom_id endpoint attempt for chars chars/s last text")
    assert lines[at + 1 :] == [
        f"prompt 3 {'x' * 21}... default 1 10 s 300 30 9 s ago",
        "prompt 2 default 1 10 s 200 20 3 s ago",
        "prompt 1 default 1 10 s 0 0 none yet",
    ]


def test_many_streams_are_counted_and_only_those_listed_are_read():
    """Texts are long: none is measured that is not shown."""
    texts = Texts()
    lines = page(texts, live=tuple(run(n) for n in range(1, 26)))
    assert lines[-1] == "... and 15 more"
    assert len(texts.asked) == 10


@pytest.mark.parametrize("rows", [24, 40])
def test_a_window_shows_everything_that_fits(rows):
    """What needs a person stands above the streams, and these take the room that is left."""
    live = tuple(run(n) for n in range(1, 200))
    lines = page(
        rows=rows, live=live, workers=(worker(),), later=1, tallies=(tally("b", queued=1),)
    )
    assert len(lines) == rows
    said = lines.index("- waiting for a later try: 1 prompt")
    assert said < lines.index("slowest custom_id endpoint attempt for chars chars/s last text")
    assert lines[-1].endswith(" more")


def test_printed_once_it_ends_with_what_needs_a_person():
    """There the eye is."""
    assert page(live=(run(1),), later=1, workers=(worker(),))[-1].startswith("- waiting for")


def test_a_window_lists_the_batches_that_have_something_to_do():
    """Last year's are counted."""
    tallies = [tally(f"old{n}", completed=1) for n in range(50)]
    tallies.insert(0, tally("busy", queued=1))
    lines = page(rows=24, tallies=tuple(tallies))
    assert [line.split()[0] for line in lines[3:9]] == [
        "busy", "old45", "old46", "old47", "old48", "old49",
    ]  # fmt: skip
    assert "... and 45 more (`spool status` lists all)" in lines
    assert len([line for line in page(tallies=tuple(tallies)) if line.startswith("old")]) == 50


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ([{"state": "closed"}], "up"),
        ([{"state": "open"}, {"state": "open"}], "down"),
        ([{"state": "open"}, {"state": "closed"}], "down for 1 of 2 workers"),
        ([{"state": "half open"}], "being tried"),
        ([{"state": "closed", "paused_until": "noon"}], "asks for patience"),
        ([{"state": "half open", "paused_until": "noon"}], "asks for patience"),
    ],
)
def test_endpoints_stand_as_the_workers_told(told, state):
    """With how many serve them, and what they stream."""
    lines = page(workers=tuple(worker(default=each) for each in told), live=(run(1), run(2)))
    assert f"default {state} {len(told)} 2" in lines


def test_what_a_dead_worker_told_is_of_no_interest():
    """Nobody serves the endpoint now."""
    lines = page(workers=(worker(left=-5.0, default={"state": "closed"}),))
    assert "default nobody serves it 0 0" in lines
    assert "host:12 0 1 ran out" in lines


def test_a_worker_that_signed_off_is_listed_while_it_holds_runs():
    """And not otherwise."""
    assert "host:12 0 1 signed off" in page(workers=(worker(stopped_at=THEN),))
    assert page(workers=(worker(runs=0, stopped_at=THEN),)) == ["url: 0 prompts"]


def test_a_sentence_is_folded_between_words():
    """Under its dash, so that the next one is seen to begin."""
    made = status_page.page(
        QueueStatus(failures={"not_found": 3}), Settings(), "url", Texts(), columns=40
    )
    said = [line.text for line in made if line.kind == "concern"]
    assert len(said) > 1
    assert all(len(line) <= 40 for line in said)
    assert [line[:2] for line in said] == ["- ", *["  "] * (len(said) - 1)]
