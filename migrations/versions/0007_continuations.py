"""A run may go on where an earlier one of its prompt was cut.

What: `runs` learns whose text it continues, how much of it, and how; the views `results` and
`attempts` grow at their end, `results.completion_tokens` counts the carried part as well, and
`live.chars_per_second` leaves it out.
Locks taken, and for how long: ACCESS EXCLUSIVE on `runs` and on the views for moments; every column
may be NULL and has no default, so no row is read or written.
Workers of the version before this one keep working, because: they name the columns that they
write, and do not read views.  Who may write chunks may call `spool_drop_copied`, which deletes
text of a run that a later one has copied.

Revision: 0007.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
VIEWS = ("results", "live", "attempts", "progress")
COLUMNS = (
    ("continues_run_id", ID),
    ("carried_chars", ID),
    ("carried_chunks", sa.Integer()),
    ("carried_tokens", ID),
    ("dropped_chars", ID),
    ("continued_by", sa.Text()),
    ("not_continued", sa.Text()),
    ("frames", sa.Integer()),
    ("stream_bytes", ID),
)
FUNCTION = "spool_drop_copied(bigint, bigint)"
# Who was granted something, apart from the owner: oid 0 is everybody.
READERS = """
SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC'
    ELSE quote_ident(pg_get_userbyid(a.grantee)) END
FROM pg_class c, LATERAL aclexplode(c.relacl) a
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname IN
    ('results', 'live', 'attempts', 'progress')
    AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner
"""
WRITERS = """
SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC'
    ELSE quote_ident(pg_get_userbyid(a.grantee)) END
FROM pg_class c, LATERAL aclexplode(c.relacl) a
WHERE c.oid = 'chunks'::regclass AND a.privilege_type = 'INSERT' AND a.grantee <> c.relowner
"""
DROP_COPIED = """
CREATE FUNCTION spool_drop_copied(earlier bigint, later bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    DELETE FROM chunks c USING chunks d, runs a, runs b
    WHERE a.id = earlier AND b.id = later
        AND b.continues_run_id = a.id AND b.prompt_id = a.prompt_id
        AND c.run_id = a.id AND d.run_id = b.id
        AND d.seq = c.seq AND d.kind = c.kind AND d.text = c.text
        AND c.seq < a.carried_chunks
$$
"""


def upgrade() -> None:
    for name, kind in COLUMNS:
        op.add_column("runs", sa.Column(name, kind))
    if op.get_bind().dialect.name == "sqlite":
        _drop_views()
    else:
        names = ", ".join(name for name, _ in COLUMNS)
        for (role,) in op.get_bind().exec_driver_sql(READERS).all():
            op.execute(f"GRANT SELECT ({names}) ON runs TO {role}")
        op.execute(DROP_COPIED)
        op.execute(f"REVOKE ALL ON FUNCTION {FUNCTION} FROM PUBLIC")
        for (role,) in op.get_bind().exec_driver_sql(WRITERS).all():
            op.execute(f"GRANT EXECUTE ON FUNCTION {FUNCTION} TO {role}")
    _create_views("0007")


def downgrade() -> None:
    _drop_views()
    _create_views("0005")
    if op.get_bind().dialect.name != "sqlite":
        op.execute(f"DROP FUNCTION {FUNCTION}")
    for name, _ in reversed(COLUMNS):
        op.drop_column("runs", name)


def _drop_views() -> None:
    for view in reversed(VIEWS):
        op.execute(f"DROP VIEW {view}")


def _create_views(number: str) -> None:
    """PostgreSQL replaces a view in its place, which keeps what was granted on it."""
    name = f"{number}_views.{op.get_bind().dialect.name}.sql"
    views = Path(__file__).with_name(name).read_text(encoding="utf-8")
    for view in filter(str.strip, views.split(";\n")):
        op.get_bind().exec_driver_sql(view)
