"""The crash experiment, in short: everything at once, at random, and not a word is missing.

`benchmarks/crash.py` is the long form and says what is checked.  Here it runs for about a
minute, with a seed, on each database.  The database goes back to an older copy, strangers lock
it, and its clock is set forward, too.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.chaos.audit import PROMISES
from benchmarks.chaos.stage import ROOT, environment

SHORT = [
    *("--prompts", "60", "--workers", "3", "--kills", "12", "--database-crashes", "2"),
    *("--each", "2", "--chaos-seconds", "45", "--minutes", "5", "--seed", "11"),
]


@pytest.mark.timeout(360)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_experiment_finds_no_broken_promise(database: str) -> None:
    """Exit code 0, a zero in each line that counts, and really something was broken meanwhile."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.crash", "--json", "--database", database, *SHORT],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(done.stdout)
    assert {promise: rows[promise] for promise in PROMISES} == dict.fromkeys(PROMISES, 0)
    assert rows["SIGKILL"] > 2
    assert "longer than the lease" in rows["SIGSTOP"]
    assert rows["the database put back to a copy"].startswith("2 times")
    assert rows["a lock held by a stranger, longer than a lease"] == 2
    assert rows["SIGTERM, then SIGKILL"] > 0
