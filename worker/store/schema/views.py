"""The views: what people ask for in SQL.

Every text is a scalar subquery in the select list, not a join: a query that does not
name the column does not read one chunk, and one that asks for a single prompt reads
the chunks of a single run, through their key.

SQLite before 3.44 has no ORDER BY inside an aggregate; a subquery that is ordered
already does the same there, and SQLite keeps that order for `group_concat`.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.records import SPLICED_BY, Kind
from worker.states import PromptState, RunState
from worker.store.database.sql_expressions import SQLITE_NOW
from worker.store.schema.tables import also, metadata
from worker.wire.finish_reason import TRUNCATED_REASONS

RATE_MINUTES = 10  # `progress` counts what was completed in so many minutes


@dataclass(frozen=True, slots=True)
class _Words:
    """What the two databases spell differently."""

    joined: str
    now: str
    seconds: str
    earlier: str
    least: str
    greatest: str

    def text(self, run: str, kind: Kind = Kind.TEXT) -> str:
        """All chunks of one kind of one run, in their order; NULL if there are none."""
        return self.joined.format(run=run, kind=kind)

    def between(self, start: str, end: str) -> str:
        """Seconds between two times."""
        return self.seconds.format(start=start, end=end)


_POSTGRESQL = _Words(
    joined="(SELECT string_agg(c.text, '' ORDER BY c.seq)\n"
    "        FROM chunks c WHERE c.run_id = {run} AND c.kind = '{kind}')",
    # Stable within a statement: a volatile function would keep the planner from looking inside.
    now="statement_timestamp()",
    seconds="CAST(round(CAST(EXTRACT(EPOCH FROM\n"
    "        {end} - {start}) AS numeric), 3) AS double precision)",
    earlier=f"statement_timestamp() - interval '{RATE_MINUTES} minutes'",
    least="least",
    greatest="greatest",
)
_SQLITE = _Words(
    joined="(SELECT group_concat(t.text, '') FROM (SELECT c.text\n"
    "        FROM chunks c WHERE c.run_id = {run} AND c.kind = '{kind}' ORDER BY c.seq) t)",
    now=SQLITE_NOW,
    seconds="round((julianday({end})\n        - julianday({start})) * 86400.0, 3)",
    earlier=f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{RATE_MINUTES} minutes')",
    least="min",
    greatest="max",
)


def source(prompt: str = "p", run: str = "r") -> str:
    """The run whose output stands for a prompt; `prompt` and its latest `run` are table names.

    Of a completed prompt it is the run that completed it; else the latest of the same request that
    stored text, or, if none did, anything.  A refused connection, which stores nothing, hides
    nothing.
    """
    # No EXISTS: PostgreSQL would make a join of it, and may read all chunks for a single prompt.
    latest = f"""(SELECT t.id FROM runs t
        WHERE t.prompt_id = {prompt}.id AND t.attempt >= coalesce({prompt}.first_attempt, 1)
            AND (t.request_hash = {run}.request_hash) IS NOT FALSE
            AND (SELECT k.seq FROM chunks k WHERE k.run_id = t.id{{kind}}
                ORDER BY k.seq LIMIT 1) IS NOT NULL
        ORDER BY t.attempt DESC LIMIT 1)"""
    with_text = latest.format(kind=f" AND k.kind = '{Kind.TEXT}'")
    done = f"{prompt}.status = '{PromptState.COMPLETED}'"
    return f"""CASE WHEN {done} THEN {prompt}.run_id ELSE coalesce(
        {with_text},
        {latest.format(kind="")}) END"""


_TRUNCATED = (
    f"(p.status = '{PromptState.COMPLETED}' AND coalesce(r.finish_reason IN ("
    + ", ".join(f"'{word}'" for word in TRUNCATED_REASONS)
    + "), FALSE))"
)


def _whole_calls(sql: _Words, run: str) -> str:
    """The tool calls of a run: a JSON array from its ending on, pieces before."""
    kept = f"(SELECT e.tool_calls FROM runs e WHERE e.id = {run})"
    return f"coalesce({kept},\n        {sql.text(run, Kind.TOOL_CALLS)})"


_SPLICED = (
    "coalesce(r.continued_by IN ("
    + ", ".join(f"'{way}'" for way in SPLICED_BY)
    + ") AND r.carried_chars > 0, FALSE)"
)


def _tokens_of_all(column: str, *, until: str = "") -> str:
    """The tokens of all runs of a prompt together; of those that ask what it asks now."""
    return f"""(SELECT CAST(sum(t.{column}) AS bigint) FROM runs t
        WHERE t.prompt_id = p.id AND t.attempt >= coalesce(p.first_attempt, 1){until})"""


def _results(sql: _Words) -> str:
    """A row per prompt."""
    ended = f"coalesce(r.finished_at, {sql.now})"
    return f"""
SELECT p.id, b.name AS batch, p.custom_id, p.endpoint, coalesce(r.model, p.model) AS model,
    p.prompt, p.status,
    CASE WHEN p.status = '{PromptState.COMPLETED}'
        THEN coalesce({sql.text("p.run_id")}, '') END AS output,
    CASE WHEN p.status <> '{PromptState.COMPLETED}'
        THEN {sql.text(source())} END AS partial_output,
    {sql.text(source(), Kind.THINKING)} AS thinking,
    r.finish_reason, r.prompt_tokens,
    r.completion_tokens + coalesce(r.carried_tokens, 0) AS completion_tokens, p.attempts,
    {sql.between("r.started_at", ended)} AS seconds,
    p.error_code, p.error, p.metadata, p.created_at, p.finished_at,
    {_whole_calls(sql, source())} AS tool_calls,
    p.run_id,
    {source()} AS text_run_id,
    {_TRUNCATED} AS truncated,
    r.continued_by, r.carried_chars, {_SPLICED} AS spliced,
    {_tokens_of_all("prompt_tokens")} AS total_prompt_tokens,
    {_tokens_of_all("completion_tokens")} AS total_completion_tokens,
    {sql.between("r.started_at", "r.first_text_at")} AS first_text_seconds
FROM prompts p
LEFT JOIN batches b ON b.id = p.batch_id
LEFT JOIN runs r ON r.id = p.run_id
"""


def _live(sql: _Words) -> str:
    """A row per run that is streaming now."""
    last = (
        "(SELECT c.created_at FROM chunks c\n"
        "        WHERE c.run_id = r.id ORDER BY c.seq DESC LIMIT 1)"
    )
    chars = (
        "(SELECT coalesce(sum(length(c.text)), 0)\n"
        f"        FROM chunks c WHERE c.run_id = r.id AND c.kind = '{Kind.TEXT}')"
    )
    seconds = sql.between("r.started_at", sql.now)
    return f"""
SELECT r.id AS run_id, p.id AS prompt_id, b.name AS batch, p.custom_id, r.endpoint, r.model,
    r.worker_id, r.attempt, r.started_at, {seconds} AS seconds,
    {last} AS last_flush_at,
    {sql.between(last, sql.now)} AS flush_age_seconds,
    (SELECT count(*) FROM chunks c WHERE c.run_id = r.id) AS chunks,
    {chars} AS chars,
    ({chars} - coalesce(r.carried_chars, 0))
        / {sql.greatest}({seconds}, 0.001) AS chars_per_second,
    {sql.text("r.id")} AS text,
    {sql.text("r.id", Kind.THINKING)} AS thinking
FROM runs r
JOIN prompts p ON p.id = r.prompt_id
LEFT JOIN batches b ON b.id = p.batch_id
WHERE r.status = '{RunState.STREAMING}'
"""


def _attempts(sql: _Words) -> str:
    """A row per run, whatever became of it."""
    ended = f"coalesce(r.finished_at, {sql.now})"
    return f"""
SELECT r.id AS run_id, r.prompt_id, b.name AS batch, p.custom_id, r.attempt, r.status,
    r.worker_id, r.endpoint, r.dialect, r.model, r.started_at, r.first_text_at, r.finished_at,
    {sql.between("r.started_at", ended)} AS seconds,
    r.finish_reason, r.prompt_tokens, r.completion_tokens,
    CASE WHEN r.status = '{RunState.STREAMING}' THEN
        (SELECT coalesce(sum(length(c.text)), 0) FROM chunks c
            WHERE c.run_id = r.id AND c.kind = '{Kind.TEXT}')
        ELSE r.chars END AS chars,
    CASE WHEN r.status = '{RunState.STREAMING}' THEN
        (SELECT count(*) FROM chunks c WHERE c.run_id = r.id)
        ELSE r.chunks END AS chunks,
    r.http_status, r.request_id, r.error_code, r.error, r.done_frame,
    {sql.text("r.id")} AS text,
    {sql.text("r.id", Kind.THINKING)} AS thinking,
    coalesce(r.tool_calls, {sql.text("r.id", Kind.TOOL_CALLS)}) AS tool_calls,
    r.continued_by, r.carried_chars, {_SPLICED} AS spliced,
    {_tokens_of_all("prompt_tokens", until=" AND t.attempt <= r.attempt")} AS total_prompt_tokens,
    {_tokens_of_all("completion_tokens", until=" AND t.attempt <= r.attempt")}
        AS total_completion_tokens,
    {sql.between("r.started_at", "r.first_text_at")} AS first_text_seconds,
    r.continues_run_id, r.dropped_chars, r.not_continued
FROM runs r
JOIN prompts p ON p.id = r.prompt_id
LEFT JOIN batches b ON b.id = p.batch_id
"""


def _progress(sql: _Words) -> str:
    """A row per batch, and one for the prompts without a batch."""
    counts = ",\n    ".join(
        f"count(*) FILTER (WHERE p.status = '{state}') AS {state}" for state in PromptState
    )
    done = f"p.status = '{PromptState.COMPLETED}'"
    window = (
        f"{sql.greatest}(0.1, {sql.least}({RATE_MINUTES}.0,"
        f" {sql.between('min(r.started_at)', sql.now)} / 60.0))"
    )
    return f"""
SELECT b.name AS batch, count(*) AS total,
    {counts},
    sum(r.prompt_tokens) FILTER (WHERE {done}) AS prompt_tokens,
    sum(r.completion_tokens) FILTER (WHERE {done}) AS completion_tokens,
    min(p.created_at) FILTER (WHERE p.finished_at IS NULL) AS oldest,
    max(p.finished_at) AS last_finished_at,
    count(*) FILTER (WHERE {done} AND p.finished_at > {sql.earlier})
        / {window} AS completed_per_minute,
    count(*) FILTER (WHERE {_TRUNCATED}) AS truncated
FROM prompts p
LEFT JOIN batches b ON b.id = p.batch_id
LEFT JOIN runs r ON r.id = p.run_id
GROUP BY b.id, b.name
"""


VIEWS = {"results": _results, "live": _live, "attempts": _attempts, "progress": _progress}


def definition(name: str, *, is_sqlite: bool) -> str:
    """The CREATE VIEW statement of a view."""
    body = VIEWS[name](_SQLITE if is_sqlite else _POSTGRESQL)
    # Without it a view would read with its owner's rights, past the policies on the tables.
    option = "" if is_sqlite else " WITH (security_invoker = true)"
    return f"CREATE VIEW {name}{option} AS {body.strip()}"


for _name in VIEWS:
    also(metadata, "sqlite", definition(_name, is_sqlite=True))
    also(metadata, "postgresql", definition(_name, is_sqlite=False))
