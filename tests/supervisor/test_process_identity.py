"""A process is dead only where that is certain; what cannot be read lives."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from worker.supervisor import process_identity
from worker.supervisor.process_identity import has_died, identity


def ended() -> int:
    """The id of a process that was there and is gone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_process_names_itself_by_boot_namespace_and_beginning():
    """All three, because its id alone comes again."""
    mine = identity()
    assert mine is not None
    assert sorted(mine) == ["boot_id", "pid_namespace", "started_ticks"]
    assert all(mine.values())


def test_a_process_that_is_gone_has_died_and_one_that_runs_has_not():
    """This one runs."""
    assert has_died(ended(), identity())
    assert not has_died(os.getpid(), identity())


def test_an_id_that_was_given_to_another_process_is_no_sign_of_life():
    """The number is there, and began at another moment."""
    assert has_died(os.getpid(), {**identity(), "started_ticks": "1"})


def test_a_process_that_waits_to_be_buried_has_died():
    """A killed worker stays in the table until its parent asks how it ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    theirs = {
        **identity(),
        "started_ticks": process_identity._stat(child.pid, process_identity._PROC)[
            process_identity._STARTED
        ],
    }
    assert not has_died(child.pid, theirs)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert has_died(child.pid, theirs)
    child.communicate()


@pytest.mark.parametrize("other", ["boot_id", "pid_namespace"])
def test_nobody_judges_a_process_of_another_machine_or_container(other):
    """Two containers on one node share the boot, and each has a process 1."""
    assert not has_died(ended(), {**identity(), other: "another"})
    assert not has_died(ended(), {name: v for name, v in identity().items() if name != other})


@pytest.mark.parametrize("theirs", [None, [], "x", {}, 7])
def test_who_does_not_say_which_process_it_is_lives(theirs):
    """Workers of older versions, and whatever somebody wrote into the row."""
    assert not has_died(ended(), theirs)


@pytest.mark.parametrize("pid", [0, -1, 2**40])
def test_an_impossible_id_proves_nothing(pid):
    """0 and less mean groups of processes."""
    assert not has_died(pid, identity())


def test_what_cannot_be_read_lives(tmp_path, monkeypatch):
    """No /proc, another's /proc, or one that hides the processes of others."""
    assert identity(tmp_path) is None
    assert not has_died(ended(), identity(), proc=tmp_path)
    (tmp_path / "self").symlink_to("1")
    assert identity(tmp_path) is None

    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(process_identity.os, "kill", refused)
    assert not has_died(ended(), identity())
