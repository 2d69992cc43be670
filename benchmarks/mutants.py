"""Takes away one guard at a time, and shows that a test notices: `python -m benchmarks.mutants`.

Durability is what is left when everything goes wrong, so a guard is worth what the test is
worth that fails without it.  Each mutant is a small change to the source, made in a copy of
this checkout; then the one test that is named is run there.  A mutant that survives its test
is a hole: exit code 1.  `chaos/guards.py` has the list.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.chaos.guards import MUTANTS, Mutant
from benchmarks.chaos.stage import ROOT

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "*.db*")
TESTS_FAILED = 1  # pytest's own exit code; others mean that nothing was tested


def _pytest(copy: Path, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, check=False
    )


def survives(mutant: Mutant, copy: Path) -> str | None:
    """Run the test without the guard; None if it failed, as it should, else what happened."""
    path = copy / mutant.file
    whole = path.read_text()
    try:
        path.write_text(whole.replace(mutant.old, mutant.new))
        done = _pytest(copy, [mutant.test])
    finally:
        path.write_text(whole)
    if done.returncode == TESTS_FAILED:
        return None
    last = done.stdout.strip().splitlines()[-1:] or [done.stderr.strip()]
    return f"pytest exit code {done.returncode}: {last[0]}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-k", default="", help="only guards with these words")
    words = parser.parse_args(arguments).k.lower()
    chosen = [mutant for mutant in MUTANTS if words in mutant.guard.lower()]
    if not chosen:
        parser.error(f"no guard has the words {words!r}")
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="spool-mutants-") as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        healthy = _pytest(copy, sorted({mutant.test for mutant in chosen}))
        if healthy.returncode != 0:
            print("the tests fail although nothing was taken away:", healthy.stdout, sep="\n")
            return 1
        for mutant in chosen:
            began = time.monotonic()
            survived = survives(mutant, copy)
            survivors += survived is not None
            verdict = f"SURVIVED ({survived})" if survived else "noticed"
            print(f"{time.monotonic() - began:6.1f} s  {verdict}: {mutant.guard}", flush=True)
    print(f"{len(chosen)} guards taken away, {len(chosen) - survivors} noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
