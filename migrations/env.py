"""Alembic's way in: it runs on the connection that `worker.store.schema.migrate` hands over.

The transaction, its locks and its end are the caller's: see `worker/store/schema/migrate.py`.
"""

from __future__ import annotations

from alembic import context

connection = context.config.attributes.get("connection")
if connection is None:
    message = "migrations are run by `spool migrate`"
    raise RuntimeError(message)

context.configure(connection=connection)
with context.begin_transaction():
    context.run_migrations()
