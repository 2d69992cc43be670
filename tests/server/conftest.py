"""A server on a database of each kind."""

from __future__ import annotations

import pytest

from tests.server.talking import KEYS, serving


@pytest.fixture
def served(store):
    with serving(store, KEYS) as (url, context):
        yield url, context
