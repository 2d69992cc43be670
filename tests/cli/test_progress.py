"""A bar is shown to people only, and changes nothing about the items."""

from __future__ import annotations

import io
import sys

import pytest

from worker.cli.progress import watched


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("terminal", "total", "quiet", "shown"),
    [
        (True, 600, False, True),
        (True, 600, True, False),
        (True, None, False, False),
        (False, 600, False, False),
    ],
)
def test_only_a_person_who_watches_sees_it(monkeypatch, terminal, total, quiet, shown):
    """Not a pipe, not a program, not when nobody knows how long it takes."""
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    monkeypatch.setenv("TERM", "xterm")
    with watched(range(600), total, lambda count: count, quiet=quiet) as items:
        assert list(items) == list(range(600))
    assert ("prompts, " in sys.stderr.getvalue()) is shown
