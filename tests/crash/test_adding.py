"""`spool add` that was killed half-way is repeated, and then everything is there, once."""

from __future__ import annotations

import json
import signal
import subprocess

from benchmarks.chaos.stage import environment, spool
from tests.crash.stage import Stage, until

LINES = 20_000


def test_a_file_that_was_half_added_is_completed_by_adding_it_again(stage: Stage) -> None:
    """Pages are committed whole; the second time finds out which of them there are."""
    path = stage.folder / "many.jsonl"
    with path.open("w") as file:
        file.writelines(json.dumps({"prompt": f"Number {n}."}) + "\n" for n in range(LINES))
    adding = subprocess.Popen(
        spool(stage.config, "add", str(path)), cwd=stage.folder, env=environment()
    )
    until("some of it is there", lambda: stage.sql.one("SELECT COUNT(*) FROM prompts"))
    adding.send_signal(signal.SIGKILL)
    adding.wait()
    there = stage.sql.one("SELECT COUNT(*) FROM prompts")
    assert 0 < there < LINES
    done = stage.spool("add", str(path), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["added"], said["existing"]) == (LINES - there, there)
    assert stage.sql.one("SELECT COUNT(DISTINCT prompt) FROM prompts") == LINES
    assert stage.sql.one("SELECT COUNT(*) FROM prompts") == LINES
