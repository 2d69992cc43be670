"""Where the files that are not Python lie: migrations and the shipped configuration.

A wheel carries them inside the package; in a clone they stand at the top level,
beside the package, where people look for them.  Nothing else may guess.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def migrations_dir() -> Path:
    """The folder of Alembic's `env.py` and `versions/`."""
    return _find("migrations")


def config_dir() -> Path:
    """The folder of `spool.toml`, the examples and the prompts of the demo."""
    return _find("config")


def _find(name: str) -> Path:
    shipped = _PACKAGE / name
    return shipped if shipped.is_dir() else _PACKAGE.parent / name
