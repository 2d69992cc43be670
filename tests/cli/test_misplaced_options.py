"""An option that belongs elsewhere is answered with the place."""

from __future__ import annotations

import pytest

from worker.cli.misplaced_options import meant


@pytest.mark.parametrize(
    ("command", "option", "words"),
    [
        ("run", "--concurrency", "concurrency of the endpoint in spool.toml"),
        ("add", "--temperature", "--option temperature=VALUE"),
        ("batch", "--max-tokens", "--option max_tokens=VALUE"),
        ("wait", "--batch", "`spool wait NAME`"),
    ],
)
def test_the_place_is_named(command, option, words):
    """Request options are those that `add` knows in files."""
    assert words in meant(command, option)


@pytest.mark.parametrize(("command", "option"), [("run", "--temperature"), ("add", "--endpont")])
def test_what_is_nowhere_gets_no_advice(command, option):
    """A misspelt option is for the nearest one to answer."""
    assert meant(command, option) == ""
