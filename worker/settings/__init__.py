"""Settings: read once, at the door, and checked before anything starts.

`spool.toml` (or `--config`) < `SPOOL_*` variables < flags.  ``load`` gives the
frozen ``Settings`` or one error that lists every fault; inner rooms are handed
plain values from it and never see this package.
"""

from __future__ import annotations

from worker.settings.endpoints import DIALECT_NAMES
from worker.settings.load import CONFIG_VARIABLE, DEFAULT_FILE, Loaded, load, load_all
from worker.settings.model import Settings

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_FILE",
    "DIALECT_NAMES",
    "Loaded",
    "Settings",
    "load",
    "load_all",
]
