"""Who may do what on PostgreSQL: three roles, each with the least that its work needs.

A submitter adds prompts, and can neither read nor change those of others.  A worker
claims, streams and ends runs.  A reader asks the tables and views.  They are group
roles: `GRANT spool_worker TO alice` makes alice a worker.  Whoever owns the tables
cancels, retries, prunes and migrates.

Columns are granted one by one where a forged value would harm others: a submitter
who may write `status`, `run_id`, `runs` or `id` can cancel another's stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from sqlalchemy import Connection

from worker.errors import SettingsError, StoreBroken
from worker.store.database.engine import Database
from worker.store.schema import migrate
from worker.store.schema.tables import metadata
from worker.store.schema.views import VIEWS

SUBMITTER, WORKER, READER = ROLES = ("spool_submitter", "spool_worker", "spool_reader")

Columns = Sequence[str]
_ALL: Columns = ()  # of a table, those that later versions add among them

# What a submitter may say of a prompt; the rest is the worker's to write.
_NEW_PROMPT = (
    *("batch_id", "custom_id", "endpoint", "model", "prompt", "system", "messages", "options"),
    *("priority", "available_at", "max_attempts", "metadata", "request_hash"),
)
# What a worker changes; what was asked for is not its own.
_PROGRESS = (
    *("status", "available_at", "attempts", "crashes", "runs", "run_id"),
    *("error_code", "error", "finished_at", "keeps_place", "runs_without_progress"),
)
MAY: Mapping[str, Mapping[str, Mapping[str, Columns]]] = MappingProxyType(
    {
        SUBMITTER: {
            "alembic_version": {"SELECT": _ALL},
            "schema_info": {"SELECT": _ALL},
            "batches": {
                "SELECT": ("id", "name", "source"),
                "INSERT": ("name", "source", "metadata"),
            },
            # To recognise what is there already, and nothing that others asked.
            "prompts": {
                "SELECT": ("id", "batch_id", "custom_id", "request_hash"),
                "INSERT": _NEW_PROMPT,
            },
        },
        WORKER: {
            "alembic_version": {"SELECT": _ALL},
            "schema_info": {"SELECT": _ALL},
            "batches": {"SELECT": _ALL},
            "prompts": {"SELECT": _ALL, "UPDATE": _PROGRESS},
            "runs": {"SELECT": _ALL, "INSERT": _ALL, "UPDATE": _ALL},
            "chunks": {"SELECT": _ALL, "INSERT": _ALL},
            "run_extras": {"SELECT": _ALL, "INSERT": _ALL},
            "endpoint_states": {"SELECT": _ALL, "INSERT": _ALL, "UPDATE": _ALL},
            "workers": {"SELECT": _ALL, "INSERT": _ALL, "UPDATE": _ALL},
        },
        READER: {
            "alembic_version": {"SELECT": _ALL},
            **{table.name: {"SELECT": _ALL} for table in metadata.sorted_tables},
            **{view: {"SELECT": _ALL} for view in VIEWS},
        },
    }
)

# Workers may not delete text, but for what a later run has copied.
_DROP_COPIED = "spool_drop_copied(bigint, bigint)"


def statements() -> Iterator[str]:
    """The statements that make the roles and give each exactly what it may; safe to repeat."""
    for role in ROLES:
        yield (
            "DO $$ BEGIN\n"
            f"    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN\n"
            f"        CREATE ROLE {role} NOLOGIN;\n"
            "    END IF;\n"
            "END $$"
        )
    everything = ", ".join(["alembic_version", *map(str, metadata.sorted_tables), *VIEWS])
    for role in ROLES:
        yield (
            "DO $$ BEGIN\n"
            "    EXECUTE 'GRANT USAGE ON SCHEMA ' || quote_ident(current_schema())"
            f" || ' TO {role}';\n"
            "END $$"
        )
        yield f"REVOKE ALL ON {everything} FROM {role}"
        yield f"REVOKE ALL ON FUNCTION {_DROP_COPIED} FROM PUBLIC, {role}"
        for relation, rights in MAY[role].items():
            granted = ", ".join(_right(verb, columns) for verb, columns in rights.items())
            yield f"GRANT {granted} ON {relation} TO {role}"
    yield f"GRANT EXECUTE ON FUNCTION {_DROP_COPIED} TO {WORKER}"


def _right(verb: str, columns: Columns) -> str:
    return f"{verb} ({', '.join(columns)})" if columns else verb


def apply(url: str) -> None:
    """Run the statements, all or none.

    Raises:
        SettingsError: the database is SQLite, which has no roles.
        StoreBroken: the tables are missing or old, or this role may not make roles or does not own
            the tables.
    """
    database = Database(url, connections=1)
    try:
        if database.is_sqlite:
            raise SettingsError(
                "SQLite has no roles: whoever may write the file may do everything, so its mode"
                " decides (Spool makes it 0600)"
            )
        with database.writing() as connection:
            migrate.check(connection)
            _check_owner(connection)
            for statement in statements():
                connection.exec_driver_sql(statement)
    finally:
        database.close()


# PostgreSQL only warns when somebody grants what is not theirs to grant.
_OWNER = """
SELECT pg_get_userbyid(relowner) FROM pg_class
WHERE oid = 'prompts'::regclass AND NOT pg_has_role(current_user, relowner, 'USAGE')
"""


def _check_owner(connection: Connection) -> None:
    owner = connection.exec_driver_sql(_OWNER).scalar()
    if owner is not None:
        raise StoreBroken(f"only {owner}, who owns the tables, can grant rights on them")
