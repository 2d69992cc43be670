"""A command of the owner's runs at the end, and what it learns can never become a command."""

from __future__ import annotations

import subprocess
import sys

import pytest

CALL = "from worker.cli.on_complete import run_command; import sys; sys.exit(not run_command({!r}, {}))"


def called(command, facts):
    script = CALL.format(command, facts)
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )


def test_facts_are_in_the_environment(here):
    """And what is printed is talk: standard output may hold the answers."""
    facts = {"name": "b", "completed": 3}
    ended = called('echo "$BATCH_NAME $BATCH_COMPLETED" | cat', facts)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "b 3\n")


@pytest.mark.parametrize("name", ["$(touch owned)", "`touch owned`", "'; touch owned; '", "a\nb"])
def test_a_name_is_never_a_part_of_the_command(here, name):
    """However it is written."""
    ended = called('printf %s "$BATCH_NAME"', {"name": name})
    assert ended.stderr == name
    assert not (here / "owned").exists()


def test_a_command_that_fails_is_told(here):
    """With its code."""
    ended = called("exit 3", {})
    assert ended.returncode == 1
    assert "--on-complete ended with 3" in ended.stderr
