-- claim.add_batch
INSERT INTO batches (name, source)
VALUES (?, ?)
ON CONFLICT (name) DO NOTHING;

-- claim.batch
SELECT batches.id, batches.source
FROM batches
WHERE batches.name = ?;

-- claim.add_prompts
INSERT INTO prompts (batch_id, custom_id, endpoint, model, prompt, system, messages, options,
    priority, max_attempts, metadata, request_hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (batch_id, custom_id) DO NOTHING;

-- claim.known
SELECT prompts.id, prompts.custom_id, prompts.request_hash
FROM prompts
WHERE prompts.batch_id = ?
AND prompts.custom_id IN (SELECT value
FROM json_each(?))
ORDER BY prompts.id;

-- claim.asked
SELECT prompts.model, prompts.prompt, prompts.system, prompts.messages, prompts.options
FROM prompts
WHERE prompts.id = ?;

-- claim.replace_prompt
UPDATE prompts
SET endpoint=?, model=?, prompt=?, system=?, messages=CAST(? AS TEXT), options=CAST(? AS TEXT),
    priority=?, status='queued', available_at=strftime('%Y-%m-%d %H:%M:%f', 'now'), attempts=?,
    max_attempts=?, crashes=?, cancel_requested_at=NULL, run_id=NULL, error_code=NULL, error=NULL,
    metadata=CAST(? AS TEXT), finished_at=NULL, keeps_place=NULL, runs_without_progress=NULL,
    first_attempt=(prompts.runs + ?), request_hash=?
WHERE prompts.id = ?
AND prompts.status IN ('queued', 'running', 'completed', 'failed', 'cancelled');

-- claim.register
INSERT INTO workers (id, host, pid, version, lease_until, process)
VALUES (?, ?, ?, ?, strftime('%Y-%m-%d %H:%M:%f', 'now', ?), ?)
ON CONFLICT (id) DO UPDATE
SET lease_until = excluded.lease_until, stopped_at = NULL;

-- claim.renew
UPDATE workers
SET lease_until=strftime('%Y-%m-%d %H:%M:%f', 'now', ?)
WHERE workers.id = ?
AND workers.stopped_at IS NULL;

-- claim.report
UPDATE workers
SET endpoints=?
WHERE workers.id = ?;

-- claim.leave
UPDATE workers
SET leaving_at=strftime('%Y-%m-%d %H:%M:%f', 'now')
WHERE workers.id = ?
AND workers.leaving_at IS NULL;

-- claim.sign_off
UPDATE workers
SET stopped_at=strftime('%Y-%m-%d %H:%M:%f', 'now')
WHERE workers.id = ?
AND workers.stopped_at IS NULL;

-- claim.start_runs placed
INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + ? AS anon_1, ? AS anon_2, prompts.endpoint, ? AS anon_3,
    coalesce(prompts.model, ?) AS coalesce_2, ? AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ?
AND prompts.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_5)
AND prompts.priority = ?
AND prompts.id IN (SELECT prompts.id
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.keeps_place IS 1
AND prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ?
AND prompts.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_6)
AND prompts.priority = ?
ORDER BY prompts.available_at
LIMIT 500 OFFSET ?)
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = ?
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_7)))
AND (prompts.crashes < ?
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= ?
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_8)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = ?
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= ?)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = ?
AND "like".available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_9)
ORDER BY "like".available_at
LIMIT ? OFFSET ?))
ORDER BY prompts.id
LIMIT ? OFFSET ?
RETURNING id, prompt_id, attempt;

-- claim.start_runs placed held
INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + ? AS anon_1, ? AS anon_2, prompts.endpoint, ? AS anon_3,
    coalesce(prompts.model, ?) AS coalesce_2, ? AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ?
AND prompts.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_5)
AND prompts.priority = ?
AND prompts.id IN (SELECT prompts.id
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.keeps_place IS 1
AND prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ?
AND prompts.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_6)
AND prompts.priority = ?
ORDER BY prompts.available_at
LIMIT 500 OFFSET ?)
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = ?
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_7)))
AND (prompts.crashes < ?
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= ?
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_8)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = ?
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= ?)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = ?
AND "like".available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_9)
ORDER BY "like".available_at
LIMIT ? OFFSET ?))
AND NOT coalesce(prompts.batch_id, 0) IN (SELECT value
FROM json_each(?))
ORDER BY prompts.id
LIMIT ? OFFSET ?
RETURNING id, prompt_id, attempt;

-- claim.start_runs next
INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + ? AS anon_1, ? AS anon_2, prompts.endpoint, ? AS anon_3,
    coalesce(prompts.model, ?) AS coalesce_2, ? AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ?
AND prompts.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_5)
AND prompts.priority = ?
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = ?
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_6)))
AND (prompts.crashes < ?
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= ?
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_7)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = ?
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= ?)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = ?
AND "like".available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_8)
ORDER BY "like".available_at
LIMIT ? OFFSET ?))
ORDER BY prompts.available_at, prompts.id
LIMIT ? OFFSET ?
RETURNING id, prompt_id, attempt;

-- claim.start_runs next held
INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + ? AS anon_1, ? AS anon_2, prompts.endpoint, ? AS anon_3,
    coalesce(prompts.model, ?) AS coalesce_2, ? AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ?
AND prompts.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_5)
AND prompts.priority = ?
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = ?
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_6)))
AND (prompts.crashes < ?
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= ?
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_7)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = ?
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= ?)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = ?
AND "like".available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_8)
ORDER BY "like".available_at
LIMIT ? OFFSET ?))
AND NOT coalesce(prompts.batch_id, 0) IN (SELECT value
FROM json_each(?))
ORDER BY prompts.available_at, prompts.id
LIMIT ? OFFSET ?
RETURNING id, prompt_id, attempt;

-- claim.start_runs alone
INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + ? AS anon_1, ? AS anon_2, prompts.endpoint, ? AS anon_3,
    coalesce(prompts.model, ?) AS coalesce_2, ? AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ?
AND prompts.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_5)
AND prompts.id = ?
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = ?
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_6)))
AND (prompts.crashes < ?
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= ?
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_7)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = ?
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= ?)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = ?
AND "like".available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_8)
ORDER BY "like".available_at
LIMIT ? OFFSET ?))
ORDER BY prompts.id
LIMIT ? OFFSET ?
RETURNING id, prompt_id, attempt;

-- claim.start_runs alone held
INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + ? AS anon_1, ? AS anon_2, prompts.endpoint, ? AS anon_3,
    coalesce(prompts.model, ?) AS coalesce_2, ? AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ?
AND prompts.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_5)
AND prompts.id = ?
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = ?
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_6)))
AND (prompts.crashes < ?
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= ?
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_7)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = ?
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= ?)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = ?
AND "like".available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_8)
ORDER BY "like".available_at
LIMIT ? OFFSET ?))
AND NOT coalesce(prompts.batch_id, 0) IN (SELECT value
FROM json_each(?))
ORDER BY prompts.id
LIMIT ? OFFSET ?
RETURNING id, prompt_id, attempt;

-- claim.take_prompts_sqlite
UPDATE prompts
SET status='running', attempts=CASE WHEN (prompts.attempts < ?) THEN prompts.attempts + ? ELSE ?
    END, runs=CASE WHEN (prompts.runs < ?) THEN prompts.runs + ? ELSE ? END, run_id=runs.id
FROM runs
WHERE prompts.id = runs.prompt_id
AND prompts.status = 'queued'
AND runs.id IN (SELECT value
FROM json_each(?))
RETURNING run_id, id, 0, attempts, coalesce(max_attempts, ?) AS max_attempts, endpoint,
    coalesce(model, ?) AS model, custom_id, prompt, system, CAST(messages AS TEXT) AS messages,
    CAST(options AS TEXT) AS options, coalesce(batch_id, 0) AS batch,
    coalesce(runs_without_progress, 0) AS in_vain, error_code, error, CASE WHEN (runs > 1) THEN
    (SELECT coalesce(max(earlier.chars), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) ELSE 0 END AS best;

-- claim.give_up
UPDATE prompts
SET status='failed', attempts=CASE WHEN (prompts.attempts > ?) THEN ? ELSE prompts.attempts END,
    crashes=CASE WHEN (prompts.crashes > ?) THEN ? ELSE prompts.crashes END, runs=CASE WHEN
    (prompts.runs > ?) THEN ? ELSE prompts.runs END, error_code='unclaimable', error=?,
    finished_at=strftime('%Y-%m-%d %H:%M:%f', 'now')
WHERE prompts.id = ?
AND prompts.status = 'queued';

-- commit.close_stray
UPDATE runs
SET status=?, first_text_at=(SELECT chunks.created_at
FROM chunks
WHERE chunks.run_id = runs.id
ORDER BY chunks.seq
LIMIT ? OFFSET ?), finished_at=strftime('%Y-%m-%d %H:%M:%f', 'now'), chars=(SELECT
    coalesce(sum(length(chunks.text)) FILTER (WHERE chunks.kind = 'text'), ?) AS coalesce_1
FROM chunks
WHERE chunks.run_id = runs.id), chunks=(SELECT count(*) AS count_1
FROM chunks
WHERE chunks.run_id = runs.id), error_code=?, error=?
WHERE runs.id = (SELECT runs.id
FROM runs
WHERE runs.id = ?
AND runs.worker_id = ?)
AND runs.status = 'streaming'
AND NOT (EXISTS (SELECT *
FROM prompts
WHERE prompts.id = runs.prompt_id
AND prompts.run_id = runs.id
AND prompts.status = 'running'));

-- commit.add_chunks
INSERT INTO chunks (run_id, seq, kind, text)
VALUES (?, ?, ?, ?)
ON CONFLICT (run_id, seq) DO NOTHING;

-- commit.stored_chunks
SELECT chunks.run_id, chunks.seq, chunks.text
FROM chunks
WHERE chunks.run_id = ?
AND chunks.seq IN (SELECT value
FROM json_each(?));

-- commit.add_extras
INSERT INTO run_extras (run_id, seq, kind, data)
VALUES (?, ?, ?, ?)
ON CONFLICT (run_id, seq) DO NOTHING;

-- commit.note_requests
UPDATE runs
SET request_hash=?
WHERE runs.id = ?
AND runs.request_hash IS NULL;

-- commit.tool_pieces
SELECT chunks.run_id, chunks.text
FROM chunks
WHERE chunks.run_id IN (SELECT value
FROM json_each(?))
AND chunks.kind = 'tool_calls'
ORDER BY chunks.run_id, chunks.seq;

-- commit.keep_tool_calls
UPDATE runs
SET tool_calls=?
WHERE runs.id = ?;

-- commit.end_runs_sqlite
UPDATE runs
SET status=?, first_text_at=strftime('%Y-%m-%d %H:%M:%f', 'now', ?), finished_at=strftime('%Y-%m-%d
    %H:%M:%f', 'now'), finish_reason=?, prompt_tokens=?, completion_tokens=?, chars=?, chunks=?,
    http_status=?, request_id=?, error_code=?, error=?, done_frame=?, request_hash=coalesce(?,
    runs.request_hash), cut_id=?, frames=?
WHERE runs.id = ?
AND runs.worker_id = ?
AND (runs.status = 'streaming') IS 1;

-- commit.end_prompts_sqlite
UPDATE prompts
SET status=CASE WHEN (? = 'queued'
AND prompts.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE ? END, available_at=CASE WHEN (?
    = 'queued') THEN strftime('%Y-%m-%d %H:%M:%f', 'now', ?) ELSE prompts.available_at END,
    attempts=CASE WHEN (prompts.attempts > ?) THEN prompts.attempts - ? ELSE ? END, error_code=CASE
    WHEN (? = 'queued'
AND prompts.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE ? END, error=?, finished_at=CASE
    WHEN (? = 'queued'
AND NOT (? = 'queued'
AND prompts.cancel_requested_at IS NOT NULL)) THEN NULL ELSE strftime('%Y-%m-%d %H:%M:%f', 'now')
    END, keeps_place=CASE WHEN (? = 'queued') THEN ? IN ('shutdown', 'lease_lost', 'lease_expired',
    'handed_back', 'commits_forgotten', 'not_continued', 'length_continued')
OR ? - ? >= (SELECT coalesce(max(other.chars), ?) AS coalesce_1
FROM runs AS other
WHERE other.prompt_id = prompts.id
AND other.id != ?) ELSE NULL END, runs_without_progress=coalesce(?, prompts.runs_without_progress)
WHERE prompts.id = ?
AND prompts.run_id = ?
AND prompts.status = 'running';

-- commit.measure
UPDATE runs
SET first_text_at=(SELECT chunks.created_at
FROM chunks
WHERE chunks.run_id = runs.id
ORDER BY chunks.seq
LIMIT ? OFFSET ?), chars=(SELECT coalesce(sum(length(chunks.text)) FILTER (WHERE chunks.kind =
    'text'), ?) AS coalesce_1
FROM chunks
WHERE chunks.run_id = runs.id), chunks=(SELECT count(*) AS count_1
FROM chunks
WHERE chunks.run_id = runs.id)
WHERE runs.id IN (SELECT value
FROM json_each(?))
AND runs.worker_id = ?;

-- commit.owned
SELECT runs.id, runs.prompt_id, runs.nonce
FROM runs
WHERE runs.worker_id = ?
AND runs.status = 'streaming';

-- commit.cancel_requests
SELECT runs.id
FROM runs
JOIN prompts ON prompts.run_id = runs.id
WHERE prompts.cancel_requested_at IS NOT NULL
AND prompts.finished_at IS NULL
AND prompts.status = 'running'
AND runs.worker_id = ?
AND runs.status = 'streaming';

-- continuation.earlier
SELECT runs.id, runs.attempt, runs.endpoint, runs.dialect, runs.request_hash, runs.error_code,
    runs.finish_reason, runs.chars, coalesce(runs.completion_tokens, runs.frames) AS coalesce_1,
    runs.started_at AS started_at, runs.finished_at AS finished_at, runs.continues_run_id,
    runs.carried_chars, runs.carried_tokens
FROM runs
WHERE runs.prompt_id = ?
AND runs.id != ?
AND runs.attempt >= (SELECT coalesce(prompts.first_attempt, 1) AS coalesce_2
FROM prompts
WHERE prompts.id = ?)
AND runs.finished_at IS NOT NULL
ORDER BY runs.attempt DESC
LIMIT ? OFFSET ?;

-- continuation.pieces
SELECT chunks.seq, chunks.kind, chunks.text
FROM chunks
WHERE chunks.run_id = ?
ORDER BY chunks.seq;

-- continuation.has_extras
SELECT EXISTS (SELECT *
FROM run_extras
WHERE run_extras.run_id = ?) AS anon_1;

-- continuation.copy_chunks
INSERT INTO chunks (run_id, seq, kind, text)
SELECT ? AS anon_1, chunks.seq, chunks.kind, CASE WHEN (chunks.seq = ?) THEN ? ELSE chunks.text END
    AS anon_2
FROM chunks
WHERE chunks.run_id = ?
AND chunks.seq >= ?
AND chunks.seq < ?
AND NOT (EXISTS (SELECT *
FROM chunks AS there
WHERE there.run_id = ?
AND there.seq = chunks.seq));

-- continuation.note_beginning
UPDATE runs
SET continues_run_id=?, carried_chars=?, carried_chunks=?, carried_tokens=?, dropped_chars=?,
    continued_by=?, not_continued=?
WHERE runs.id = ?;

-- continuation.drop_copied_sqlite
DELETE
FROM chunks
WHERE chunks.run_id = ?
AND chunks.seq < (SELECT runs.carried_chunks
FROM runs
WHERE runs.id = ?)
AND (EXISTS (SELECT *
FROM chunks AS later
WHERE later.run_id = ?
AND later.seq = chunks.seq
AND later.kind = chunks.kind
AND later.text = chunks.text));

-- endpoint_states.said
SELECT endpoint_states.endpoint, endpoint_states.digest, endpoint_states.state
FROM endpoint_states;

-- endpoint_states.keep
INSERT INTO endpoint_states (endpoint, digest, worker_id, changed_at, state)
VALUES (?, ?, ?, strftime('%Y-%m-%d %H:%M:%f', 'now'), ?)
ON CONFLICT (endpoint, digest) DO UPDATE
SET worker_id = excluded.worker_id, changed_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), state =
    excluded.state;

-- fence.hold_flushing
SELECT runs.id
FROM runs, json_each(?) AS anon_1, prompts
WHERE runs.id = json_extract(anon_1.value, '$[0]')
AND runs.nonce IS json_extract(anon_1.value, '$[1]')
AND runs.worker_id = ?
AND (runs.status = 'streaming') IS 1
AND prompts.id = runs.prompt_id
AND prompts.run_id = runs.id
AND prompts.status = 'running'
AND (json_extract(anon_1.value, '$[2]') = 0
OR (EXISTS (SELECT *
FROM chunks
WHERE chunks.run_id = json_extract(anon_1.value, '$[0]')
AND chunks.seq = json_extract(anon_1.value, '$[2]') - 1)));

-- fence.hold_ending_sqlite
SELECT runs.id
FROM runs, json_each(?) AS anon_1, prompts
WHERE runs.id = json_extract(anon_1.value, '$[0]')
AND runs.nonce IS json_extract(anon_1.value, '$[1]')
AND runs.worker_id = ?
AND (runs.status = 'streaming') IS 1
AND prompts.id = runs.prompt_id
AND prompts.run_id = runs.id
AND prompts.status = 'running'
AND (json_extract(anon_1.value, '$[2]') IS NULL
OR json_extract(anon_1.value, '$[2]') = (SELECT count(*) AS count_1
FROM chunks
WHERE chunks.run_id = json_extract(anon_1.value, '$[0]')
AND chunks.seq < json_extract(anon_1.value, '$[2]')));

-- fence.refused
SELECT runs.id, runs.prompt_id, runs.status, runs.error_code, (SELECT prompts.status
FROM prompts
WHERE prompts.id = runs.prompt_id) AS anon_1, EXISTS (SELECT *
FROM prompts
WHERE prompts.id = runs.prompt_id
AND prompts.run_id = runs.id
AND prompts.status = 'running') AS anon_2, json_extract(anon_4.value, '$[2]') IS NULL
OR json_extract(anon_4.value, '$[2]') = (SELECT count(*) AS count_1
FROM chunks
WHERE chunks.run_id = json_extract(anon_4.value, '$[0]')
AND chunks.seq < json_extract(anon_4.value, '$[2]')) AS anon_3
FROM runs, json_each(?) AS anon_4
WHERE runs.id = json_extract(anon_4.value, '$[0]')
AND runs.nonce IS json_extract(anon_4.value, '$[1]')
AND runs.worker_id = ?;

-- listing.floor
SELECT prompts.id
FROM prompts
WHERE prompts.id < ?
ORDER BY prompts.id DESC
LIMIT ? OFFSET ?;

-- listing.page
SELECT prompts.id, batches.name AS batch, prompts.custom_id, prompts.endpoint, prompts.model,
    prompts.status, prompts.attempts, prompts.runs, prompts.error_code, prompts.error,
    prompts.created_at AS created_at, prompts.finished_at AS finished_at,
    substr(coalesce(prompts.prompt, CAST(prompts.messages AS VARCHAR)), ?, ?) AS text,
    prompts.prompt IS NULL AS is_json
FROM prompts LEFT OUTER
JOIN batches ON batches.id = prompts.batch_id
WHERE prompts.batch_id + ? = (SELECT batches.id
FROM batches
WHERE batches.name = ?)
AND prompts.status = 'failed'
AND prompts.id > ?
AND prompts.id < ?
ORDER BY prompts.id DESC
LIMIT ? OFFSET ?;

-- manage.to_cancel
SELECT prompts.id
FROM prompts
WHERE prompts.batch_id + ? = (SELECT batches.id
FROM batches
WHERE batches.name = ?)
AND prompts.status = 'failed'
AND (prompts.status = 'queued'
OR prompts.status = 'running'
AND prompts.cancel_requested_at IS NULL)
AND prompts.id > ?
AND prompts.id <= ?
ORDER BY prompts.id
LIMIT ? OFFSET ?;

-- manage.to_retry
SELECT prompts.id
FROM prompts
WHERE prompts.batch_id + ? = (SELECT batches.id
FROM batches
WHERE batches.name = ?)
AND prompts.status = 'failed'
AND prompts.status IN ('failed', 'cancelled')
AND prompts.id > ?
AND prompts.id <= ?
ORDER BY prompts.id
LIMIT ? OFFSET ?;

-- manage.to_prune
SELECT prompts.id
FROM prompts
WHERE prompts.batch_id + ? = (SELECT batches.id
FROM batches
WHERE batches.name = ?)
AND prompts.status = 'failed'
AND prompts.status IN ('completed', 'failed', 'cancelled')
AND prompts.id > ?
AND prompts.id <= ?
ORDER BY prompts.id
LIMIT ? OFFSET ?;

-- manage.cancel
UPDATE prompts
SET status=CASE WHEN (prompts.status = 'queued') THEN 'cancelled' ELSE prompts.status END,
    cancel_requested_at=coalesce(prompts.cancel_requested_at, strftime('%Y-%m-%d %H:%M:%f', 'now')),
    error_code=CASE WHEN (prompts.status = 'queued') THEN 'cancelled' ELSE prompts.error_code END,
    error=CASE WHEN (prompts.status = 'queued') THEN NULL ELSE prompts.error END, finished_at=CASE
    WHEN (prompts.status = 'queued') THEN strftime('%Y-%m-%d %H:%M:%f', 'now') ELSE
    prompts.finished_at END
WHERE prompts.id IN (SELECT value
FROM json_each(?))
AND prompts.status IN ('queued', 'running');

-- manage.cancel_queued
UPDATE prompts
SET status=CASE WHEN (prompts.status = 'queued') THEN 'cancelled' ELSE prompts.status END,
    error_code=CASE WHEN (prompts.status = 'queued') THEN 'cancelled' ELSE prompts.error_code END,
    error=CASE WHEN (prompts.status = 'queued') THEN NULL ELSE prompts.error END, finished_at=CASE
    WHEN (prompts.status = 'queued') THEN strftime('%Y-%m-%d %H:%M:%f', 'now') ELSE
    prompts.finished_at END
WHERE prompts.id IN (SELECT prompts.id
FROM prompts
WHERE prompts.cancel_requested_at IS NOT NULL
AND prompts.finished_at IS NULL
AND prompts.status = 'queued'
LIMIT ? OFFSET ?);

-- manage.retry
UPDATE prompts
SET endpoint=?, status='queued', available_at=strftime('%Y-%m-%d %H:%M:%f', 'now'), attempts=?,
    crashes=?, cancel_requested_at=NULL, error_code=NULL, error=NULL, finished_at=NULL,
    runs_without_progress=NULL
WHERE prompts.id IN (SELECT value
FROM json_each(?))
AND prompts.status IN ('failed', 'cancelled');

-- manage.retry fresh
UPDATE prompts
SET endpoint=?, status='queued', available_at=strftime('%Y-%m-%d %H:%M:%f', 'now'), attempts=?,
    crashes=?, cancel_requested_at=NULL, run_id=NULL, error_code=NULL, error=NULL, finished_at=NULL,
    runs_without_progress=NULL, first_attempt=(prompts.runs + ?)
WHERE prompts.id IN (SELECT value
FROM json_each(?))
AND prompts.status IN ('failed', 'cancelled');

-- manage.prune
DELETE
FROM prompts
WHERE prompts.id IN (SELECT value
FROM json_each(?))
AND prompts.status IN ('completed', 'failed', 'cancelled');

-- outcomes.of_batch
SELECT prompts.endpoint, prompts.status, count(*) AS number
FROM prompts
WHERE prompts.batch_id = (SELECT batches.id
FROM batches
WHERE batches.name = ?) GROUP BY prompts.endpoint, prompts.status;

-- outcomes.unfinished
SELECT prompts.endpoint, prompts.status, count(*) AS number
FROM prompts
WHERE prompts.status IN ('queued', 'running') GROUP BY prompts.endpoint, prompts.status;

-- outcomes.unanswered
SELECT prompts.endpoint, prompts.status, count(*) AS number
FROM prompts
WHERE prompts.status IN ('failed', 'cancelled') GROUP BY prompts.endpoint, prompts.status;

-- priority_levels.next_level
WITH RECURSIVE levels(priority, level) AS (SELECT max(prompts.priority) AS priority, 1 AS level
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ?
AND prompts.priority < ? UNION ALL
SELECT (SELECT max(prompts.priority) AS priority
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ?
AND prompts.priority < levels.priority) AS anon_3, levels.level + ? AS anon_4
FROM levels
WHERE levels.priority IS NOT NULL
AND levels.level < ?)
SELECT levels.priority, EXISTS (SELECT *
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.keeps_place IS 1
AND prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ?
AND prompts.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_2)
AND prompts.priority = levels.priority) AS anon_1
FROM levels
WHERE levels.priority IS NOT NULL
AND ((EXISTS (SELECT *
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ?
AND prompts.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_5)
AND prompts.priority = levels.priority))
OR levels.level = ?)
LIMIT ? OFFSET ?;

-- priority_levels.candidates
SELECT prompts.id
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ?
AND prompts.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_1)
ORDER BY prompts.priority DESC, prompts.available_at, prompts.id
LIMIT ? OFFSET ?;

-- priority_levels.anything_ready
WITH RECURSIVE levels(priority, level) AS (SELECT max(prompts.priority) AS priority, 1 AS level
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ? UNION ALL
SELECT (SELECT max(prompts.priority) AS priority
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ?
AND prompts.priority < levels.priority) AS anon_1, levels.level + ? AS anon_2
FROM levels
WHERE levels.priority IS NOT NULL
AND levels.level < ?)
SELECT levels.priority
FROM levels
WHERE (EXISTS (SELECT *
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ?
AND prompts.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_3)
AND prompts.priority = levels.priority))
OR levels.level = ?
AND (EXISTS (SELECT *
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ?
AND prompts.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_4)
AND prompts.priority < levels.priority))
LIMIT ? OFFSET ?;

-- read.count
SELECT count(*) AS count_1
FROM prompts
WHERE prompts.batch_id = (SELECT batches.id
FROM batches
WHERE batches.name = ?)
AND prompts.status = 'failed';

-- read.any_of
SELECT prompts.id
FROM prompts
WHERE prompts.batch_id = (SELECT batches.id
FROM batches
WHERE batches.name = ?)
AND prompts.status = 'failed'
LIMIT ? OFFSET ?;

-- read.batch_names
SELECT batches.name
FROM batches
WHERE EXISTS (SELECT *
FROM prompts
WHERE prompts.batch_id = batches.id)
ORDER BY batches.id;

-- read.waiting
SELECT count(*) FILTER (WHERE prompts.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')
    AS anon_1)) AS ready, count(*) FILTER (WHERE prompts.available_at > (SELECT strftime('%Y-%m-%d
    %H:%M:%f', 'now') AS anon_1)) AS later, ((julianday(min(prompts.available_at) FILTER (WHERE
    prompts.available_at > (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_1))) -
    julianday((SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_2))) * 86400.0) AS seconds
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL;

-- read.waiting_for
SELECT count(*) FILTER (WHERE prompts.available_at <= (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')
    AS anon_1)) AS ready, count(*) FILTER (WHERE prompts.available_at > (SELECT strftime('%Y-%m-%d
    %H:%M:%f', 'now') AS anon_1)) AS later, ((julianday(min(prompts.available_at) FILTER (WHERE
    prompts.available_at > (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_1))) -
    julianday((SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_2))) * 86400.0) AS seconds
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint IN (SELECT value
FROM json_each(?));

-- read.running_for
SELECT count(*) AS count_1
FROM runs
WHERE runs.status = 'streaming'
AND runs.endpoint IN (SELECT value
FROM json_each(?));

-- read.clock
SELECT (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_2) AS anon_1;

-- read.strays
SELECT runs.id
FROM runs
JOIN prompts ON prompts.id = runs.prompt_id
WHERE runs.worker_id = ?
AND runs.status = 'streaming'
AND NOT (prompts.status = 'running'
AND prompts.run_id = runs.id);

-- read.prompt_states
SELECT prompts.id, prompts.status
FROM prompts
WHERE prompts.id IN (SELECT value
FROM json_each(?));

-- read.prompt
SELECT batches.name AS batch, prompts.id, prompts.custom_id, prompts.endpoint, prompts.model,
    prompts.prompt, prompts.system, prompts.priority, prompts.status, prompts.available_at AS
    available_at, prompts.attempts, prompts.max_attempts, prompts.crashes, prompts.runs,
    prompts.cancel_requested_at AS cancel_requested_at, prompts.run_id, prompts.error_code,
    prompts.error, prompts.created_at AS created_at, prompts.finished_at AS finished_at,
    CAST(prompts.messages AS TEXT) AS messages_json, CAST(prompts.options AS TEXT) AS options_json,
    CAST(prompts.metadata AS TEXT) AS metadata_json, CASE WHEN prompts.status = 'completed' THEN
    prompts.run_id ELSE coalesce( (SELECT t.id
FROM runs t
WHERE t.prompt_id = prompts.id
AND t.attempt >= coalesce(prompts.first_attempt, 1)
AND (t.request_hash = runs.request_hash) IS NOT FALSE
AND (SELECT k.seq
FROM chunks k
WHERE k.run_id = t.id
AND k.kind = 'text'
ORDER BY k.seq
LIMIT 1) IS NOT NULL
ORDER BY t.attempt DESC
LIMIT 1), (SELECT t.id
FROM runs t
WHERE t.prompt_id = prompts.id
AND t.attempt >= coalesce(prompts.first_attempt, 1)
AND (t.request_hash = runs.request_hash) IS NOT FALSE
AND (SELECT k.seq
FROM chunks k
WHERE k.run_id = t.id
ORDER BY k.seq
LIMIT 1) IS NOT NULL
ORDER BY t.attempt DESC
LIMIT 1)) END AS text_run_id, runs.finish_reason
FROM prompts LEFT OUTER
JOIN batches ON batches.id = prompts.batch_id LEFT OUTER
JOIN runs ON runs.id = prompts.run_id
WHERE prompts.id = ?;

-- read.find
SELECT prompts.id
FROM prompts
WHERE prompts.custom_id = ?
ORDER BY prompts.id;

-- read.find in_batch
SELECT prompts.id
FROM prompts
JOIN batches ON batches.id = prompts.batch_id
WHERE prompts.custom_id = ?
AND batches.name = ?
ORDER BY prompts.id;

-- read.attempts
SELECT runs.id AS run_id, runs.attempt, runs.status, runs.worker_id, runs.started_at AS started_at,
    runs.finished_at AS finished_at, runs.finish_reason, CASE WHEN (runs.status = 'streaming') THEN
    (SELECT coalesce(sum(length(chunks.text)), ?) AS coalesce_1
FROM chunks
WHERE chunks.run_id = runs.id
AND chunks.kind = 'text') ELSE runs.chars END AS chars, runs.error_code, runs.error,
    runs.continues_run_id, runs.carried_chars, runs.carried_chunks, runs.dropped_chars,
    runs.continued_by, runs.not_continued
FROM runs
WHERE runs.prompt_id = ?
ORDER BY runs.attempt;

-- read.text
SELECT chunks.seq, chunks.text
FROM chunks
WHERE chunks.run_id = ?
AND chunks.seq > ?
AND chunks.kind = ?
ORDER BY chunks.seq
LIMIT ? OFFSET ?;

-- read.lengths
SELECT chunks.run_id, sum(length(chunks.text)) AS chars
FROM chunks
WHERE chunks.run_id IN (SELECT value
FROM json_each(?))
AND chunks.kind = 'text' GROUP BY chunks.run_id;

-- read.span
SELECT min(prompts.id) - ? AS anon_1, max(prompts.id) AS max_1
FROM prompts
WHERE prompts.batch_id = (SELECT batches.id
FROM batches
WHERE batches.name = ?);

-- read.results
SELECT prompts.id, batches.name AS batch, prompts.custom_id, prompts.endpoint, coalesce(runs.model,
    prompts.model) AS model, prompts.prompt, prompts.system, CAST(prompts.messages AS TEXT) AS
    messages_json, prompts.status, prompts.run_id, runs.finish_reason, runs.prompt_tokens,
    runs.completion_tokens + coalesce(runs.carried_tokens, 0) AS completion_tokens,
    runs.http_status, runs.request_id, prompts.attempts, ((julianday(coalesce(runs.finished_at,
    (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_1))) - julianday(runs.started_at)) *
    86400.0) AS seconds, prompts.error_code, prompts.error, CAST(prompts.metadata AS TEXT) AS
    metadata_json, prompts.created_at AS created_at, prompts.finished_at AS finished_at, CASE WHEN
    prompts.status = 'completed' THEN prompts.run_id ELSE coalesce( (SELECT t.id
FROM runs t
WHERE t.prompt_id = prompts.id
AND t.attempt >= coalesce(prompts.first_attempt, 1)
AND (t.request_hash = runs.request_hash) IS NOT FALSE
AND (SELECT k.seq
FROM chunks k
WHERE k.run_id = t.id
AND k.kind = 'text'
ORDER BY k.seq
LIMIT 1) IS NOT NULL
ORDER BY t.attempt DESC
LIMIT 1), (SELECT t.id
FROM runs t
WHERE t.prompt_id = prompts.id
AND t.attempt >= coalesce(prompts.first_attempt, 1)
AND (t.request_hash = runs.request_hash) IS NOT FALSE
AND (SELECT k.seq
FROM chunks k
WHERE k.run_id = t.id
ORDER BY k.seq
LIMIT 1) IS NOT NULL
ORDER BY t.attempt DESC
LIMIT 1)) END AS text_run_id, runs.continued_by, runs.carried_chars, CASE WHEN (prompts.runs > 1)
    THEN (SELECT CAST(sum(of_all.prompt_tokens) AS BIGINT) AS sum_1
FROM runs AS of_all
WHERE of_all.prompt_id = prompts.id
AND of_all.attempt >= coalesce(prompts.first_attempt, 1)) ELSE runs.prompt_tokens END AS
    total_prompt_tokens, CASE WHEN (prompts.runs > 1) THEN (SELECT
    CAST(sum(of_all.completion_tokens) AS BIGINT) AS sum_2
FROM runs AS of_all
WHERE of_all.prompt_id = prompts.id
AND of_all.attempt >= coalesce(prompts.first_attempt, 1)) ELSE runs.completion_tokens END AS
    total_completion_tokens, ((julianday(runs.first_text_at) - julianday(runs.started_at)) *
    86400.0) AS first_text_seconds
FROM prompts LEFT OUTER
JOIN batches ON batches.id = prompts.batch_id LEFT OUTER
JOIN runs ON runs.id = prompts.run_id
WHERE prompts.batch_id + ? = (SELECT batches.id
FROM batches
WHERE batches.name = ?)
AND prompts.status = 'failed'
AND prompts.id > ?
AND prompts.id <= ?
ORDER BY prompts.id
LIMIT ? OFFSET ?;

-- read.tallies
SELECT batches.name AS batch, anon_1.batch_id, anon_1.endpoint, anon_1.status, anon_1.why,
    anon_1.number, anon_1.recent, anon_1.lately
FROM (SELECT prompts.batch_id AS batch_id, prompts.endpoint AS endpoint, prompts.status AS status,
    CASE WHEN (prompts.status = 'failed') THEN prompts.error_code END AS why, count(*) AS number,
    count(*) FILTER (WHERE prompts.status = 'completed'
AND prompts.finished_at > (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now', ?) AS anon_2)) AS recent,
    count(*) FILTER (WHERE prompts.status = 'completed'
AND prompts.finished_at > (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now', ?) AS anon_3)) AS lately
FROM prompts GROUP BY prompts.batch_id, prompts.endpoint, prompts.status, why) AS anon_1 LEFT OUTER
JOIN batches ON batches.id = anon_1.batch_id
ORDER BY batches.id NULLS FIRST, anon_1.endpoint;

-- read.truncated
SELECT count(*) AS count_1
FROM runs
JOIN prompts ON prompts.id = runs.prompt_id
AND prompts.run_id = runs.id
WHERE runs.status = 'completed'
AND runs.finish_reason IN ('length', 'max_tokens', 'max_output_tokens', 'limit', 'model_length',
    'model_context_window_exceeded', 'repetition', 'MAX_TOKENS', 'incomplete')
AND prompts.status = 'completed';

-- read.crash_capped
SELECT prompts.id
FROM prompts
WHERE prompts.status = 'failed'
AND prompts.error_code = 'too_many_crashes'
ORDER BY prompts.id DESC
LIMIT ? OFFSET ?;

-- read.living
SELECT workers.id, workers.host, workers.pid, workers.version, workers.started_at AS started_at,
    workers.stopped_at AS stopped_at, coalesce(((julianday(workers.lease_until) - julianday((SELECT
    strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_1))) * 86400.0), 0.0) AS lease_seconds_left,
    workers.endpoints, (SELECT count(*) AS count_1
FROM runs
WHERE runs.worker_id = workers.id
AND runs.status = 'streaming') AS runs
FROM workers
WHERE workers.stopped_at IS NULL
AND workers.lease_until > (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now', ?) AS anon_2)
OR (SELECT count(*) AS count_1
FROM runs
WHERE runs.worker_id = workers.id
AND runs.status = 'streaming') > ?
ORDER BY workers.started_at, workers.id;

-- read.live
SELECT runs.id AS run_id, runs.prompt_id, batches.name AS batch, prompts.custom_id, runs.endpoint,
    runs.model, runs.worker_id, runs.attempt, runs.started_at AS started_at,
    coalesce(((julianday((SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_1)) -
    julianday(runs.started_at)) * 86400.0), 0.0) AS seconds, coalesce(((julianday((SELECT
    strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_2)) - julianday(coalesce((SELECT chunks.created_at
FROM chunks
WHERE chunks.run_id = runs.id
ORDER BY chunks.seq DESC
LIMIT ? OFFSET ?), runs.started_at))) * 86400.0), 0.0) AS silent_seconds, (SELECT count(*) AS
    count_1
FROM chunks
WHERE chunks.run_id = runs.id) AS chunks
FROM runs
JOIN prompts ON prompts.id = runs.prompt_id LEFT OUTER
JOIN batches ON batches.id = prompts.batch_id
WHERE runs.status = 'streaming'
ORDER BY runs.started_at, runs.id;

-- rescue.neighbours
SELECT workers.id, workers.pid, workers.process
FROM workers
WHERE workers.host = ?
AND workers.id != ?
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_1)
AND workers.process IS NOT NULL;

-- rescue.bury
UPDATE workers
SET lease_until=strftime('%Y-%m-%d %H:%M:%f', 'now')
WHERE workers.id IN (SELECT value
FROM json_each(?))
AND workers.lease_until > (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_1);

-- rescue.orphans
SELECT runs.id, runs.prompt_id
FROM runs
WHERE runs.status = 'streaming'
AND NOT (EXISTS (SELECT *
FROM workers
WHERE workers.id = runs.worker_id
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_1)))
AND runs.worker_id != ?
ORDER BY runs.worker_id, runs.id
LIMIT ? OFFSET ?;

-- rescue.orphans of_dead
SELECT runs.id, runs.prompt_id
FROM runs
WHERE runs.status = 'streaming'
AND NOT (EXISTS (SELECT *
FROM workers
WHERE workers.id = runs.worker_id
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_1)))
AND runs.worker_id != ?
AND runs.worker_id IN (SELECT value
FROM json_each(?))
ORDER BY runs.worker_id, runs.id
LIMIT ? OFFSET ?;

-- rescue.hold_prompts
SELECT prompts.id
FROM prompts
WHERE prompts.id IN (SELECT value
FROM json_each(?));

-- rescue.interrupt_orphans
UPDATE runs
SET status='interrupted', first_text_at=(SELECT chunks.created_at
FROM chunks
WHERE chunks.run_id = runs.id
ORDER BY chunks.seq
LIMIT ? OFFSET ?), finished_at=strftime('%Y-%m-%d %H:%M:%f', 'now'), chars=(SELECT
    coalesce(sum(length(chunks.text)) FILTER (WHERE chunks.kind = 'text'), ?) AS coalesce_1
FROM chunks
WHERE chunks.run_id = runs.id), chunks=(SELECT count(*) AS count_1
FROM chunks
WHERE chunks.run_id = runs.id), error_code=CASE WHEN ((SELECT workers.leaving_at
FROM workers
WHERE workers.id = runs.worker_id) IS NOT NULL) THEN 'shutdown' ELSE 'lease_expired' END, error=CASE
    WHEN ((SELECT workers.leaving_at
FROM workers
WHERE workers.id = runs.worker_id) IS NOT NULL) THEN ? ELSE ? END
WHERE runs.id IN (SELECT value
FROM json_each(?))
AND runs.status = 'streaming'
AND NOT (EXISTS (SELECT *
FROM workers
WHERE workers.id = runs.worker_id
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS anon_1)))
RETURNING id, prompt_id, worker_id;

-- rescue.requeue_orphans
UPDATE prompts
SET status=CASE WHEN (prompts.cancel_requested_at IS NOT NULL) THEN 'cancelled' WHEN ((EXISTS
    (SELECT *
FROM runs
WHERE runs.id = prompts.run_id
AND runs.error_code = 'lease_expired'
AND runs.chars - ? < (SELECT coalesce(max(earlier.chars), ?) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = runs.prompt_id
AND earlier.attempt < runs.attempt)))
AND (prompts.crashes + CASE WHEN (EXISTS (SELECT *
FROM runs
WHERE runs.id = prompts.run_id
AND runs.error_code = 'lease_expired'
AND runs.chars - ? < (SELECT coalesce(max(earlier.chars), ?) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = runs.prompt_id
AND earlier.attempt < runs.attempt))) THEN ? ELSE ? END) - (SELECT count(*) AS count_1
FROM runs AS survived
WHERE survived.prompt_id = prompts.id
AND survived.error_code = 'lease_expired'
AND survived.chars - ? < (SELECT coalesce(max(earlier.chars), ?) AS coalesce_3
FROM runs AS earlier
WHERE earlier.prompt_id = survived.prompt_id
AND earlier.attempt < survived.attempt)
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = survived.worker_id
AND workers.lease_until > survived.finished_at))) >= ?) THEN 'failed' ELSE 'queued' END,
    attempts=CASE WHEN (prompts.attempts > ?) THEN prompts.attempts - ? ELSE ? END,
    crashes=(prompts.crashes + CASE WHEN (EXISTS (SELECT *
FROM runs
WHERE runs.id = prompts.run_id
AND runs.error_code = 'lease_expired'
AND runs.chars - ? < (SELECT coalesce(max(earlier.chars), ?) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = runs.prompt_id
AND earlier.attempt < runs.attempt))) THEN ? ELSE ? END), error_code=CASE WHEN
    (prompts.cancel_requested_at IS NOT NULL) THEN 'cancelled' WHEN ((EXISTS (SELECT *
FROM runs
WHERE runs.id = prompts.run_id
AND runs.error_code = 'lease_expired'
AND runs.chars - ? < (SELECT coalesce(max(earlier.chars), ?) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = runs.prompt_id
AND earlier.attempt < runs.attempt)))
AND (prompts.crashes + CASE WHEN (EXISTS (SELECT *
FROM runs
WHERE runs.id = prompts.run_id
AND runs.error_code = 'lease_expired'
AND runs.chars - ? < (SELECT coalesce(max(earlier.chars), ?) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = runs.prompt_id
AND earlier.attempt < runs.attempt))) THEN ? ELSE ? END) - (SELECT count(*) AS count_1
FROM runs AS survived
WHERE survived.prompt_id = prompts.id
AND survived.error_code = 'lease_expired'
AND survived.chars - ? < (SELECT coalesce(max(earlier.chars), ?) AS coalesce_3
FROM runs AS earlier
WHERE earlier.prompt_id = survived.prompt_id
AND earlier.attempt < survived.attempt)
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = survived.worker_id
AND workers.lease_until > survived.finished_at))) >= ?) THEN 'too_many_crashes' ELSE (SELECT
    runs.error_code
FROM runs
WHERE runs.id = prompts.run_id) END, error=(SELECT runs.error
FROM runs
WHERE runs.id = prompts.run_id), finished_at=CASE WHEN (prompts.cancel_requested_at IS NOT NULL
OR (EXISTS (SELECT *
FROM runs
WHERE runs.id = prompts.run_id
AND runs.error_code = 'lease_expired'
AND runs.chars - ? < (SELECT coalesce(max(earlier.chars), ?) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = runs.prompt_id
AND earlier.attempt < runs.attempt)))
AND (prompts.crashes + CASE WHEN (EXISTS (SELECT *
FROM runs
WHERE runs.id = prompts.run_id
AND runs.error_code = 'lease_expired'
AND runs.chars - ? < (SELECT coalesce(max(earlier.chars), ?) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = runs.prompt_id
AND earlier.attempt < runs.attempt))) THEN ? ELSE ? END) - (SELECT count(*) AS count_1
FROM runs AS survived
WHERE survived.prompt_id = prompts.id
AND survived.error_code = 'lease_expired'
AND survived.chars - ? < (SELECT coalesce(max(earlier.chars), ?) AS coalesce_3
FROM runs AS earlier
WHERE earlier.prompt_id = survived.prompt_id
AND earlier.attempt < survived.attempt)
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = survived.worker_id
AND workers.lease_until > survived.finished_at))) >= ?) THEN strftime('%Y-%m-%d %H:%M:%f', 'now')
    ELSE NULL END, keeps_place=1
WHERE prompts.run_id IN (SELECT value
FROM json_each(?))
AND prompts.id IN (SELECT value
FROM json_each(?))
AND prompts.status = 'running';

-- rescue.uncounted
SELECT runs.id, prompts.id AS id_1
FROM runs, prompts
WHERE runs.id IN (SELECT value
FROM json_each(?))
AND runs.worker_id = ?
AND runs.error_code = 'lease_expired'
AND prompts.id = runs.prompt_id
AND prompts.finished_at IS NULL
ORDER BY runs.id;

-- rescue.uncount_prompt
UPDATE prompts
SET crashes=CASE WHEN (EXISTS (SELECT *
FROM runs
WHERE runs.id = ?
AND runs.error_code = 'lease_expired'
AND runs.chars - ? < (SELECT coalesce(max(earlier.chars), ?) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = runs.prompt_id
AND earlier.attempt < runs.attempt))) THEN CASE WHEN (prompts.crashes > ?) THEN prompts.crashes - ?
    ELSE ? END ELSE prompts.crashes END
WHERE prompts.id = ?
AND prompts.finished_at IS NULL;

-- rescue.uncount_runs
UPDATE runs
SET error_code='lease_lost', error=?
WHERE runs.id IN (SELECT value
FROM json_each(?))
AND runs.worker_id = ?
AND runs.error_code = 'lease_expired';
