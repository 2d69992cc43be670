"""Bounds for what is counted, and the index of prompts that keep their place.

What: counters, priorities and ids stay far from the end of their types, so that one more always
has room; `prompts.runs_without_progress` and `runs.cut_id`, which carry these rules on SQLite;
the index `prompts_place`.
Locks taken, and for how long: on PostgreSQL ACCESS EXCLUSIVE for moments, then SHARE UPDATE
EXCLUSIVE while the rules are validated and the index is built, beside running workers.  On SQLite
the write lock while `prompts` and `runs` are read once each.
Workers of the version before this one keep working, because: no value that they write is out of
bounds.

On a database in use, `ahead` does what must not be one transaction; each of its statements may
be repeated.  On a new one there is nothing to wait for, and `upgrade` does all of it.

Revision: 0004.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

PROMPTS = (
    "attempts <= 1000000000 AND crashes <= 1000000000 AND runs <= 1000000000"
    " AND max_attempts <= 2147483647"
    " AND priority BETWEEN -2147483647 AND 2147483647 AND id <= 4000000000000000000"
)
RUNS = "attempt >= 0 AND attempt <= 1000000000 AND id <= 4000000000000000000"

# What is out of bounds was written by hand: how many runs there are is the only truth left.
CURE_PROMPTS = f"""
UPDATE prompts SET
    attempts = CASE WHEN attempts <= 1000000000 THEN attempts
        ELSE (SELECT count(*) FROM runs WHERE runs.prompt_id = prompts.id) END,
    crashes = CASE WHEN crashes <= 1000000000 THEN crashes
        ELSE (SELECT count(*) FROM runs WHERE runs.prompt_id = prompts.id) END,
    runs = CASE WHEN runs <= 1000000000 THEN runs
        ELSE (SELECT count(*) FROM runs WHERE runs.prompt_id = prompts.id) END,
    max_attempts = CASE WHEN max_attempts <= 2147483647 THEN max_attempts
        ELSE 2147483647 END,
    priority = CASE WHEN priority < -2147483647 THEN -2147483647
        WHEN priority > 2147483647 THEN 2147483647 ELSE priority END
WHERE NOT ({PROMPTS})
"""
FIRST_WRONG_RUN = f"SELECT min(id) FROM runs WHERE NOT ({RUNS})"
CURE_RUN = """
UPDATE runs SET attempt = (
    SELECT coalesce(max(other.attempt), 0) + 1 FROM runs other
    WHERE other.prompt_id = runs.prompt_id AND other.attempt BETWEEN 0 AND 999999999
) WHERE id = {run_id}
"""
PLACES = (
    "prompts_place ON prompts (endpoint, priority DESC, available_at, id)"
    " WHERE status = 'queued' AND cancel_requested_at IS NULL AND keeps_place IS {true}"
)
STOPPED_HALF_WAY = """
SELECT 1 FROM pg_index WHERE NOT indisvalid AND indexrelid = to_regclass('prompts_place')
"""


def ahead(connection: sa.Connection) -> None:
    """PostgreSQL, outside a transaction: each statement commits by itself."""
    _add_rules(connection)
    if connection.exec_driver_sql(STOPPED_HALF_WAY).first() is not None:
        connection.exec_driver_sql("DROP INDEX CONCURRENTLY prompts_place")
    index = PLACES.format(true="TRUE")
    connection.exec_driver_sql(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {index}")


def upgrade() -> None:
    connection = op.get_bind()
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        _add_rules(connection)
    _cure(connection)
    if is_sqlite:
        for table, name, rule, column in _rules():
            op.execute(
                f"ALTER TABLE {table} ADD COLUMN {column} INTEGER CONSTRAINT {name} CHECK ({rule})"
            )
    else:
        for table, name, _, _ in _rules():
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
    op.execute(f"CREATE INDEX IF NOT EXISTS {PLACES.format(true='1' if is_sqlite else 'TRUE')}")


def downgrade() -> None:
    op.execute("DROP INDEX prompts_place")
    for table, name, _, column in _rules():
        if op.get_bind().dialect.name != "sqlite":
            op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        op.drop_column(table, column)


def _rules() -> Iterator[tuple[str, str, str, str]]:
    yield "prompts", "prompts_bounds", PROMPTS, "runs_without_progress"
    yield "runs", "runs_bounds", RUNS, "cut_id"


def _add_rules(connection: sa.Connection) -> None:
    """New rows and changes obey the rules from now on; those that are there are left alone."""
    run = connection.exec_driver_sql
    run("ALTER TABLE prompts ADD COLUMN IF NOT EXISTS runs_without_progress integer")
    run("ALTER TABLE runs ADD COLUMN IF NOT EXISTS cut_id bigint")
    for table, name, rule, _ in _rules():
        there = f"SELECT 1 FROM pg_constraint WHERE conname = '{name}'"
        if run(f"{there} AND conrelid = '{table}'::regclass").first() is None:
            run(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({rule}) NOT VALID")


def _cure(connection: sa.Connection) -> None:
    run = connection.exec_driver_sql
    run(CURE_PROMPTS)
    while (run_id := run(FIRST_WRONG_RUN).scalar()) is not None:  # each takes the next free number
        run(CURE_RUN.format(run_id=run_id))
