"""A message that says what to install has a command that works where the reader stands."""

import shlex
import sys

import pytest

from worker.installation import install_advice
from worker.installation.install_advice import install_command

PYTHON = shlex.quote(sys.executable)


def test_the_command_installs_for_the_python_that_runs_this():
    """It names that Python, so it is right in a clone, in a wheel and outside an environment."""
    assert install_command("pyarrow>=18") == f"{PYTHON} -m pip install 'pyarrow>=18'"


def test_without_dependencies_the_command_says_so():
    """Some wheels are wanted for one file, and what they depend on is large."""
    command = install_command("one", "two", dependencies=False)
    assert command.endswith(" -m pip install --no-deps one two")


@pytest.mark.parametrize("folder", ["/tmp/with space", "/tmp/it's"])
def test_a_folder_that_a_shell_would_split_is_quoted(monkeypatch, folder):
    """The command is pasted into a shell as it stands."""
    monkeypatch.setattr(sys, "executable", f"{folder}/bin/python")
    quoted = {"/tmp/with space": "'/tmp/with space/bin/python'"}.get(
        folder, """'/tmp/it'"'"'s/bin/python'"""
    )
    assert install_command("one").startswith(f"{quoted} -m pip install")


def test_an_environment_of_uv_has_no_pip(monkeypatch):
    """There it is uv that installs."""
    monkeypatch.setattr(install_advice, "find_spec", lambda _: None)
    assert install_command("one") == f"uv pip install --python {PYTHON} one"
