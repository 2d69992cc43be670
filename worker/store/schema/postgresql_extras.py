"""Statements of the schema that only PostgreSQL knows and that name no word of ours."""

from __future__ import annotations

# pglz, the default, cost a third of the throughput; a server built without lz4 keeps it.
CHUNKS_LZ4 = """
DO $$ BEGIN
    EXECUTE 'ALTER TABLE chunks ALTER COLUMN text SET COMPRESSION lz4';
EXCEPTION WHEN feature_not_supported OR syntax_error THEN
    NULL;
END $$
"""

WAKE_ON_INSERT = """
CREATE TRIGGER prompts_wake_on_insert AFTER INSERT ON prompts
FOR EACH STATEMENT EXECUTE FUNCTION spool_wake()
"""
