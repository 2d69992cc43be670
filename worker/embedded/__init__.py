"""A llama.cpp server in a child process, for people who have no model server.

`models.py` finds the file, `server.py` keeps one child alive, `endpoints.py`
gives each embedded endpoint the address of its server, and `child.py` is what
runs on the other side of the pipe.
"""

from __future__ import annotations

from worker.embedded.endpoints import EmbeddedServers, base_url_for
from worker.embedded.models import BUNDLED_NAMES, bundled_model, model_path
from worker.embedded.server import EmbeddedServer, Plan

__all__ = [
    "BUNDLED_NAMES",
    "EmbeddedServer",
    "EmbeddedServers",
    "Plan",
    "base_url_for",
    "bundled_model",
    "model_path",
]
