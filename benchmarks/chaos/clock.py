"""A clock that can be set forward, for the processes that go by it.

The clock of this machine belongs to everybody, so it is left alone: the server of
PostgreSQL, or the workers that share an SQLite file, load a small library that adds what a
file says (clock.c).  Where there is no C compiler, no clock is set.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")
NANO = 1_000_000_000


class Clock:
    """The time of day as the leases' database tells it.

    Attributes:
        steps: at which epoch second it was set, and how far it was ahead since then.
        environment: what a process needs to go by it; nothing where it cannot be set.
    """

    def __init__(self, folder: Path) -> None:
        self.steps: list[tuple[float, float]] = []
        self.environment: dict[str, str] = {}
        self._file = folder / "clock"
        library = folder / "clock.so"
        compiler = shutil.which("cc")
        if compiler is None:
            return
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            self._write(0.0)
            self._file.chmod(0o644)
            self.environment = {"LD_PRELOAD": str(library), "SPOOL_CRASH_CLOCK": str(self._file)}

    def step(self, seconds: float) -> bool:
        """Set it forward; False if it cannot be set."""
        if not self.environment:
            return False
        ahead = (self.steps[-1][1] if self.steps else 0.0) + seconds
        self.steps.append((time.time(), ahead))
        self._write(ahead)
        return True

    def _write(self, ahead: float) -> None:
        # In place: who has it mapped sees it at once.
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(int(ahead * NANO).to_bytes(8, "little", signed=True))

    def true(self, told: float) -> float:
        """The epoch second of this machine at which that clock told this one."""
        ahead = [by for at, by in self.steps if told >= at + by]
        return told - (ahead[-1] if ahead else 0.0)
