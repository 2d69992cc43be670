"""Files that clients of `spool serve` upload, and what they ask of a batch.

What: `batch_files` and `batch_file_parts` are new; `batches` learns who asked for it,
what for, until when, and what became of that.
Locks taken, and for how long: ACCESS EXCLUSIVE on `batches` for a moment; every column may be NULL
and has no default, so no row is read or written.
Workers of the version before this one keep working, because: they name the columns of `batches`
that they read and write, and know nothing of the new tables.

Revision: 0008.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
JSONB = postgresql.JSONB().with_variant(sa.Text(), "sqlite")

COLUMNS = (
    ("owner", sa.Text()),
    ("request_path", sa.Text()),
    ("input_file_id", sa.Text()),
    ("completion_window", sa.Text()),
    ("idempotency_key", sa.Text()),
    ("deadline_at", TIME),
    ("validated_at", TIME),
    ("failed_at", TIME),
    ("errors", JSONB),
    ("cancelling_at", TIME),
    ("expired_at", TIME),
)


def upgrade() -> None:
    for name, kind in COLUMNS:
        op.add_column("batches", sa.Column(name, kind))
    op.create_index("batches_idempotency", "batches", ["owner", "idempotency_key"], unique=True)
    op.create_table(
        "batch_files",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("bytes", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=_now()),
        sa.Column("expires_at", TIME),
        sa.PrimaryKeyConstraint("id", name="batch_files_key"),
        sa.CheckConstraint("bytes >= 0", name="batch_files_bytes"),
        sqlite_strict=True,
    )
    op.create_table(
        "batch_file_parts",
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=_now()),
        sa.PrimaryKeyConstraint("file_id", "seq", name="batch_file_parts_key"),
        sa.CheckConstraint("seq >= 0", name="batch_file_parts_seq"),
        sqlite_strict=True,
    )


def downgrade() -> None:
    op.drop_table("batch_file_parts")
    op.drop_table("batch_files")
    op.drop_index("batches_idempotency", table_name="batches")
    for name, _ in reversed(COLUMNS):
        op.drop_column("batches", name)


def _now() -> sa.TextClause:
    sqlite = "(strftime('%Y-%m-%d %H:%M:%f', 'now'))"
    return sa.text(sqlite if op.get_bind().dialect.name == "sqlite" else "clock_timestamp()")
