"""Columns of runs, prompts and workers that later steps fill, and three small tables.

What: `runs` learns which claim started it (`nonce`), what was asked (`request_hash`) and its
whole tool calls; `prompts` learns which prompts keep their place; `workers` learns that it was
told to stop, and how its process is recognised.  New: `run_extras`, `endpoint_states`,
`schema_info`.
Locks taken, and for how long: ACCESS EXCLUSIVE on three tables, SHARE ROW EXCLUSIVE on `runs`;
every column may be NULL and has no default, so no row is read or written.
Workers of the version before this one keep working, because: they name the columns that they
write, and none that they read has changed.  Who may write `chunks` may write `run_extras`, too.

Revision: 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
JSONB = postgresql.JSONB().with_variant(sa.Text(), "sqlite")
FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")

COLUMNS = (
    ("runs", "nonce", ID),
    ("runs", "request_hash", sa.Text()),
    ("runs", "tool_calls", sa.Text()),
    ("prompts", "keeps_place", FLAG),
    ("workers", "leaving_at", TIME),
    ("workers", "process", JSONB),
)


def upgrade() -> None:
    for table, name, kind in COLUMNS:
        op.add_column(table, sa.Column(name, kind))
    _run_extras()
    _endpoint_states()
    _schema_info()
    if op.get_bind().dialect.name != "sqlite":
        op.execute("GRANT SELECT ON schema_info TO PUBLIC")  # every program asks it first
        for table, like in (("run_extras", "chunks"), ("endpoint_states", "workers")):
            _grant_alike(table, like)


def downgrade() -> None:
    for table in ("schema_info", "endpoint_states", "run_extras"):
        op.drop_table(table)
    for table, name, _ in reversed(COLUMNS):
        op.drop_column(table, name)


def _now() -> sa.TextClause:
    sqlite = "(strftime('%Y-%m-%d %H:%M:%f', 'now'))"
    return sa.text(sqlite if op.get_bind().dialect.name == "sqlite" else "clock_timestamp()")


def _grant_alike(table: str, like: str) -> None:
    """Who may write the one may write the other: a worker under a role of its own goes on."""
    found = op.get_bind().exec_driver_sql(
        "SELECT privilege_type, CASE WHEN grantee = 0 THEN 'PUBLIC'"
        " ELSE quote_ident(pg_get_userbyid(grantee)) END"
        " FROM pg_class, LATERAL aclexplode(relacl) a"
        f" WHERE oid = '{like}'::regclass AND grantee <> relowner"
    )
    for right, role in found.all():
        op.get_bind().exec_driver_sql(f"GRANT {right} ON {table} TO {role}")


def _run_extras() -> None:
    op.create_table(
        "run_extras",
        sa.Column(
            "run_id",
            ID,
            sa.ForeignKey("runs.id", name="run_extras_run", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "seq", name="run_extras_key"),
        sa.CheckConstraint("seq >= 0", name="run_extras_seq"),
        sqlite_strict=True,
    )


def _endpoint_states() -> None:
    op.create_table(
        "endpoint_states",
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("worker_id", sa.Text()),
        sa.Column("changed_at", TIME, nullable=False, server_default=_now()),
        sa.Column("state", JSONB),
        sa.PrimaryKeyConstraint("endpoint", "digest", name="endpoint_states_key"),
        sqlite_strict=True,
    )


def _schema_info() -> None:
    op.create_table(
        "schema_info",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("min_worker", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="schema_info_key"),
        sa.CheckConstraint("id = 1", name="schema_info_one_row"),
        sqlite_strict=True,
    )
    op.execute("INSERT INTO schema_info (id, min_worker) VALUES (1, '0.1.0')")
