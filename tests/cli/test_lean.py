"""A worker carries no library that only a terminal would need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from worker.cli.lean import without


def test_what_is_left_out_is_not_found_and_comes_back_afterwards():
    """Only the imports inside are lean; whoever wants the library later has it."""
    sys.modules.pop("this", None)
    with without("this"), pytest.raises(ImportError):
        import this  # noqa: F401
    assert "this" not in sys.modules


def test_what_is_loaded_already_stays():
    """Nobody loses a library that he uses."""
    with without("json"):
        import json
    assert json.loads("1") == 1


def test_a_worker_is_built_without_rich():
    """In a process of its own, for here others have loaded it long ago."""
    words = (
        "import sys\n"
        "from worker.cli.lean import without\n"
        "with without('rich', 'pygments'):\n"
        "    import worker.cli.service, worker.log\n"
        "print('rich' in sys.modules or 'pygments' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
