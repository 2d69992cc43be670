-- The four views as migration 0007 creates them; the newest are in worker/store/views.py.

CREATE OR REPLACE VIEW results WITH (security_invoker = true) AS SELECT p.id, b.name AS batch, p.custom_id, p.endpoint, coalesce(r.model, p.model) AS model,
    p.prompt, p.status,
    CASE WHEN p.status = 'completed'
        THEN coalesce((SELECT string_agg(c.text, '' ORDER BY c.seq)
        FROM chunks c WHERE c.run_id = p.run_id AND c.kind = 'text'), '') END AS output,
    CASE WHEN p.status <> 'completed'
        THEN (SELECT string_agg(c.text, '' ORDER BY c.seq)
        FROM chunks c WHERE c.run_id = CASE WHEN p.status = 'completed' THEN p.run_id ELSE coalesce(
        (SELECT t.id FROM runs t
        WHERE t.prompt_id = p.id AND t.attempt >= coalesce(p.first_attempt, 1)
            AND (t.request_hash = r.request_hash) IS NOT FALSE
            AND (SELECT k.seq FROM chunks k WHERE k.run_id = t.id AND k.kind = 'text'
                ORDER BY k.seq LIMIT 1) IS NOT NULL
        ORDER BY t.attempt DESC LIMIT 1),
        (SELECT t.id FROM runs t
        WHERE t.prompt_id = p.id AND t.attempt >= coalesce(p.first_attempt, 1)
            AND (t.request_hash = r.request_hash) IS NOT FALSE
            AND (SELECT k.seq FROM chunks k WHERE k.run_id = t.id
                ORDER BY k.seq LIMIT 1) IS NOT NULL
        ORDER BY t.attempt DESC LIMIT 1)) END AND c.kind = 'text') END AS partial_output,
    (SELECT string_agg(c.text, '' ORDER BY c.seq)
        FROM chunks c WHERE c.run_id = CASE WHEN p.status = 'completed' THEN p.run_id ELSE coalesce(
        (SELECT t.id FROM runs t
        WHERE t.prompt_id = p.id AND t.attempt >= coalesce(p.first_attempt, 1)
            AND (t.request_hash = r.request_hash) IS NOT FALSE
            AND (SELECT k.seq FROM chunks k WHERE k.run_id = t.id AND k.kind = 'text'
                ORDER BY k.seq LIMIT 1) IS NOT NULL
        ORDER BY t.attempt DESC LIMIT 1),
        (SELECT t.id FROM runs t
        WHERE t.prompt_id = p.id AND t.attempt >= coalesce(p.first_attempt, 1)
            AND (t.request_hash = r.request_hash) IS NOT FALSE
            AND (SELECT k.seq FROM chunks k WHERE k.run_id = t.id
                ORDER BY k.seq LIMIT 1) IS NOT NULL
        ORDER BY t.attempt DESC LIMIT 1)) END AND c.kind = 'thinking') AS thinking,
    r.finish_reason, r.prompt_tokens,
    r.completion_tokens + coalesce(r.carried_tokens, 0) AS completion_tokens, p.attempts,
    CAST(round(CAST(EXTRACT(EPOCH FROM
        coalesce(r.finished_at, statement_timestamp()) - r.started_at) AS numeric), 3) AS double precision) AS seconds,
    p.error_code, p.error, p.metadata, p.created_at, p.finished_at,
    coalesce((SELECT e.tool_calls FROM runs e WHERE e.id = CASE WHEN p.status = 'completed' THEN p.run_id ELSE coalesce(
        (SELECT t.id FROM runs t
        WHERE t.prompt_id = p.id AND t.attempt >= coalesce(p.first_attempt, 1)
            AND (t.request_hash = r.request_hash) IS NOT FALSE
            AND (SELECT k.seq FROM chunks k WHERE k.run_id = t.id AND k.kind = 'text'
                ORDER BY k.seq LIMIT 1) IS NOT NULL
        ORDER BY t.attempt DESC LIMIT 1),
        (SELECT t.id FROM runs t
        WHERE t.prompt_id = p.id AND t.attempt >= coalesce(p.first_attempt, 1)
            AND (t.request_hash = r.request_hash) IS NOT FALSE
            AND (SELECT k.seq FROM chunks k WHERE k.run_id = t.id
                ORDER BY k.seq LIMIT 1) IS NOT NULL
        ORDER BY t.attempt DESC LIMIT 1)) END),
        (SELECT string_agg(c.text, '' ORDER BY c.seq)
        FROM chunks c WHERE c.run_id = CASE WHEN p.status = 'completed' THEN p.run_id ELSE coalesce(
        (SELECT t.id FROM runs t
        WHERE t.prompt_id = p.id AND t.attempt >= coalesce(p.first_attempt, 1)
            AND (t.request_hash = r.request_hash) IS NOT FALSE
            AND (SELECT k.seq FROM chunks k WHERE k.run_id = t.id AND k.kind = 'text'
                ORDER BY k.seq LIMIT 1) IS NOT NULL
        ORDER BY t.attempt DESC LIMIT 1),
        (SELECT t.id FROM runs t
        WHERE t.prompt_id = p.id AND t.attempt >= coalesce(p.first_attempt, 1)
            AND (t.request_hash = r.request_hash) IS NOT FALSE
            AND (SELECT k.seq FROM chunks k WHERE k.run_id = t.id
                ORDER BY k.seq LIMIT 1) IS NOT NULL
        ORDER BY t.attempt DESC LIMIT 1)) END AND c.kind = 'tool_calls')) AS tool_calls,
    p.run_id,
    CASE WHEN p.status = 'completed' THEN p.run_id ELSE coalesce(
        (SELECT t.id FROM runs t
        WHERE t.prompt_id = p.id AND t.attempt >= coalesce(p.first_attempt, 1)
            AND (t.request_hash = r.request_hash) IS NOT FALSE
            AND (SELECT k.seq FROM chunks k WHERE k.run_id = t.id AND k.kind = 'text'
                ORDER BY k.seq LIMIT 1) IS NOT NULL
        ORDER BY t.attempt DESC LIMIT 1),
        (SELECT t.id FROM runs t
        WHERE t.prompt_id = p.id AND t.attempt >= coalesce(p.first_attempt, 1)
            AND (t.request_hash = r.request_hash) IS NOT FALSE
            AND (SELECT k.seq FROM chunks k WHERE k.run_id = t.id
                ORDER BY k.seq LIMIT 1) IS NOT NULL
        ORDER BY t.attempt DESC LIMIT 1)) END AS text_run_id,
    (p.status = 'completed' AND coalesce(r.finish_reason IN ('length', 'max_tokens', 'max_output_tokens', 'limit', 'model_length', 'model_context_window_exceeded', 'repetition', 'MAX_TOKENS', 'incomplete'), FALSE)) AS truncated,
    r.continued_by, r.carried_chars, coalesce(r.continued_by IN ('prefill', 'length') AND r.carried_chars > 0, FALSE) AS spliced,
    (SELECT CAST(sum(t.prompt_tokens) AS bigint) FROM runs t
        WHERE t.prompt_id = p.id AND t.attempt >= coalesce(p.first_attempt, 1)) AS total_prompt_tokens,
    (SELECT CAST(sum(t.completion_tokens) AS bigint) FROM runs t
        WHERE t.prompt_id = p.id AND t.attempt >= coalesce(p.first_attempt, 1)) AS total_completion_tokens,
    CAST(round(CAST(EXTRACT(EPOCH FROM
        r.first_text_at - r.started_at) AS numeric), 3) AS double precision) AS first_text_seconds
FROM prompts p
LEFT JOIN batches b ON b.id = p.batch_id
LEFT JOIN runs r ON r.id = p.run_id;

CREATE OR REPLACE VIEW live WITH (security_invoker = true) AS SELECT r.id AS run_id, p.id AS prompt_id, b.name AS batch, p.custom_id, r.endpoint, r.model,
    r.worker_id, r.attempt, r.started_at, CAST(round(CAST(EXTRACT(EPOCH FROM
        statement_timestamp() - r.started_at) AS numeric), 3) AS double precision) AS seconds,
    (SELECT c.created_at FROM chunks c
        WHERE c.run_id = r.id ORDER BY c.seq DESC LIMIT 1) AS last_flush_at,
    CAST(round(CAST(EXTRACT(EPOCH FROM
        statement_timestamp() - (SELECT c.created_at FROM chunks c
        WHERE c.run_id = r.id ORDER BY c.seq DESC LIMIT 1)) AS numeric), 3) AS double precision) AS flush_age_seconds,
    (SELECT count(*) FROM chunks c WHERE c.run_id = r.id) AS chunks,
    (SELECT coalesce(sum(length(c.text)), 0)
        FROM chunks c WHERE c.run_id = r.id AND c.kind = 'text') AS chars,
    ((SELECT coalesce(sum(length(c.text)), 0)
        FROM chunks c WHERE c.run_id = r.id AND c.kind = 'text') - coalesce(r.carried_chars, 0))
        / greatest(CAST(round(CAST(EXTRACT(EPOCH FROM
        statement_timestamp() - r.started_at) AS numeric), 3) AS double precision), 0.001) AS chars_per_second,
    (SELECT string_agg(c.text, '' ORDER BY c.seq)
        FROM chunks c WHERE c.run_id = r.id AND c.kind = 'text') AS text,
    (SELECT string_agg(c.text, '' ORDER BY c.seq)
        FROM chunks c WHERE c.run_id = r.id AND c.kind = 'thinking') AS thinking
FROM runs r
JOIN prompts p ON p.id = r.prompt_id
LEFT JOIN batches b ON b.id = p.batch_id
WHERE r.status = 'streaming';

CREATE OR REPLACE VIEW attempts WITH (security_invoker = true) AS SELECT r.id AS run_id, r.prompt_id, b.name AS batch, p.custom_id, r.attempt, r.status,
    r.worker_id, r.endpoint, r.dialect, r.model, r.started_at, r.first_text_at, r.finished_at,
    CAST(round(CAST(EXTRACT(EPOCH FROM
        coalesce(r.finished_at, statement_timestamp()) - r.started_at) AS numeric), 3) AS double precision) AS seconds,
    r.finish_reason, r.prompt_tokens, r.completion_tokens,
    CASE WHEN r.status = 'streaming' THEN
        (SELECT coalesce(sum(length(c.text)), 0) FROM chunks c
            WHERE c.run_id = r.id AND c.kind = 'text')
        ELSE r.chars END AS chars,
    CASE WHEN r.status = 'streaming' THEN
        (SELECT count(*) FROM chunks c WHERE c.run_id = r.id)
        ELSE r.chunks END AS chunks,
    r.http_status, r.request_id, r.error_code, r.error, r.done_frame,
    (SELECT string_agg(c.text, '' ORDER BY c.seq)
        FROM chunks c WHERE c.run_id = r.id AND c.kind = 'text') AS text,
    (SELECT string_agg(c.text, '' ORDER BY c.seq)
        FROM chunks c WHERE c.run_id = r.id AND c.kind = 'thinking') AS thinking,
    coalesce(r.tool_calls, (SELECT string_agg(c.text, '' ORDER BY c.seq)
        FROM chunks c WHERE c.run_id = r.id AND c.kind = 'tool_calls')) AS tool_calls,
    r.continued_by, r.carried_chars, coalesce(r.continued_by IN ('prefill', 'length') AND r.carried_chars > 0, FALSE) AS spliced,
    (SELECT CAST(sum(t.prompt_tokens) AS bigint) FROM runs t
        WHERE t.prompt_id = p.id AND t.attempt >= coalesce(p.first_attempt, 1) AND t.attempt <= r.attempt) AS total_prompt_tokens,
    (SELECT CAST(sum(t.completion_tokens) AS bigint) FROM runs t
        WHERE t.prompt_id = p.id AND t.attempt >= coalesce(p.first_attempt, 1) AND t.attempt <= r.attempt)
        AS total_completion_tokens,
    CAST(round(CAST(EXTRACT(EPOCH FROM
        r.first_text_at - r.started_at) AS numeric), 3) AS double precision) AS first_text_seconds,
    r.continues_run_id, r.dropped_chars, r.not_continued
FROM runs r
JOIN prompts p ON p.id = r.prompt_id
LEFT JOIN batches b ON b.id = p.batch_id;

CREATE OR REPLACE VIEW progress WITH (security_invoker = true) AS SELECT b.name AS batch, count(*) AS total,
    count(*) FILTER (WHERE p.status = 'queued') AS queued,
    count(*) FILTER (WHERE p.status = 'running') AS running,
    count(*) FILTER (WHERE p.status = 'completed') AS completed,
    count(*) FILTER (WHERE p.status = 'failed') AS failed,
    count(*) FILTER (WHERE p.status = 'cancelled') AS cancelled,
    sum(r.prompt_tokens) FILTER (WHERE p.status = 'completed') AS prompt_tokens,
    sum(r.completion_tokens) FILTER (WHERE p.status = 'completed') AS completion_tokens,
    min(p.created_at) FILTER (WHERE p.finished_at IS NULL) AS oldest,
    max(p.finished_at) AS last_finished_at,
    count(*) FILTER (WHERE p.status = 'completed' AND p.finished_at > statement_timestamp() - interval '10 minutes')
        / greatest(0.1, least(10.0, CAST(round(CAST(EXTRACT(EPOCH FROM
        statement_timestamp() - min(r.started_at)) AS numeric), 3) AS double precision) / 60.0)) AS completed_per_minute,
    count(*) FILTER (WHERE (p.status = 'completed' AND coalesce(r.finish_reason IN ('length', 'max_tokens', 'max_output_tokens', 'limit', 'model_length', 'model_context_window_exceeded', 'repetition', 'MAX_TOKENS', 'incomplete'), FALSE))) AS truncated
FROM prompts p
LEFT JOIN batches b ON b.id = p.batch_id
LEFT JOIN runs r ON r.id = p.run_id
GROUP BY b.id, b.name;
