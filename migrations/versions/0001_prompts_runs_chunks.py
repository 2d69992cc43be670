"""Batches, prompts, runs, chunks, workers, and the four views.

What: everything that Spool stores; see `docs/sql.md`.
Why: this is the beginning.
Locks taken, and for how long: none that matter, for nothing is there yet.
Workers of the version before this one keep working, because: there is none.

Nothing is imported from the program: it will change, and this file must not.

Revision: 0001, the first.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
JSON = postgresql.JSON().with_variant(sa.Text(), "sqlite")
JSONB = postgresql.JSONB().with_variant(sa.Text(), "sqlite")
FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _batches()
    _workers()
    _prompts()
    _runs()
    _chunks()
    _indexes()
    if not _is_sqlite():
        for statement in POSTGRESQL_EXTRAS:
            op.execute(statement)
    dialect = "sqlite" if _is_sqlite() else "postgresql"
    views = Path(__file__).with_name(f"0001_views.{dialect}.sql").read_text(encoding="utf-8")
    for view in filter(str.strip, views.split(";\n")):
        op.get_bind().exec_driver_sql(view)


def downgrade() -> None:
    for view in ("progress", "attempts", "live", "results"):
        op.execute(f"DROP VIEW {view}")
    for table in ("chunks", "runs", "prompts", "workers", "batches"):
        op.drop_table(table)
    if not _is_sqlite():
        op.execute("DROP FUNCTION spool_wake()")


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _now() -> sa.TextClause:
    sqlite = "(strftime('%Y-%m-%d %H:%M:%f', 'now'))"
    return sa.text(sqlite if _is_sqlite() else "clock_timestamp()")


def _key() -> sa.Column[int]:
    return sa.Column("id", ID, sa.Identity(always=False), primary_key=True)


def _metadata_is_json(table: str) -> sa.CheckConstraint:
    condition = "metadata IS NULL OR json_valid(metadata)"
    return sa.CheckConstraint(condition, name=f"{table}_metadata_json")


def _batches() -> None:
    own = [_metadata_is_json("batches")]
    op.create_table(
        "batches",
        _key(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text()),
        sa.Column("metadata", JSONB),
        sa.Column("created_at", TIME, nullable=False, server_default=_now()),
        sa.UniqueConstraint("name", name="batches_name"),
        *(own if _is_sqlite() else []),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )


def _workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), primary_key=True, nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", ID, nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started_at", TIME, nullable=False, server_default=_now()),
        sa.Column("lease_until", TIME, nullable=False),
        sa.Column("stopped_at", TIME),
        sa.Column("endpoints", JSONB),
        sqlite_strict=True,
        postgresql_with={"fillfactor": 50, "autovacuum_vacuum_scale_factor": 0.02},
    )


def _prompts() -> None:
    op.create_table(
        "prompts",
        _key(),
        sa.Column("batch_id", ID, sa.ForeignKey("batches.id", name="prompts_batch")),
        sa.Column("custom_id", sa.Text()),
        sa.Column("endpoint", sa.Text(), nullable=False, server_default="default"),
        sa.Column("model", sa.Text()),
        sa.Column("prompt", sa.Text()),
        sa.Column("system", sa.Text()),
        sa.Column("messages", JSON),
        sa.Column("options", JSON),
        sa.Column("priority", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("status", sa.Text(), nullable=False, server_default="queued"),
        sa.Column("available_at", TIME, nullable=False, server_default=_now()),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("max_attempts", sa.Integer()),
        sa.Column("crashes", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("runs", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("cancel_requested_at", TIME),
        sa.Column("run_id", ID),
        sa.Column("error_code", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("metadata", JSONB),
        sa.Column("created_at", TIME, nullable=False, server_default=_now()),
        sa.Column("finished_at", TIME),
        sa.UniqueConstraint("batch_id", "custom_id", name="prompts_custom_id"),
        sa.CheckConstraint(
            "(prompt IS NULL) <> (messages IS NULL)", name="prompts_prompt_or_messages"
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'completed', 'failed', 'cancelled')",
            name="prompts_status",
        ),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))",
            name="prompts_finished_at",
        ),
        sa.CheckConstraint("status <> 'running' OR run_id IS NOT NULL", name="prompts_running_run"),
        sa.CheckConstraint("attempts >= 0 AND crashes >= 0 AND runs >= 0", name="prompts_counts"),
        sa.CheckConstraint("max_attempts >= 1", name="prompts_max_attempts"),
        sa.CheckConstraint("endpoint <> ''", name="prompts_endpoint"),
        *_prompt_checks(),
        sqlite_autoincrement=True,
        sqlite_strict=True,
        postgresql_with=OFTEN_UPDATED,
    )


def _prompt_checks() -> list[sa.CheckConstraint]:
    if _is_sqlite():
        return [
            sa.CheckConstraint(
                "messages IS NULL OR (json_valid(messages) AND json_type(messages) = 'array')",
                name="prompts_messages_array",
            ),
            sa.CheckConstraint(
                "options IS NULL OR (json_valid(options) AND json_type(options) = 'object')",
                name="prompts_options_object",
            ),
            _metadata_is_json("prompts"),
            sa.CheckConstraint(
                "available_at LIKE '____-__-__ __:__:__%'", name="prompts_available_at_form"
            ),
        ]
    return [
        sa.CheckConstraint("json_typeof(messages) = 'array'", name="prompts_messages_array"),
        sa.CheckConstraint("json_typeof(options) = 'object'", name="prompts_options_object"),
        sa.CheckConstraint("isfinite(available_at)", name="prompts_available_at_form"),
    ]


def _runs() -> None:
    op.create_table(
        "runs",
        _key(),
        sa.Column(
            "prompt_id",
            ID,
            sa.ForeignKey("prompts.id", name="runs_prompt", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("dialect", sa.Text(), nullable=False),
        sa.Column("model", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False, server_default="streaming"),
        sa.Column("started_at", TIME, nullable=False, server_default=_now()),
        sa.Column("first_text_at", TIME),
        sa.Column("finished_at", TIME),
        sa.Column("finish_reason", sa.Text()),
        sa.Column("prompt_tokens", ID),
        sa.Column("completion_tokens", ID),
        sa.Column("chars", ID, nullable=False, server_default=sa.text("0")),
        sa.Column("chunks", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("http_status", sa.Integer()),
        sa.Column("request_id", sa.Text()),
        sa.Column("error_code", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("done_frame", FLAG, nullable=False, server_default=sa.false()),
        sa.UniqueConstraint("prompt_id", "attempt", name="runs_attempt"),
        sa.CheckConstraint(
            "status IN ('streaming', 'completed', 'interrupted', 'failed', 'cancelled')",
            name="runs_status",
        ),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL)"
            " = (status IN ('completed', 'interrupted', 'failed', 'cancelled'))",
            name="runs_finished_at",
        ),
        sa.CheckConstraint(
            "status <> 'completed' OR done_frame OR finish_reason IS NOT NULL",
            name="runs_completed_is_done",
        ),
        sqlite_autoincrement=True,
        sqlite_strict=True,
        postgresql_with=OFTEN_UPDATED,
    )


def _chunks() -> None:
    op.create_table(
        "chunks",
        sa.Column(
            "run_id",
            ID,
            sa.ForeignKey("runs.id", name="chunks_run", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=_now()),
        sa.PrimaryKeyConstraint("run_id", "seq", name="chunks_key"),
        sa.CheckConstraint("kind IN ('text', 'thinking', 'tool_calls')", name="chunks_kind"),
        sa.CheckConstraint("seq >= 0", name="chunks_seq"),
        sqlite_strict=True,
        postgresql_with={
            "toast_tuple_target": 2720,
            "autovacuum_vacuum_insert_scale_factor": 0.05,
            "autovacuum_analyze_scale_factor": 0.05,
        },
    )


def _indexes() -> None:
    claimable = sa.text("status = 'queued' AND cancel_requested_at IS NULL")
    suspected = sa.text("status = 'queued' AND cancel_requested_at IS NULL AND crashes > 0")
    cancel_wanted = sa.text("cancel_requested_at IS NOT NULL AND finished_at IS NULL")
    streaming = sa.text("status = 'streaming'")
    for name, table, columns, where in (
        (
            "prompts_claim",
            "prompts",
            ["endpoint", sa.text("priority DESC"), "available_at", "id"],
            claimable,
        ),
        ("prompts_suspects", "prompts", ["endpoint", "id"], suspected),
        ("prompts_cancel", "prompts", ["status", "run_id"], cancel_wanted),
        ("runs_streaming", "runs", ["worker_id", "id"], streaming),
    ):
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


OFTEN_UPDATED = {
    "fillfactor": 85,
    "autovacuum_vacuum_scale_factor": 0.02,
    "autovacuum_analyze_scale_factor": 0.02,
    "autovacuum_vacuum_cost_delay": 1,
}

POSTGRESQL_EXTRAS = (
    """
DO $$ BEGIN
    EXECUTE 'ALTER TABLE chunks ALTER COLUMN text SET COMPRESSION lz4';
EXCEPTION WHEN feature_not_supported OR syntax_error THEN
    NULL;
END $$
""",
    """
CREATE FUNCTION spool_wake() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('spool_prompts', '');
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER prompts_wake_on_insert AFTER INSERT ON prompts
FOR EACH STATEMENT EXECUTE FUNCTION spool_wake()
""",
    """
CREATE TRIGGER prompts_wake_on_requeue AFTER UPDATE OF status ON prompts
FOR EACH ROW WHEN (
    OLD.status <> 'queued' AND NEW.status = 'queued'
    AND NEW.available_at <= clock_timestamp()
)
EXECUTE FUNCTION spool_wake()
""",
)
