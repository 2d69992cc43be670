"""The views read with the rights of who asks, not of who owns them.

What: `security_invoker` on the four views.
Why: a policy of row-level security on `prompts` did not hold in `results`.
Locks taken, and for how long: ACCESS EXCLUSIVE on each view, for a moment.
Workers of the version before this one keep working, because: they own the tables, or could read
them already.  A role that was granted the views alone is granted what they read, column by column.

Nothing is imported from the program: it will change, and this file must not.

Revision: 0002, after 0001.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

VIEWS = ("results", "live", "attempts", "progress")
# What the views read of the tables.
READ = {
    "prompts": "id, batch_id, custom_id, endpoint, model, prompt, status, run_id, attempts,"
    " error_code, error, metadata, created_at, finished_at",
    "batches": "id, name",
    "runs": "id, prompt_id, attempt, worker_id, endpoint, dialect, model, status, started_at,"
    " first_text_at, finished_at, finish_reason, prompt_tokens, completion_tokens, chars, chunks,"
    " http_status, request_id, error_code, error, done_frame",
    "chunks": "run_id, seq, kind, text, created_at",
}
# Who may read a view, apart from its owner: oid 0 is everybody.
GRANTEES = """
SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC'
    ELSE quote_ident(pg_get_userbyid(a.grantee)) END
FROM pg_class c, LATERAL aclexplode(c.relacl) a
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname IN
    ('results', 'live', 'attempts', 'progress')
    AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    for (role,) in op.get_bind().exec_driver_sql(GRANTEES).all():
        for table, columns in READ.items():
            op.get_bind().exec_driver_sql(f"GRANT SELECT ({columns}) ON {table} TO {role}")
    for view in VIEWS:
        op.execute(f"ALTER VIEW {view} SET (security_invoker = true)")


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        for view in VIEWS:
            op.execute(f"ALTER VIEW {view} RESET (security_invoker)")
