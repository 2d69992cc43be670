"""The experiment takes no pause, no planned stop and no clock for what it is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks.chaos.audit import CHARGED, Audit
from benchmarks.chaos.clock import Clock
from benchmarks.chaos.evidence import Evidence
from benchmarks.chaos.stage import Harm
from benchmarks.chaos.tables import PromptRow, RunRow, Tables

STARTED, ENDED = 100.0, 110.0


def crashes(*harms: Harm, final_at: float | None = None, went_back=()):
    """What is found of a run that was taken from its worker, pid 7, at the time ENDED."""
    prompt = PromptRow(1, "a", "say", "queued", 0, 1, 1, 1, None, None, 0.0, None, final_at)
    run = RunRow(
        *(1, 1, 1, "worker", "interrupted", STARTED, ENDED, None, 0, 0, None),
        *("lease_expired", None, False),
    )
    tables = Tables({1: prompt}, {1: run}, {}, {"worker": 7}, {"worker": 0.0})
    audit = Audit(tables, Evidence([], list(harms), list(went_back), []))
    audit._crash(run)
    return len(audit.findings[CHARGED])


def test_a_pause_whose_worker_came_back_in_time_is_no_crash():
    """Unless it was killed after all, its prompt was finished by then, or the database was away."""
    pause = Harm(7, "pause", ENDED - 5, ENDED + 1)
    assert crashes(pause) == 1
    assert crashes(Harm(8, "pause", ENDED - 5, ENDED + 1)) == 0
    assert crashes(pause, Harm(7, "kill", ENDED + 2, ENDED + 2)) == 0
    assert crashes(pause, final_at=ENDED + 1) == 0
    assert crashes(pause, went_back=[(ENDED, ENDED + 1)]) == 0


def test_a_planned_stop_is_no_crash():
    """If its worker had time to say that it leaves before it was killed."""
    kill = Harm(7, "kill", ENDED - 1, ENDED - 1)
    assert crashes(kill) == 0
    assert crashes(kill, Harm(7, "term", ENDED - 5, ENDED - 5)) == 1
    assert crashes(kill, Harm(7, "term", ENDED - 1.5, ENDED - 1.5)) == 0


def test_a_clock_that_was_set_forward_is_read_as_if_it_had_not_been(tmp_path):
    """Times of rows are compared with those of this machine."""
    clock = Clock(tmp_path)
    clock.steps = [(1000.0, 60.0), (2000.0, 90.0)]
    assert [clock.true(told) for told in (999.0, 1060.0, 2059.0, 2090.0, 3090.0)] == [
        *(999.0, 1000.0, 1999.0),
        *(2000.0, 3000.0),
    ]


def test_processes_go_by_a_clock_that_is_set_forward(tmp_path):
    """Where there is a compiler; without one no clock is set."""
    clock = Clock(tmp_path)
    assert clock.step(3600.0) is bool(clock.environment)
    command = [sys.executable, "-c", "import time; print(time.time())"]
    env = {**os.environ, **clock.environment}
    began = time.time()
    told = float(subprocess.run(command, env=env, capture_output=True, check=True).stdout)
    ahead = 3600.0 if clock.environment else 0.0
    assert began <= told - ahead <= time.time()
