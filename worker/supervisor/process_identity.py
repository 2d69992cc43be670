"""Which process this is, so that others on the same host can see that it has died.

A process id alone says nothing: it comes again, and two containers on one machine both have
a process 1.  So a process is named by the boot of its machine, by the namespace in which
its id counts, and by the moment at which it began.  Only who shares boot and namespace can
judge, and only a process that is gone, or began at another moment, is dead.  What cannot
be read, for whatever reason, means that it lives: its lease will tell.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_PROC = Path("/proc")
_STATE, _THREADS, _STARTED = 0, 17, 19  # fields of `stat` behind the name of the program
_GONE = ("Z", "X")  # it has ended, and nobody has asked how

Identity = Mapping[str, str]


def identity(proc: Path = _PROC) -> Identity | None:
    """Who this process is; None where that cannot be told (no Linux, or another's /proc)."""
    try:
        if str((proc / "self").readlink()) != str(os.getpid()):
            return None  # its numbers are those of another namespace
        return {
            "boot_id": (proc / "sys/kernel/random/boot_id").read_text().strip(),
            "pid_namespace": str((proc / "self/ns/pid").readlink()),
            "started_ticks": _stat(os.getpid(), proc)[_STARTED],
        }
    except (OSError, IndexError):
        return None


def has_died(pid: int, theirs: object, *, proc: Path = _PROC) -> bool:
    """Whether that process of this host is certainly dead.

    Args:
        pid: its process id.
        theirs: its identity, as it wrote it down.
        proc: where the kernel tells of its processes.
    """
    mine = identity(proc)
    if mine is None or not isinstance(theirs, Mapping) or pid <= 0:
        return False
    if any(mine[name] != theirs.get(name) for name in ("boot_id", "pid_namespace")):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False  # it is there, and somebody else's
    try:
        stat = _stat(pid, proc)
        ended = stat[_STATE] in _GONE and int(stat[_THREADS]) <= 1
        return ended or stat[_STARTED] != theirs["started_ticks"]
    except (OSError, LookupError, ValueError):
        return False


def _stat(pid: int, proc: Path) -> list[str]:
    # The name of the program stands in brackets, and may hold anything.
    return (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
