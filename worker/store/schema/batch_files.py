"""The tables of what `spool serve` takes in: files in parts, and what a batch was asked for.

The bytes of a file lie in parts of at most `PART_BYTES`, so that no row and no statement is large,
and several servers on one database see the same files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

from worker.store.database.column_types import Json, Timestamp
from worker.store.database.sql_expressions import Id, now

PART_BYTES = 1 << 20


def asked_columns() -> Iterator[Column[Any]]:
    """What a client asked for with a batch; all NULL for batches of the command line."""
    yield Column("owner", Text)  # the name of the key that made it
    yield Column("request_path", Text)  # the path that its lines ask for
    yield Column("input_file_id", Text)  # no foreign key: the file may be deleted before it
    yield Column("completion_window", Text)
    yield Column("idempotency_key", Text)
    yield Column("deadline_at", Timestamp)
    yield Column("validated_at", Timestamp)  # since when all its prompts are queued
    yield Column("failed_at", Timestamp)  # since when it is known that its file is wrong
    yield Column("errors", Json(binary=True))  # what is wrong with the file, line by line
    yield Column("cancelling_at", Timestamp)
    yield Column("expired_at", Timestamp)  # since when nothing more of it is started


def file_tables(metadata: MetaData) -> tuple[Table, Table]:
    """Add `batch_files` and `batch_file_parts` to the schema."""
    files = Table(
        "batch_files",
        metadata,
        Column("id", Text, nullable=False),
        Column("owner", Text, nullable=False, server_default=text("''")),
        Column("filename", Text, nullable=False),
        Column("purpose", Text, nullable=False),
        Column("bytes", Id, nullable=False),
        Column("created_at", Timestamp, nullable=False, server_default=now()),
        Column("expires_at", Timestamp),
        PrimaryKeyConstraint("id", name="batch_files_key"),
        CheckConstraint("bytes >= 0", name="batch_files_bytes"),
        sqlite_strict=True,
    )
    parts = Table(
        "batch_file_parts",
        metadata,
        Column("file_id", Text, nullable=False),  # no foreign key: parts come before their file
        Column("seq", Integer, nullable=False),
        Column("data", LargeBinary, nullable=False),
        Column("created_at", Timestamp, nullable=False, server_default=now()),
        PrimaryKeyConstraint("file_id", "seq", name="batch_file_parts_key"),
        CheckConstraint("seq >= 0", name="batch_file_parts_seq"),
        sqlite_strict=True,
    )
    return files, parts
