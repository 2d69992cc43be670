"""Spool: a durable pipeline from streaming language models to SQL.

Importing this package loads nothing; the names below load what they need when
they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from worker.version import __version__

if TYPE_CHECKING:
    from worker.client.results import Result
    from worker.client.spool import AsyncSpool, Spool
    from worker.errors import InputError, NotFound, SettingsError, SpoolError, StoreError
    from worker.records import NewPrompt
    from worker.store import Selection

__all__ = [
    "AsyncSpool",
    "InputError",
    "NewPrompt",
    "NotFound",
    "Result",
    "Selection",
    "SettingsError",
    "Spool",
    "SpoolError",
    "StoreError",
    "__version__",
]

_HOMES = {
    "AsyncSpool": ".client.spool",
    "InputError": ".errors",
    "NewPrompt": ".records",
    "NotFound": ".errors",
    "Result": ".client.results",
    "Selection": ".store",
    "SettingsError": ".errors",
    "Spool": ".client.spool",
    "SpoolError": ".errors",
    "StoreError": ".errors",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
