"""The completion scripts are those of Click, and completing is quick and lists commands."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(spool, shell):
    """To be evaluated at its start."""
    said = spool("completion", shell)
    assert said.code == 0
    assert f"_SPOOL_COMPLETE={shell}_complete" in said.out


def test_another_shell_is_wrong_usage(spool):
    """With those that there are."""
    spool("completion", "tcsh").fails("'bash', 'zsh', 'fish'", code=2)


def test_commands_are_completed():
    """What the script asks at each Tab."""
    environment = {"_SPOOL_COMPLETE": "bash_complete", "COMP_WORDS": "spool st", "COMP_CWORD": "1"}
    said = subprocess.run(
        [sys.executable, "-c", "from worker.cli import main; main()"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert said.stdout == "plain,status\n"
