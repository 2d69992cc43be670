"""The index of prompts that broke off again and again.

What: the partial index `prompts_suspected`, which is empty most of the time.
Locks taken, and for how long: on PostgreSQL SHARE UPDATE EXCLUSIVE while it is built, beside
running workers.  On SQLite the write lock while `prompts` is read once.
Workers of the version before this one keep working, because: an index changes no answer.

Revision: 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INDEX = (
    "prompts_suspected ON prompts (endpoint, available_at)"
    " WHERE status = 'queued' AND cancel_requested_at IS NULL AND runs_without_progress >= 2"
)
STOPPED_HALF_WAY = """
SELECT 1 FROM pg_index WHERE NOT indisvalid AND indexrelid = to_regclass('prompts_suspected')
"""


def ahead(connection: sa.Connection) -> None:
    """PostgreSQL, outside a transaction: each statement commits by itself."""
    if connection.exec_driver_sql(STOPPED_HALF_WAY).first() is not None:
        connection.exec_driver_sql("DROP INDEX CONCURRENTLY prompts_suspected")
    connection.exec_driver_sql(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {INDEX}")


def upgrade() -> None:
    op.execute(f"CREATE INDEX IF NOT EXISTS {INDEX}")


def downgrade() -> None:
    op.execute("DROP INDEX prompts_suspected")
