"""A directory and an environment in which nobody has configured anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: empty, and without a single SPOOL_ variable."""
    for name in list(os.environ):
        if name.upper().startswith("SPOOL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def toml(here: Path) -> Callable[[str], Path]:
    """Writes spool.toml."""

    def write(text: str, name: str = "spool.toml") -> Path:
        path = here / name
        path.write_text(text, encoding="utf-8")
        return path

    return write
