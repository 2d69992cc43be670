"""A server says whether it lives, and whether its database answers, without a key."""

from __future__ import annotations

import urllib.request

from tests.server.talking import KEYS, serving


def test_probes_need_no_key(sqlite_store):
    """A path that is not there is an error in the shape of all others."""
    with serving(sqlite_store, KEYS) as (url, _):
        for path in ("/live", "/ready"):
            with urllib.request.urlopen(url.removesuffix("/v1") + path) as answer:
                assert answer.status == 200
