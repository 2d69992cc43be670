"""The schema on one page: tables, constraints, indexes, and PostgreSQL's own extras.

Everything here is a public contract for people who write SQL; `docs/sql.md` tells
it to them, and only a migration changes it.  A bare `INSERT INTO prompts (prompt)
VALUES ('...')` is a complete way to queue work, so every other column has its
default in the database.  The constraints say what the program also holds: the
states are those of `states.py`, `finished_at` is set exactly in the final ones.

The indexes follow the questions: what may be claimed (queued rows only, so it
stays small however many prompts are finished), what a worker carries, what is to
be cancelled.  Chunks have one index, their key: on SQLite a rowid table, because
a WITHOUT ROWID table wrote four times as many bytes.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    event,
    false,
    text,
    true,
)

from worker.records import Kind
from worker.states import FINAL_PROMPT_STATES, FINAL_RUN_STATES, SUSPECT_RUNS, PromptState, RunState
from worker.store.database.column_types import Flag, Json, Timestamp
from worker.store.database.sql_expressions import Id, in_states, now, one_word_of
from worker.store.schema.batch_files import asked_columns, file_tables
from worker.store.schema.postgresql_extras import CHUNKS_LZ4, WAKE_ON_INSERT
from worker.store.statements.conditions import (
    continuation,
    finished_exactly_in,
    json_is,
    one_of_words,
    prompt_bounds,
    run_bounds,
)
from worker.wire.finish_reason import TRUNCATED_REASONS

NOTIFY_CHANNEL = "spool_prompts"

metadata = MetaData()


def _key() -> Column[int]:
    # AUTOINCREMENT and identities: an id is never given out twice, not even after a delete.
    return Column("id", Id, Identity(always=False), primary_key=True)


batches = Table(
    "batches",
    metadata,
    _key(),
    Column("name", Text, nullable=False),
    Column("source", Text),
    Column("metadata", Json(binary=True)),
    Column("created_at", Timestamp, nullable=False, server_default=now()),
    *asked_columns(),
    UniqueConstraint("name", name="batches_name"),
    CheckConstraint(
        "metadata IS NULL OR json_valid(metadata)", name="batches_metadata_json"
    ).ddl_if("sqlite"),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

prompts = Table(
    "prompts",
    metadata,
    _key(),
    Column("batch_id", Id, ForeignKey("batches.id", name="prompts_batch")),
    Column("custom_id", Text),
    Column("endpoint", Text, nullable=False, server_default="default"),
    Column("model", Text),
    Column("prompt", Text),
    Column("system", Text),
    Column("messages", Json),
    Column("options", Json),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    Column("status", Text, nullable=False, server_default=PromptState.QUEUED.value),
    Column("available_at", Timestamp, nullable=False, server_default=now()),
    Column("attempts", Integer, nullable=False, server_default=text("0")),  # those charged
    Column("max_attempts", Integer),  # NULL: what the worker's settings say
    Column("crashes", Integer, nullable=False, server_default=text("0")),  # of its workers
    Column("runs", Integer, nullable=False, server_default=text("0")),  # all ever started
    Column("cancel_requested_at", Timestamp),
    Column("run_id", Id),  # the latest run; no foreign key, for the two tables name each other
    Column("error_code", Text),
    Column("error", Text),
    Column("metadata", Json(binary=True)),
    Column("created_at", Timestamp, nullable=False, server_default=now()),
    Column("finished_at", Timestamp),
    Column("keeps_place", Flag),  # it goes before those that never ran; NULL: it does not
    Column("runs_without_progress", Integer, prompt_bounds()),  # in a row; NULL: none
    Column("first_attempt", Integer),  # that answers what is asked now; NULL: 1
    Column("request_hash", Text),  # of what `add` was asked; NULL: not known
    UniqueConstraint("batch_id", "custom_id", name="prompts_custom_id"),
    CheckConstraint("(prompt IS NULL) <> (messages IS NULL)", name="prompts_prompt_or_messages"),
    CheckConstraint(one_of_words("status", PromptState), name="prompts_status"),
    CheckConstraint(finished_exactly_in(FINAL_PROMPT_STATES), name="prompts_finished_at"),
    CheckConstraint(
        f"status <> '{PromptState.RUNNING}' OR run_id IS NOT NULL", name="prompts_running_run"
    ),
    CheckConstraint("attempts >= 0 AND crashes >= 0 AND runs >= 0", name="prompts_counts"),
    CheckConstraint("max_attempts >= 1", name="prompts_max_attempts"),
    CheckConstraint("endpoint <> ''", name="prompts_endpoint"),
    # What a claim could not read would stop every claim behind it.
    CheckConstraint(json_is("messages", "array"), name="prompts_messages_array").ddl_if("sqlite"),
    CheckConstraint(json_is("options", "object"), name="prompts_options_object").ddl_if("sqlite"),
    CheckConstraint(
        "metadata IS NULL OR json_valid(metadata)", name="prompts_metadata_json"
    ).ddl_if("sqlite"),
    CheckConstraint("json_typeof(messages) = 'array'", name="prompts_messages_array").ddl_if(
        "postgresql"
    ),
    CheckConstraint("json_typeof(options) = 'object'", name="prompts_options_object").ddl_if(
        "postgresql"
    ),
    # Times are compared as text on SQLite: '2026-01-01T00:00' would sort after all of that day.
    CheckConstraint(
        "available_at LIKE '____-__-__ __:__:__%'", name="prompts_available_at_form"
    ).ddl_if("sqlite"),
    CheckConstraint("isfinite(available_at)", name="prompts_available_at_form").ddl_if(
        "postgresql"
    ),
    sqlite_autoincrement=True,
    sqlite_strict=True,
    postgresql_with={
        "fillfactor": 85,
        "autovacuum_vacuum_scale_factor": 0.02,
        "autovacuum_analyze_scale_factor": 0.02,
        "autovacuum_vacuum_cost_delay": 1,
    },
)

runs = Table(
    "runs",
    metadata,
    _key(),
    Column(
        "prompt_id",
        Id,
        ForeignKey("prompts.id", name="runs_prompt", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("attempt", Integer, nullable=False),
    Column("worker_id", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("model", Text),
    Column("status", Text, nullable=False, server_default=RunState.STREAMING.value),
    Column("started_at", Timestamp, nullable=False, server_default=now()),
    Column("first_text_at", Timestamp),
    Column("finished_at", Timestamp),
    Column("finish_reason", Text),
    Column("prompt_tokens", Id),
    Column("completion_tokens", Id),
    Column("chars", Id, nullable=False, server_default=text("0")),
    Column("chunks", Integer, nullable=False, server_default=text("0")),
    Column("http_status", Integer),
    Column("request_id", Text),
    Column("error_code", Text),
    Column("error", Text),
    Column("done_frame", Flag, nullable=False, server_default=false()),
    Column("nonce", Id),  # of the claim that started it; NULL: an older worker's
    Column("request_hash", Text),
    Column("tool_calls", Text),
    Column("cut_id", Id, run_bounds()),
    *continuation(),
    UniqueConstraint("prompt_id", "attempt", name="runs_attempt"),
    CheckConstraint(one_of_words("status", RunState), name="runs_status"),
    CheckConstraint(finished_exactly_in(FINAL_RUN_STATES), name="runs_finished_at"),
    # Only an endpoint that was told to accept it completes on a finish reason alone.
    CheckConstraint(
        f"status <> '{RunState.COMPLETED}' OR done_frame OR finish_reason IS NOT NULL",
        name="runs_completed_is_done",
    ),
    sqlite_autoincrement=True,
    sqlite_strict=True,
    postgresql_with={
        "fillfactor": 85,
        "autovacuum_vacuum_scale_factor": 0.02,
        "autovacuum_analyze_scale_factor": 0.02,
        "autovacuum_vacuum_cost_delay": 1,
    },
)

chunks = Table(
    "chunks",
    metadata,
    Column(
        "run_id",
        Id,
        ForeignKey("runs.id", name="chunks_run", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("seq", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False, server_default=now()),
    PrimaryKeyConstraint("run_id", "seq", name="chunks_key"),
    CheckConstraint(one_of_words("kind", Kind), name="chunks_kind"),
    CheckConstraint("seq >= 0", name="chunks_seq"),
    sqlite_strict=True,
    postgresql_with={
        # 4 KiB of prose, compressed, stay in their row: 7 % fewer bytes than in two rows of the
        # TOAST table.  What is shorter than this is stored as it is.
        "toast_tuple_target": 2720,
        # Inserted once and never changed: vacuum is only there to set the visibility map.
        "autovacuum_vacuum_insert_scale_factor": 0.05,
        "autovacuum_analyze_scale_factor": 0.05,
    },
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger().with_variant(Integer(), "sqlite"), nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at", Timestamp, nullable=False, server_default=now()),
    Column("lease_until", Timestamp, nullable=False),
    Column("stopped_at", Timestamp),
    Column("endpoints", Json(binary=True)),  # what it serves, and how it stands with each
    Column("leaving_at", Timestamp),  # since when it has been told to stop
    Column("process", Json(binary=True)),  # how others on its host recognise it
    sqlite_strict=True,
    postgresql_with={"fillfactor": 50, "autovacuum_vacuum_scale_factor": 0.02},
)

# What a run has besides its text, in pieces: `data` is as the server sent it.
run_extras = Table(
    "run_extras",
    metadata,
    Column(
        "run_id",
        Id,
        ForeignKey("runs.id", name="run_extras_run", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("seq", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("data", Text, nullable=False),
    PrimaryKeyConstraint("run_id", "seq", name="run_extras_key"),
    CheckConstraint("seq >= 0", name="run_extras_seq"),
    sqlite_strict=True,
)

# What an endpoint last said to any worker with the same URL, dialect, headers and key.
endpoint_states = Table(
    "endpoint_states",
    metadata,
    Column("endpoint", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("worker_id", Text),
    Column("changed_at", Timestamp, nullable=False, server_default=now()),
    Column("state", Json(binary=True)),
    PrimaryKeyConstraint("endpoint", "digest", name="endpoint_states_key"),
    sqlite_strict=True,
)

# One row: the oldest version of Spool that may work here.
schema_info = Table(
    "schema_info",
    metadata,
    Column("id", Integer, nullable=False, autoincrement=False),
    Column("min_worker", Text, nullable=False),
    PrimaryKeyConstraint("id", name="schema_info_key"),
    CheckConstraint("id = 1", name="schema_info_one_row"),
    sqlite_strict=True,
)

batch_files, batch_file_parts = file_tables(metadata)

# What the partial indexes hold: a statement that wants one says its condition word for word.
CLAIMABLE = in_states(prompts.c.status, (PromptState.QUEUED,)) & prompts.c.cancel_requested_at.is_(
    None
)
KEEPS_PLACE = CLAIMABLE & prompts.c.keeps_place.is_(true())
CANCEL_WANTED = prompts.c.cancel_requested_at.is_not(None) & prompts.c.finished_at.is_(None)
UNDER_WAY = in_states(runs.c.status, (RunState.STREAMING,))
TRUNCATED = in_states(runs.c.status, (RunState.COMPLETED,)) & one_word_of(
    runs.c.finish_reason, TRUNCATED_REASONS
)

Index("batches_idempotency", batches.c.owner, batches.c.idempotency_key, unique=True)
Index(
    "prompts_claim",
    prompts.c.endpoint,
    prompts.c.priority.desc(),
    prompts.c.available_at,
    prompts.c.id,
    postgresql_where=CLAIMABLE,
    sqlite_where=CLAIMABLE,
)
Index(
    "prompts_place",
    prompts.c.endpoint,
    prompts.c.priority.desc(),
    prompts.c.available_at,
    prompts.c.id,
    postgresql_where=KEEPS_PLACE,
    sqlite_where=KEEPS_PLACE,
)
Index(
    "prompts_suspects",
    prompts.c.endpoint,
    prompts.c.id,
    postgresql_where=CLAIMABLE & (prompts.c.crashes > 0),
    sqlite_where=CLAIMABLE & (prompts.c.crashes > 0),
)
SUSPECTED = CLAIMABLE & (prompts.c.runs_without_progress >= SUSPECT_RUNS)
Index(
    "prompts_suspected",
    prompts.c.endpoint,
    prompts.c.available_at,
    postgresql_where=SUSPECTED,
    sqlite_where=SUSPECTED,
)
Index(
    "prompts_cancel",
    prompts.c.status,
    prompts.c.run_id,
    postgresql_where=CANCEL_WANTED,
    sqlite_where=CANCEL_WANTED,
)
Index(
    "runs_streaming",
    runs.c.worker_id,
    runs.c.id,
    postgresql_where=UNDER_WAY,
    sqlite_where=UNDER_WAY,
)

Index(
    "runs_truncated",
    runs.c.prompt_id,
    postgresql_where=TRUNCATED,
    sqlite_where=TRUNCATED,
)

_WAKE = f"""
CREATE FUNCTION spool_wake() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('{NOTIFY_CHANNEL}', '');
    RETURN NULL;
END $$
"""

# Claims and finishes pay for one comparison; only rows that became claimable fire it, and
# PostgreSQL folds equal notifications of one transaction into one.
_WAKE_ON_REQUEUE = f"""
CREATE TRIGGER prompts_wake_on_requeue AFTER UPDATE OF status ON prompts
FOR EACH ROW WHEN (
    OLD.status <> '{PromptState.QUEUED}' AND NEW.status = '{PromptState.QUEUED}'
    AND NEW.available_at <= clock_timestamp()
)
EXECUTE FUNCTION spool_wake()
"""


def also(target: Table | MetaData, dialect: str, statement: str) -> None:
    """Let `create_all` run one more statement, on one of the databases."""

    def run(_target: object, connection: Connection, **_: Any) -> None:
        if connection.dialect.name == dialect:
            connection.exec_driver_sql(statement)

    event.listen(target, "after_create", run)


also(chunks, "postgresql", CHUNKS_LZ4)
also(prompts, "postgresql", _WAKE)
also(prompts, "postgresql", WAKE_ON_INSERT)
also(prompts, "postgresql", _WAKE_ON_REQUEUE)
