"""The views say whose text they show, put tool calls together, and count what was cut.

What: `prompts` learns the hash of what was asked and which attempt is the first that answers it;
the index `runs_truncated`; `results`, `attempts` and `progress` grow at their end, and
`results.partial_output` is the text of the latest run of the same request that has text.
Locks taken, and for how long: on PostgreSQL ACCESS EXCLUSIVE on `prompts` and on the views for
moments; the index is built beside running workers (`ahead`).  On SQLite the write lock while
`runs` is read once.
Workers of the version before this one keep working, because: they do not read views, and name
the columns that they write.

Nothing is imported from the program: it will change, and this file must not.

Revision: 0005.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

VIEWS = ("results", "live", "attempts", "progress")
TRUNCATED = (
    "runs_truncated ON runs (prompt_id) WHERE status = 'completed' AND finish_reason IN"
    " ('length', 'max_tokens', 'max_output_tokens', 'limit', 'model_length',"
    " 'model_context_window_exceeded', 'repetition', 'MAX_TOKENS', 'incomplete')"
)
READ = {"prompts": "first_attempt", "runs": "request_hash, tool_calls"}
# Who may read a view, apart from its owner: oid 0 is everybody.
GRANTEES = """
SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC'
    ELSE quote_ident(pg_get_userbyid(a.grantee)) END
FROM pg_class c, LATERAL aclexplode(c.relacl) a
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname IN
    ('results', 'live', 'attempts', 'progress')
    AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner
"""
STOPPED_HALF_WAY = """
SELECT 1 FROM pg_index WHERE NOT indisvalid AND indexrelid = to_regclass('runs_truncated')
"""


def ahead(connection: sa.Connection) -> None:
    """PostgreSQL, outside a transaction: each statement commits by itself."""
    if connection.exec_driver_sql(STOPPED_HALF_WAY).first() is not None:
        connection.exec_driver_sql("DROP INDEX CONCURRENTLY runs_truncated")
    connection.exec_driver_sql(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {TRUNCATED}")


def upgrade() -> None:
    op.add_column("prompts", sa.Column("first_attempt", sa.Integer()))
    op.add_column("prompts", sa.Column("request_hash", sa.Text()))
    op.execute(f"CREATE INDEX IF NOT EXISTS {TRUNCATED}")
    if op.get_bind().dialect.name == "sqlite":
        _drop_views()
    else:
        _grant_what_is_read()
    _create_views("0005")


def downgrade() -> None:
    _drop_views()
    _create_views("0001")
    if op.get_bind().dialect.name != "sqlite":
        for view in VIEWS:
            op.execute(f"ALTER VIEW {view} SET (security_invoker = true)")
    op.execute("DROP INDEX runs_truncated")
    op.drop_column("prompts", "request_hash")
    op.drop_column("prompts", "first_attempt")


def _grant_what_is_read() -> None:
    """Who was granted the views alone needs the columns that they read from now on."""
    for (role,) in op.get_bind().exec_driver_sql(GRANTEES).all():
        for table, columns in READ.items():
            op.execute(f"GRANT SELECT ({columns}) ON {table} TO {role}")


def _drop_views() -> None:
    for view in reversed(VIEWS):
        op.execute(f"DROP VIEW {view}")


def _create_views(number: str) -> None:
    """PostgreSQL replaces a view in its place, which keeps what was granted on it."""
    name = f"{number}_views.{op.get_bind().dialect.name}.sql"
    views = Path(__file__).with_name(name).read_text(encoding="utf-8")
    for view in filter(str.strip, views.split(";\n")):
        op.get_bind().exec_driver_sql(view)
