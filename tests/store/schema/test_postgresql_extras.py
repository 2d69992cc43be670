"""What only PostgreSQL has: the migrations and the program agree on it."""

from __future__ import annotations


def test_new_prompts_wake_workers_by_statement(postgres_sql):
    """A thousand rows in one statement are one notification."""
    found = postgres_sql(
        "SELECT tgtype & 1 FROM pg_trigger WHERE tgname = 'prompts_wake_on_insert'"
    )
    assert found == [(0,)]
