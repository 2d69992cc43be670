-- claim.add_batch
INSERT INTO batches (name, source)
VALUES (%(b_name)s::VARCHAR, %(b_source)s::VARCHAR)
ON CONFLICT (name) DO NOTHING
RETURNING batches.id;

-- claim.batch
SELECT batches.id, batches.source
FROM batches
WHERE batches.name = %(name)s::VARCHAR;

-- claim.add_prompts
INSERT INTO prompts (batch_id, custom_id, endpoint, model, prompt, system, messages, options,
    priority, metadata, max_attempts, request_hash)
SELECT %(batch)s::BIGINT AS anon_1, v.custom_id, v.endpoint, v.model, v.prompt, v.system,
    CAST(v.messages AS JSON) AS messages, CAST(v.options AS JSON) AS options, v.priority,
    CAST(v.metadata AS JSONB) AS metadata, v.max_attempts, v.request_hash
FROM unnest(%(v_custom_id)s::TEXT[], %(v_endpoint)s::TEXT[], %(v_model)s::TEXT[],
    %(v_prompt)s::TEXT[], %(v_system)s::TEXT[], %(v_messages)s::TEXT[], %(v_options)s::TEXT[],
    %(v_priority)s::INTEGER[], %(v_metadata)s::TEXT[], %(v_max_attempts)s::INTEGER[],
    %(v_request_hash)s::TEXT[]) AS v(custom_id, endpoint, model, prompt, system, messages, options,
    priority, metadata, max_attempts, request_hash)
ON CONFLICT (batch_id, custom_id) DO NOTHING;

-- claim.known
SELECT prompts.id, prompts.custom_id, prompts.request_hash
FROM prompts
WHERE prompts.batch_id = %(batch)s::BIGINT
AND prompts.custom_id = ANY (%(custom_ids)s::TEXT[])
ORDER BY prompts.id;

-- claim.asked
SELECT prompts.model, prompts.prompt, prompts.system, prompts.messages, prompts.options
FROM prompts
WHERE prompts.id = %(id)s::BIGINT;

-- claim.replace_prompt
UPDATE prompts
SET endpoint=%(p_endpoint)s::VARCHAR, model=%(p_model)s::VARCHAR, prompt=%(p_prompt)s::VARCHAR,
    system=%(p_system)s::VARCHAR, messages=CAST(%(p_messages)s::VARCHAR AS JSON),
    options=CAST(%(p_options)s::VARCHAR AS JSON), priority=%(p_priority)s::INTEGER, status='queued',
    available_at=clock_timestamp(), attempts=%(attempts)s::INTEGER,
    max_attempts=%(p_max_attempts)s::INTEGER, crashes=%(crashes)s::INTEGER,
    cancel_requested_at=NULL, run_id=NULL, error_code=NULL, error=NULL,
    metadata=CAST(%(p_metadata)s::VARCHAR AS JSONB), finished_at=NULL, keeps_place=NULL,
    runs_without_progress=NULL, first_attempt=(prompts.runs + %(runs_1)s::INTEGER),
    request_hash=%(p_request_hash)s::VARCHAR
WHERE prompts.id = %(p_id)s::BIGINT
AND prompts.status IN ('queued', 'running', 'completed', 'failed', 'cancelled');

-- claim.register
INSERT INTO workers (id, host, pid, version, lease_until, process)
VALUES (%(w_id)s::VARCHAR, %(w_host)s::VARCHAR, %(w_pid)s::BIGINT, %(w_version)s::VARCHAR,
    (clock_timestamp() + make_interval(secs => %(lease)s)), %(w_process)s::JSONB)
ON CONFLICT (id) DO UPDATE
SET lease_until = excluded.lease_until, stopped_at = NULL;

-- claim.renew
UPDATE workers
SET lease_until=(clock_timestamp() + make_interval(secs => %(lease)s))
WHERE workers.id = %(worker)s::VARCHAR
AND workers.stopped_at IS NULL;

-- claim.report
UPDATE workers
SET endpoints=%(said)s::JSONB
WHERE workers.id = %(worker)s::VARCHAR;

-- claim.leave
UPDATE workers
SET leaving_at=clock_timestamp()
WHERE workers.id = %(worker)s::VARCHAR
AND workers.leaving_at IS NULL;

-- claim.sign_off
UPDATE workers
SET stopped_at=clock_timestamp()
WHERE workers.id = %(worker)s::VARCHAR
AND workers.stopped_at IS NULL;

-- claim.start_runs placed
INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + %(param_1)s::INTEGER AS anon_1, %(worker)s::VARCHAR AS
    anon_2, prompts.endpoint, %(in_dialect)s::VARCHAR AS anon_3, coalesce(prompts.model,
    %(default_model)s::VARCHAR) AS coalesce_2, %(nonce)s::BIGINT AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_5)
AND prompts.priority = %(priority)s::INTEGER
AND prompts.id IN (SELECT prompts.id
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.keeps_place IS true
AND prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_6)
AND prompts.priority = %(priority)s::INTEGER
ORDER BY prompts.available_at
LIMIT 500)
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = %(worker)s::VARCHAR
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT clock_timestamp() AS anon_7)))
AND (prompts.crashes < %(suspect_from)s::INTEGER
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= %(suspect_from)s::INTEGER
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT clock_timestamp() AS anon_8)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = %(worker)s::VARCHAR
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= %(suspect_from)s::INTEGER)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = %(for_endpoint)s::VARCHAR
AND "like".available_at <= (SELECT clock_timestamp() AS anon_9)
ORDER BY "like".available_at
LIMIT %(suspects)s::INTEGER))
ORDER BY prompts.id
LIMIT %(limit)s::INTEGER
FOR NO KEY UPDATE SKIP LOCKED
RETURNING runs.id, runs.prompt_id, runs.attempt;

-- claim.start_runs placed held
INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + %(param_1)s::INTEGER AS anon_1, %(worker)s::VARCHAR AS
    anon_2, prompts.endpoint, %(in_dialect)s::VARCHAR AS anon_3, coalesce(prompts.model,
    %(default_model)s::VARCHAR) AS coalesce_2, %(nonce)s::BIGINT AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_5)
AND prompts.priority = %(priority)s::INTEGER
AND prompts.id IN (SELECT prompts.id
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.keeps_place IS true
AND prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_6)
AND prompts.priority = %(priority)s::INTEGER
ORDER BY prompts.available_at
LIMIT 500)
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = %(worker)s::VARCHAR
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT clock_timestamp() AS anon_7)))
AND (prompts.crashes < %(suspect_from)s::INTEGER
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= %(suspect_from)s::INTEGER
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT clock_timestamp() AS anon_8)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = %(worker)s::VARCHAR
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= %(suspect_from)s::INTEGER)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = %(for_endpoint)s::VARCHAR
AND "like".available_at <= (SELECT clock_timestamp() AS anon_9)
ORDER BY "like".available_at
LIMIT %(suspects)s::INTEGER))
AND NOT coalesce(prompts.batch_id, 0) = ANY (%(without)s::BIGINT[])
ORDER BY prompts.id
LIMIT %(limit)s::INTEGER
FOR NO KEY UPDATE SKIP LOCKED
RETURNING runs.id, runs.prompt_id, runs.attempt;

-- claim.start_runs next
INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + %(param_1)s::INTEGER AS anon_1, %(worker)s::VARCHAR AS
    anon_2, prompts.endpoint, %(in_dialect)s::VARCHAR AS anon_3, coalesce(prompts.model,
    %(default_model)s::VARCHAR) AS coalesce_2, %(nonce)s::BIGINT AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_5)
AND prompts.priority = %(priority)s::INTEGER
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = %(worker)s::VARCHAR
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT clock_timestamp() AS anon_6)))
AND (prompts.crashes < %(suspect_from)s::INTEGER
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= %(suspect_from)s::INTEGER
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT clock_timestamp() AS anon_7)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = %(worker)s::VARCHAR
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= %(suspect_from)s::INTEGER)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = %(for_endpoint)s::VARCHAR
AND "like".available_at <= (SELECT clock_timestamp() AS anon_8)
ORDER BY "like".available_at
LIMIT %(suspects)s::INTEGER))
ORDER BY prompts.available_at, prompts.id
LIMIT %(limit)s::INTEGER
FOR NO KEY UPDATE SKIP LOCKED
RETURNING runs.id, runs.prompt_id, runs.attempt;

-- claim.start_runs next held
INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + %(param_1)s::INTEGER AS anon_1, %(worker)s::VARCHAR AS
    anon_2, prompts.endpoint, %(in_dialect)s::VARCHAR AS anon_3, coalesce(prompts.model,
    %(default_model)s::VARCHAR) AS coalesce_2, %(nonce)s::BIGINT AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_5)
AND prompts.priority = %(priority)s::INTEGER
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = %(worker)s::VARCHAR
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT clock_timestamp() AS anon_6)))
AND (prompts.crashes < %(suspect_from)s::INTEGER
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= %(suspect_from)s::INTEGER
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT clock_timestamp() AS anon_7)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = %(worker)s::VARCHAR
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= %(suspect_from)s::INTEGER)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = %(for_endpoint)s::VARCHAR
AND "like".available_at <= (SELECT clock_timestamp() AS anon_8)
ORDER BY "like".available_at
LIMIT %(suspects)s::INTEGER))
AND NOT coalesce(prompts.batch_id, 0) = ANY (%(without)s::BIGINT[])
ORDER BY prompts.available_at, prompts.id
LIMIT %(limit)s::INTEGER
FOR NO KEY UPDATE SKIP LOCKED
RETURNING runs.id, runs.prompt_id, runs.attempt;

-- claim.start_runs alone
INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + %(param_1)s::INTEGER AS anon_1, %(worker)s::VARCHAR AS
    anon_2, prompts.endpoint, %(in_dialect)s::VARCHAR AS anon_3, coalesce(prompts.model,
    %(default_model)s::VARCHAR) AS coalesce_2, %(nonce)s::BIGINT AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_5)
AND prompts.id = %(only)s::BIGINT
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = %(worker)s::VARCHAR
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT clock_timestamp() AS anon_6)))
AND (prompts.crashes < %(suspect_from)s::INTEGER
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= %(suspect_from)s::INTEGER
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT clock_timestamp() AS anon_7)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = %(worker)s::VARCHAR
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= %(suspect_from)s::INTEGER)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = %(for_endpoint)s::VARCHAR
AND "like".available_at <= (SELECT clock_timestamp() AS anon_8)
ORDER BY "like".available_at
LIMIT %(suspects)s::INTEGER))
ORDER BY prompts.id
LIMIT %(limit)s::INTEGER
FOR NO KEY UPDATE SKIP LOCKED
RETURNING runs.id, runs.prompt_id, runs.attempt;

-- claim.start_runs alone held
INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + %(param_1)s::INTEGER AS anon_1, %(worker)s::VARCHAR AS
    anon_2, prompts.endpoint, %(in_dialect)s::VARCHAR AS anon_3, coalesce(prompts.model,
    %(default_model)s::VARCHAR) AS coalesce_2, %(nonce)s::BIGINT AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_5)
AND prompts.id = %(only)s::BIGINT
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = %(worker)s::VARCHAR
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT clock_timestamp() AS anon_6)))
AND (prompts.crashes < %(suspect_from)s::INTEGER
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= %(suspect_from)s::INTEGER
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT clock_timestamp() AS anon_7)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = %(worker)s::VARCHAR
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= %(suspect_from)s::INTEGER)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = %(for_endpoint)s::VARCHAR
AND "like".available_at <= (SELECT clock_timestamp() AS anon_8)
ORDER BY "like".available_at
LIMIT %(suspects)s::INTEGER))
AND NOT coalesce(prompts.batch_id, 0) = ANY (%(without)s::BIGINT[])
ORDER BY prompts.id
LIMIT %(limit)s::INTEGER
FOR NO KEY UPDATE SKIP LOCKED
RETURNING runs.id, runs.prompt_id, runs.attempt;

-- claim.claim_postgresql placed
WITH started AS (INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id AS id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + %(param_3)s::INTEGER AS anon_1, %(worker)s::VARCHAR AS
    anon_2, prompts.endpoint AS endpoint, %(in_dialect)s::VARCHAR AS anon_3, coalesce(prompts.model,
    %(default_model)s::VARCHAR) AS coalesce_2, %(nonce)s::BIGINT AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_5)
AND prompts.priority = %(priority)s::INTEGER
AND prompts.id IN (SELECT prompts.id
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.keeps_place IS true
AND prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_6)
AND prompts.priority = %(priority)s::INTEGER
ORDER BY prompts.available_at
LIMIT 500)
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = %(worker)s::VARCHAR
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT clock_timestamp() AS anon_7)))
AND (prompts.crashes < %(suspect_from)s::INTEGER
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= %(suspect_from)s::INTEGER
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT clock_timestamp() AS anon_8)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = %(worker)s::VARCHAR
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= %(suspect_from)s::INTEGER)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = %(for_endpoint)s::VARCHAR
AND "like".available_at <= (SELECT clock_timestamp() AS anon_9)
ORDER BY "like".available_at
LIMIT %(suspects)s::INTEGER))
ORDER BY prompts.id
LIMIT %(limit)s::INTEGER
FOR NO KEY UPDATE SKIP LOCKED
RETURNING runs.id, runs.prompt_id, runs.attempt) UPDATE prompts
SET status='running', attempts=CASE WHEN (prompts.attempts < %(attempts_1)s::INTEGER) THEN
    prompts.attempts + %(attempts_2)s::INTEGER ELSE %(param_1)s::INTEGER END, runs=CASE WHEN
    (prompts.runs < %(runs_1)s::INTEGER) THEN prompts.runs + %(runs_2)s::INTEGER ELSE
    %(param_2)s::INTEGER END, run_id=started.id
FROM started
WHERE prompts.id = started.prompt_id
AND prompts.status = 'queued'
RETURNING prompts.run_id, prompts.id, started.attempt, prompts.attempts,
    coalesce(prompts.max_attempts, %(default_max_attempts)s::INTEGER) AS max_attempts,
    prompts.endpoint, coalesce(prompts.model, %(default_model)s::VARCHAR) AS model,
    prompts.custom_id, prompts.prompt, prompts.system, CAST(prompts.messages AS TEXT) AS messages,
    CAST(prompts.options AS TEXT) AS options, coalesce(prompts.batch_id, 0) AS batch,
    coalesce(prompts.runs_without_progress, 0) AS in_vain, prompts.error_code, prompts.error, CASE
    WHEN (prompts.runs > 1) THEN (SELECT coalesce(max(earlier.chars), 0) AS coalesce_3
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) ELSE 0 END AS best;

-- claim.claim_postgresql placed held
WITH started AS (INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id AS id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + %(param_3)s::INTEGER AS anon_1, %(worker)s::VARCHAR AS
    anon_2, prompts.endpoint AS endpoint, %(in_dialect)s::VARCHAR AS anon_3, coalesce(prompts.model,
    %(default_model)s::VARCHAR) AS coalesce_2, %(nonce)s::BIGINT AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_5)
AND prompts.priority = %(priority)s::INTEGER
AND prompts.id IN (SELECT prompts.id
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.keeps_place IS true
AND prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_6)
AND prompts.priority = %(priority)s::INTEGER
ORDER BY prompts.available_at
LIMIT 500)
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = %(worker)s::VARCHAR
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT clock_timestamp() AS anon_7)))
AND (prompts.crashes < %(suspect_from)s::INTEGER
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= %(suspect_from)s::INTEGER
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT clock_timestamp() AS anon_8)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = %(worker)s::VARCHAR
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= %(suspect_from)s::INTEGER)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = %(for_endpoint)s::VARCHAR
AND "like".available_at <= (SELECT clock_timestamp() AS anon_9)
ORDER BY "like".available_at
LIMIT %(suspects)s::INTEGER))
AND NOT coalesce(prompts.batch_id, 0) = ANY (%(without)s::BIGINT[])
ORDER BY prompts.id
LIMIT %(limit)s::INTEGER
FOR NO KEY UPDATE SKIP LOCKED
RETURNING runs.id, runs.prompt_id, runs.attempt) UPDATE prompts
SET status='running', attempts=CASE WHEN (prompts.attempts < %(attempts_1)s::INTEGER) THEN
    prompts.attempts + %(attempts_2)s::INTEGER ELSE %(param_1)s::INTEGER END, runs=CASE WHEN
    (prompts.runs < %(runs_1)s::INTEGER) THEN prompts.runs + %(runs_2)s::INTEGER ELSE
    %(param_2)s::INTEGER END, run_id=started.id
FROM started
WHERE prompts.id = started.prompt_id
AND prompts.status = 'queued'
RETURNING prompts.run_id, prompts.id, started.attempt, prompts.attempts,
    coalesce(prompts.max_attempts, %(default_max_attempts)s::INTEGER) AS max_attempts,
    prompts.endpoint, coalesce(prompts.model, %(default_model)s::VARCHAR) AS model,
    prompts.custom_id, prompts.prompt, prompts.system, CAST(prompts.messages AS TEXT) AS messages,
    CAST(prompts.options AS TEXT) AS options, coalesce(prompts.batch_id, 0) AS batch,
    coalesce(prompts.runs_without_progress, 0) AS in_vain, prompts.error_code, prompts.error, CASE
    WHEN (prompts.runs > 1) THEN (SELECT coalesce(max(earlier.chars), 0) AS coalesce_3
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) ELSE 0 END AS best;

-- claim.claim_postgresql next
WITH started AS (INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id AS id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + %(param_3)s::INTEGER AS anon_1, %(worker)s::VARCHAR AS
    anon_2, prompts.endpoint AS endpoint, %(in_dialect)s::VARCHAR AS anon_3, coalesce(prompts.model,
    %(default_model)s::VARCHAR) AS coalesce_2, %(nonce)s::BIGINT AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_5)
AND prompts.priority = %(priority)s::INTEGER
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = %(worker)s::VARCHAR
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT clock_timestamp() AS anon_6)))
AND (prompts.crashes < %(suspect_from)s::INTEGER
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= %(suspect_from)s::INTEGER
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT clock_timestamp() AS anon_7)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = %(worker)s::VARCHAR
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= %(suspect_from)s::INTEGER)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = %(for_endpoint)s::VARCHAR
AND "like".available_at <= (SELECT clock_timestamp() AS anon_8)
ORDER BY "like".available_at
LIMIT %(suspects)s::INTEGER))
ORDER BY prompts.available_at, prompts.id
LIMIT %(limit)s::INTEGER
FOR NO KEY UPDATE SKIP LOCKED
RETURNING runs.id, runs.prompt_id, runs.attempt) UPDATE prompts
SET status='running', attempts=CASE WHEN (prompts.attempts < %(attempts_1)s::INTEGER) THEN
    prompts.attempts + %(attempts_2)s::INTEGER ELSE %(param_1)s::INTEGER END, runs=CASE WHEN
    (prompts.runs < %(runs_1)s::INTEGER) THEN prompts.runs + %(runs_2)s::INTEGER ELSE
    %(param_2)s::INTEGER END, run_id=started.id
FROM started
WHERE prompts.id = started.prompt_id
AND prompts.status = 'queued'
RETURNING prompts.run_id, prompts.id, started.attempt, prompts.attempts,
    coalesce(prompts.max_attempts, %(default_max_attempts)s::INTEGER) AS max_attempts,
    prompts.endpoint, coalesce(prompts.model, %(default_model)s::VARCHAR) AS model,
    prompts.custom_id, prompts.prompt, prompts.system, CAST(prompts.messages AS TEXT) AS messages,
    CAST(prompts.options AS TEXT) AS options, coalesce(prompts.batch_id, 0) AS batch,
    coalesce(prompts.runs_without_progress, 0) AS in_vain, prompts.error_code, prompts.error, CASE
    WHEN (prompts.runs > 1) THEN (SELECT coalesce(max(earlier.chars), 0) AS coalesce_3
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) ELSE 0 END AS best;

-- claim.claim_postgresql next held
WITH started AS (INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id AS id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + %(param_3)s::INTEGER AS anon_1, %(worker)s::VARCHAR AS
    anon_2, prompts.endpoint AS endpoint, %(in_dialect)s::VARCHAR AS anon_3, coalesce(prompts.model,
    %(default_model)s::VARCHAR) AS coalesce_2, %(nonce)s::BIGINT AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_5)
AND prompts.priority = %(priority)s::INTEGER
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = %(worker)s::VARCHAR
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT clock_timestamp() AS anon_6)))
AND (prompts.crashes < %(suspect_from)s::INTEGER
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= %(suspect_from)s::INTEGER
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT clock_timestamp() AS anon_7)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = %(worker)s::VARCHAR
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= %(suspect_from)s::INTEGER)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = %(for_endpoint)s::VARCHAR
AND "like".available_at <= (SELECT clock_timestamp() AS anon_8)
ORDER BY "like".available_at
LIMIT %(suspects)s::INTEGER))
AND NOT coalesce(prompts.batch_id, 0) = ANY (%(without)s::BIGINT[])
ORDER BY prompts.available_at, prompts.id
LIMIT %(limit)s::INTEGER
FOR NO KEY UPDATE SKIP LOCKED
RETURNING runs.id, runs.prompt_id, runs.attempt) UPDATE prompts
SET status='running', attempts=CASE WHEN (prompts.attempts < %(attempts_1)s::INTEGER) THEN
    prompts.attempts + %(attempts_2)s::INTEGER ELSE %(param_1)s::INTEGER END, runs=CASE WHEN
    (prompts.runs < %(runs_1)s::INTEGER) THEN prompts.runs + %(runs_2)s::INTEGER ELSE
    %(param_2)s::INTEGER END, run_id=started.id
FROM started
WHERE prompts.id = started.prompt_id
AND prompts.status = 'queued'
RETURNING prompts.run_id, prompts.id, started.attempt, prompts.attempts,
    coalesce(prompts.max_attempts, %(default_max_attempts)s::INTEGER) AS max_attempts,
    prompts.endpoint, coalesce(prompts.model, %(default_model)s::VARCHAR) AS model,
    prompts.custom_id, prompts.prompt, prompts.system, CAST(prompts.messages AS TEXT) AS messages,
    CAST(prompts.options AS TEXT) AS options, coalesce(prompts.batch_id, 0) AS batch,
    coalesce(prompts.runs_without_progress, 0) AS in_vain, prompts.error_code, prompts.error, CASE
    WHEN (prompts.runs > 1) THEN (SELECT coalesce(max(earlier.chars), 0) AS coalesce_3
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) ELSE 0 END AS best;

-- claim.claim_postgresql alone
WITH started AS (INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id AS id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + %(param_3)s::INTEGER AS anon_1, %(worker)s::VARCHAR AS
    anon_2, prompts.endpoint AS endpoint, %(in_dialect)s::VARCHAR AS anon_3, coalesce(prompts.model,
    %(default_model)s::VARCHAR) AS coalesce_2, %(nonce)s::BIGINT AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_5)
AND prompts.id = %(only)s::BIGINT
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = %(worker)s::VARCHAR
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT clock_timestamp() AS anon_6)))
AND (prompts.crashes < %(suspect_from)s::INTEGER
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= %(suspect_from)s::INTEGER
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT clock_timestamp() AS anon_7)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = %(worker)s::VARCHAR
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= %(suspect_from)s::INTEGER)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = %(for_endpoint)s::VARCHAR
AND "like".available_at <= (SELECT clock_timestamp() AS anon_8)
ORDER BY "like".available_at
LIMIT %(suspects)s::INTEGER))
ORDER BY prompts.id
LIMIT %(limit)s::INTEGER
FOR NO KEY UPDATE SKIP LOCKED
RETURNING runs.id, runs.prompt_id, runs.attempt) UPDATE prompts
SET status='running', attempts=CASE WHEN (prompts.attempts < %(attempts_1)s::INTEGER) THEN
    prompts.attempts + %(attempts_2)s::INTEGER ELSE %(param_1)s::INTEGER END, runs=CASE WHEN
    (prompts.runs < %(runs_1)s::INTEGER) THEN prompts.runs + %(runs_2)s::INTEGER ELSE
    %(param_2)s::INTEGER END, run_id=started.id
FROM started
WHERE prompts.id = started.prompt_id
AND prompts.status = 'queued'
RETURNING prompts.run_id, prompts.id, started.attempt, prompts.attempts,
    coalesce(prompts.max_attempts, %(default_max_attempts)s::INTEGER) AS max_attempts,
    prompts.endpoint, coalesce(prompts.model, %(default_model)s::VARCHAR) AS model,
    prompts.custom_id, prompts.prompt, prompts.system, CAST(prompts.messages AS TEXT) AS messages,
    CAST(prompts.options AS TEXT) AS options, coalesce(prompts.batch_id, 0) AS batch,
    coalesce(prompts.runs_without_progress, 0) AS in_vain, prompts.error_code, prompts.error, CASE
    WHEN (prompts.runs > 1) THEN (SELECT coalesce(max(earlier.chars), 0) AS coalesce_3
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) ELSE 0 END AS best;

-- claim.claim_postgresql alone held
WITH started AS (INSERT INTO runs (prompt_id, attempt, worker_id, endpoint, dialect, model, nonce)
SELECT prompts.id AS id, (SELECT coalesce(max(earlier.attempt), 0) AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) + %(param_3)s::INTEGER AS anon_1, %(worker)s::VARCHAR AS
    anon_2, prompts.endpoint AS endpoint, %(in_dialect)s::VARCHAR AS anon_3, coalesce(prompts.model,
    %(default_model)s::VARCHAR) AS coalesce_2, %(nonce)s::BIGINT AS anon_4
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_5)
AND prompts.id = %(only)s::BIGINT
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = %(worker)s::VARCHAR
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT clock_timestamp() AS anon_6)))
AND (prompts.crashes < %(suspect_from)s::INTEGER
OR NOT (EXISTS (SELECT *
FROM prompts AS other
WHERE other.status = 'queued'
AND other.cancel_requested_at IS NULL
AND other.crashes > 0
AND other.crashes >= %(suspect_from)s::INTEGER
AND other.endpoint = prompts.endpoint
AND other.available_at <= (SELECT clock_timestamp() AS anon_7)
AND other.id < prompts.id))
AND NOT (EXISTS (SELECT *
FROM runs, prompts AS carried
WHERE runs.worker_id = %(worker)s::VARCHAR
AND runs.status = 'streaming'
AND carried.run_id = runs.id
AND carried.id = runs.prompt_id
AND carried.crashes >= %(suspect_from)s::INTEGER)))
AND (coalesce(prompts.runs_without_progress, 0) < 2
OR prompts.id IN (SELECT "like".id
FROM prompts AS "like"
WHERE "like".status = 'queued'
AND "like".cancel_requested_at IS NULL
AND "like".runs_without_progress >= 2
AND "like".endpoint = %(for_endpoint)s::VARCHAR
AND "like".available_at <= (SELECT clock_timestamp() AS anon_8)
ORDER BY "like".available_at
LIMIT %(suspects)s::INTEGER))
AND NOT coalesce(prompts.batch_id, 0) = ANY (%(without)s::BIGINT[])
ORDER BY prompts.id
LIMIT %(limit)s::INTEGER
FOR NO KEY UPDATE SKIP LOCKED
RETURNING runs.id, runs.prompt_id, runs.attempt) UPDATE prompts
SET status='running', attempts=CASE WHEN (prompts.attempts < %(attempts_1)s::INTEGER) THEN
    prompts.attempts + %(attempts_2)s::INTEGER ELSE %(param_1)s::INTEGER END, runs=CASE WHEN
    (prompts.runs < %(runs_1)s::INTEGER) THEN prompts.runs + %(runs_2)s::INTEGER ELSE
    %(param_2)s::INTEGER END, run_id=started.id
FROM started
WHERE prompts.id = started.prompt_id
AND prompts.status = 'queued'
RETURNING prompts.run_id, prompts.id, started.attempt, prompts.attempts,
    coalesce(prompts.max_attempts, %(default_max_attempts)s::INTEGER) AS max_attempts,
    prompts.endpoint, coalesce(prompts.model, %(default_model)s::VARCHAR) AS model,
    prompts.custom_id, prompts.prompt, prompts.system, CAST(prompts.messages AS TEXT) AS messages,
    CAST(prompts.options AS TEXT) AS options, coalesce(prompts.batch_id, 0) AS batch,
    coalesce(prompts.runs_without_progress, 0) AS in_vain, prompts.error_code, prompts.error, CASE
    WHEN (prompts.runs > 1) THEN (SELECT coalesce(max(earlier.chars), 0) AS coalesce_3
FROM runs AS earlier
WHERE earlier.prompt_id = prompts.id) ELSE 0 END AS best;

-- claim.give_up
UPDATE prompts
SET status='failed', attempts=CASE WHEN (prompts.attempts > %(attempts_1)s::INTEGER) THEN
    %(param_1)s::INTEGER ELSE prompts.attempts END, crashes=CASE WHEN (prompts.crashes >
    %(crashes_1)s::INTEGER) THEN %(param_2)s::INTEGER ELSE prompts.crashes END, runs=CASE WHEN
    (prompts.runs > %(runs_1)s::INTEGER) THEN %(param_3)s::INTEGER ELSE prompts.runs END,
    error_code='unclaimable', error=%(words)s::VARCHAR, finished_at=clock_timestamp()
WHERE prompts.id = %(only)s::BIGINT
AND prompts.status = 'queued';

-- commit.close_stray
UPDATE runs
SET status=%(state)s::VARCHAR, first_text_at=(SELECT chunks.created_at
FROM chunks
WHERE chunks.run_id = runs.id
ORDER BY chunks.seq
LIMIT %(param_1)s::INTEGER), finished_at=clock_timestamp(), chars=(SELECT
    coalesce(sum(length(chunks.text)) FILTER (WHERE chunks.kind = 'text'), %(coalesce_2)s::INTEGER)
    AS coalesce_1
FROM chunks
WHERE chunks.run_id = runs.id), chunks=(SELECT count(*) AS count_1
FROM chunks
WHERE chunks.run_id = runs.id), error_code=%(code)s::VARCHAR, error=%(words)s::VARCHAR
WHERE runs.id = (SELECT runs.id
FROM runs
WHERE runs.id = %(run)s::BIGINT
AND runs.worker_id = %(worker)s::VARCHAR FOR UPDATE SKIP LOCKED)
AND runs.status = 'streaming'
AND NOT (EXISTS (SELECT *
FROM prompts
WHERE prompts.id = runs.prompt_id
AND prompts.run_id = runs.id
AND prompts.status = 'running'));

-- commit.add_chunks
INSERT INTO chunks (run_id, seq, kind, text)
SELECT v.run_id, v.seq, v.kind, v.text
FROM unnest(%(v_run_id)s::BIGINT[], %(v_seq)s::INTEGER[], %(v_kind)s::TEXT[], %(v_text)s::TEXT[]) AS
    v(run_id, seq, kind, text)
WHERE NOT (EXISTS (SELECT *
FROM chunks
WHERE chunks.run_id = v.run_id
AND chunks.seq = v.seq));

-- commit.stored_chunks
SELECT chunks.run_id, chunks.seq, chunks.text
FROM chunks
WHERE chunks.run_id = %(run)s::BIGINT
AND chunks.seq = ANY (%(seqs)s::INTEGER[]);

-- commit.add_extras
INSERT INTO run_extras (run_id, seq, kind, data)
SELECT v.run_id, v.seq, v.kind, v.data
FROM unnest(%(v_run_id)s::BIGINT[], %(v_seq)s::INTEGER[], %(v_kind)s::TEXT[], %(v_data)s::TEXT[]) AS
    v(run_id, seq, kind, data)
WHERE NOT (EXISTS (SELECT *
FROM run_extras
WHERE run_extras.run_id = v.run_id
AND run_extras.seq = v.seq));

-- commit.note_requests
UPDATE runs
SET request_hash=v.request_hash
FROM unnest(%(v_run_id)s::BIGINT[], %(v_request_hash)s::TEXT[]) AS v(run_id, request_hash)
WHERE runs.id = v.run_id
AND runs.request_hash IS NULL;

-- commit.tool_pieces
SELECT chunks.run_id, chunks.text
FROM chunks
WHERE chunks.run_id = ANY (%(ids)s::BIGINT[])
AND chunks.kind = 'tool_calls'
ORDER BY chunks.run_id, chunks.seq;

-- commit.keep_tool_calls
UPDATE runs
SET tool_calls=%(calls)s::VARCHAR
WHERE runs.id = %(run)s::BIGINT;

-- commit.end_postgresql
WITH held AS (SELECT v.run_id AS run_id, v.prompt_id AS prompt_id, v.nonce AS nonce, v.before AS
    before, v.run_state AS run_state, v.prompt_state AS prompt_state, v.refund AS refund, v.delay AS
    delay, v.chars AS chars, v.chunks AS chunks, v.done_frame AS done_frame, v.first_text_ago AS
    first_text_ago, v.finish_reason AS finish_reason, v.prompt_tokens AS prompt_tokens,
    v.completion_tokens AS completion_tokens, v.http_status AS http_status, v.request_id AS
    request_id, v.error_code AS error_code, v.error AS error, v.request_hash AS request_hash,
    v.in_vain AS in_vain, v.cut_id AS cut_id, v.frames AS frames
FROM json_to_recordset(CAST(%(endings)s::VARCHAR AS JSON)) AS v(run_id BIGINT, prompt_id BIGINT,
    nonce BIGINT, before INTEGER, run_state TEXT, prompt_state TEXT, refund INTEGER, delay FLOAT,
    chars BIGINT, chunks INTEGER, done_frame BOOLEAN, first_text_ago FLOAT, finish_reason TEXT,
    prompt_tokens BIGINT, completion_tokens BIGINT, http_status INTEGER, request_id TEXT, error_code
    TEXT, error TEXT, request_hash TEXT, in_vain INTEGER, cut_id BIGINT, frames INTEGER)
JOIN LATERAL (SELECT runs.id AS id
FROM runs, prompts
WHERE runs.id = v.run_id
AND runs.nonce IS NOT DISTINCT
FROM v.nonce
AND runs.worker_id = %(worker)s::VARCHAR
AND (runs.status = 'streaming') IS true
AND prompts.id = runs.prompt_id
AND prompts.run_id = runs.id
AND prompts.status = 'running'
AND (v.before IS NULL
OR v.before = (SELECT count(*) AS count_1
FROM chunks
WHERE chunks.run_id = v.run_id
AND chunks.seq < v.before))
FOR NO KEY UPDATE OF runs, prompts SKIP LOCKED) AS mine ON true
WHERE v.run_id = v.run_id + %(run_id_1)s::BIGINT), ended AS (UPDATE runs
SET status=held.run_state, first_text_at=(clock_timestamp() + make_interval(secs =>
    held.first_text_ago)), finished_at=clock_timestamp(), finish_reason=held.finish_reason,
    prompt_tokens=held.prompt_tokens, completion_tokens=held.completion_tokens, chars=held.chars,
    chunks=held.chunks, http_status=held.http_status, request_id=held.request_id,
    error_code=held.error_code, error=held.error, done_frame=held.done_frame,
    request_hash=coalesce(held.request_hash, runs.request_hash), cut_id=held.cut_id,
    frames=held.frames
FROM held
WHERE runs.id = held.run_id
AND runs.worker_id = %(worker)s::VARCHAR
AND (runs.status = 'streaming') IS true
RETURNING runs.id) UPDATE prompts
SET status=CASE WHEN (held.prompt_state = 'queued'
AND prompts.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE held.prompt_state END,
    available_at=CASE WHEN (held.prompt_state = 'queued') THEN (clock_timestamp() +
    make_interval(secs => held.delay)) ELSE prompts.available_at END, attempts=CASE WHEN
    (prompts.attempts > held.refund) THEN prompts.attempts - held.refund ELSE %(param_1)s::INTEGER
    END, error_code=CASE WHEN (held.prompt_state = 'queued'
AND prompts.cancel_requested_at IS NOT NULL) THEN 'cancelled' ELSE held.error_code END,
    error=held.error, finished_at=CASE WHEN (held.prompt_state = 'queued'
AND NOT (held.prompt_state = 'queued'
AND prompts.cancel_requested_at IS NOT NULL)) THEN NULL ELSE clock_timestamp() END, keeps_place=CASE
    WHEN (held.prompt_state = 'queued') THEN held.error_code IN ('shutdown', 'lease_lost',
    'lease_expired', 'handed_back', 'commits_forgotten', 'not_continued', 'length_continued')
OR held.chars - %(chars_1)s::BIGINT >= (SELECT coalesce(max(other.chars), %(coalesce_2)s::INTEGER)
    AS coalesce_1
FROM runs AS other
WHERE other.prompt_id = prompts.id
AND other.id != held.run_id) ELSE NULL END, runs_without_progress=coalesce(held.in_vain,
    prompts.runs_without_progress)
FROM held
WHERE prompts.id = held.prompt_id
AND prompts.run_id = held.run_id
AND prompts.status = 'running'
RETURNING prompts.run_id;

-- commit.measure
UPDATE runs
SET first_text_at=(SELECT chunks.created_at
FROM chunks
WHERE chunks.run_id = runs.id
ORDER BY chunks.seq
LIMIT %(param_1)s::INTEGER), chars=(SELECT coalesce(sum(length(chunks.text)) FILTER (WHERE
    chunks.kind = 'text'), %(coalesce_2)s::INTEGER) AS coalesce_1
FROM chunks
WHERE chunks.run_id = runs.id), chunks=(SELECT count(*) AS count_1
FROM chunks
WHERE chunks.run_id = runs.id)
WHERE runs.id = ANY (%(ids)s::BIGINT[])
AND runs.worker_id = %(worker)s::VARCHAR;

-- commit.owned
SELECT runs.id, runs.prompt_id, runs.nonce
FROM runs
WHERE runs.worker_id = %(worker)s::VARCHAR
AND runs.status = 'streaming';

-- commit.cancel_requests
SELECT runs.id
FROM runs
JOIN prompts ON prompts.run_id = runs.id
WHERE prompts.cancel_requested_at IS NOT NULL
AND prompts.finished_at IS NULL
AND prompts.status = 'running'
AND runs.worker_id = %(worker)s::VARCHAR
AND runs.status = 'streaming';

-- continuation.earlier
SELECT runs.id, runs.attempt, runs.endpoint, runs.dialect, runs.request_hash, runs.error_code,
    runs.finish_reason, runs.chars, coalesce(runs.completion_tokens, runs.frames) AS coalesce_1,
    CASE WHEN runs.started_at BETWEEN '0001-01-03 00:00:00+00'
AND '9999-12-29 00:00:00+00' THEN runs.started_at END AS started_at, CASE WHEN runs.finished_at
    BETWEEN '0001-01-03 00:00:00+00'
AND '9999-12-29 00:00:00+00' THEN runs.finished_at END AS finished_at, runs.continues_run_id,
    runs.carried_chars, runs.carried_tokens
FROM runs
WHERE runs.prompt_id = %(of_prompt)s::BIGINT
AND runs.id != %(but_run)s::BIGINT
AND runs.attempt >= (SELECT coalesce(prompts.first_attempt, 1) AS coalesce_2
FROM prompts
WHERE prompts.id = %(of_prompt)s::BIGINT)
AND runs.finished_at IS NOT NULL
ORDER BY runs.attempt DESC
LIMIT %(param_1)s::INTEGER;

-- continuation.pieces
SELECT chunks.seq, chunks.kind, chunks.text
FROM chunks
WHERE chunks.run_id = %(of_run)s::BIGINT
ORDER BY chunks.seq;

-- continuation.has_extras
SELECT EXISTS (SELECT *
FROM run_extras
WHERE run_extras.run_id = %(of_run)s::BIGINT) AS anon_1;

-- continuation.copy_chunks
INSERT INTO chunks (run_id, seq, kind, text)
SELECT %(to_run)s::BIGINT AS anon_1, chunks.seq, chunks.kind, CASE WHEN (chunks.seq =
    %(last_seq)s::INTEGER) THEN %(last_text)s::VARCHAR ELSE chunks.text END AS anon_2
FROM chunks
WHERE chunks.run_id = %(from_run)s::BIGINT
AND chunks.seq >= %(from_seq)s::INTEGER
AND chunks.seq < %(to_seq)s::INTEGER
AND NOT (EXISTS (SELECT *
FROM chunks AS there
WHERE there.run_id = %(to_run)s::BIGINT
AND there.seq = chunks.seq));

-- continuation.note_beginning
UPDATE runs
SET continues_run_id=%(source)s::BIGINT, carried_chars=%(carried)s::BIGINT,
    carried_chunks=%(in_chunks)s::INTEGER, carried_tokens=%(with_tokens)s::BIGINT,
    dropped_chars=%(dropped)s::BIGINT, continued_by=%(by)s::VARCHAR,
    not_continued=%(why_not)s::VARCHAR
WHERE runs.id = %(to_run)s::BIGINT;

-- continuation.drop_copied_postgresql
SELECT spool_drop_copied(%(from_run)s::BIGINT, %(to_run)s::BIGINT) AS spool_drop_copied_1;

-- endpoint_states.said
SELECT endpoint_states.endpoint, endpoint_states.digest, endpoint_states.state
FROM endpoint_states;

-- endpoint_states.keep
INSERT INTO endpoint_states (endpoint, digest, worker_id, changed_at, state)
VALUES (%(e)s::VARCHAR, %(d)s::VARCHAR, %(w)s::VARCHAR, clock_timestamp(), %(said)s::JSONB)
ON CONFLICT (endpoint, digest) DO UPDATE
SET worker_id = excluded.worker_id, changed_at = clock_timestamp(), state = excluded.state;

-- fence.hold_flushing
SELECT runs.id
FROM runs, unnest(%(v_run_id)s::BIGINT[], %(v_nonce)s::BIGINT[], %(v_before)s::INTEGER[]) AS
    v(run_id, nonce, before), prompts
WHERE runs.id = v.run_id
AND runs.nonce IS NOT DISTINCT
FROM v.nonce
AND runs.worker_id = %(worker)s::VARCHAR
AND (runs.status = 'streaming') IS true
AND prompts.id = runs.prompt_id
AND prompts.run_id = runs.id
AND prompts.status = 'running'
AND (v.before = 0
OR (EXISTS (SELECT *
FROM chunks
WHERE chunks.run_id = v.run_id
AND chunks.seq = v.before - 1))) FOR SHARE OF runs SKIP LOCKED;

-- fence.refused
SELECT runs.id, runs.prompt_id, runs.status, runs.error_code, (SELECT prompts.status
FROM prompts
WHERE prompts.id = runs.prompt_id) AS anon_1, EXISTS (SELECT *
FROM prompts
WHERE prompts.id = runs.prompt_id
AND prompts.run_id = runs.id
AND prompts.status = 'running') AS anon_2, v.before IS NULL
OR v.before = (SELECT count(*) AS count_1
FROM chunks
WHERE chunks.run_id = v.run_id
AND chunks.seq < v.before) AS anon_3
FROM runs, unnest(%(v_run_id)s::BIGINT[], %(v_nonce)s::BIGINT[], %(v_before)s::INTEGER[]) AS
    v(run_id, nonce, before)
WHERE runs.id = v.run_id
AND runs.nonce IS NOT DISTINCT
FROM v.nonce
AND runs.worker_id = %(worker)s::VARCHAR;

-- listing.floor
SELECT prompts.id
FROM prompts
WHERE prompts.id < %(before)s::BIGINT
ORDER BY prompts.id DESC
LIMIT %(param_1)s::INTEGER OFFSET %(most)s::INTEGER;

-- listing.page
SELECT prompts.id, batches.name AS batch, prompts.custom_id, prompts.endpoint, prompts.model,
    prompts.status, prompts.attempts, prompts.runs, prompts.error_code, prompts.error, CASE WHEN
    prompts.created_at BETWEEN '0001-01-03 00:00:00+00'
AND '9999-12-29 00:00:00+00' THEN prompts.created_at END AS created_at, CASE WHEN
    prompts.finished_at BETWEEN '0001-01-03 00:00:00+00'
AND '9999-12-29 00:00:00+00' THEN prompts.finished_at END AS finished_at,
    substr(coalesce(prompts.prompt, CAST(prompts.messages AS VARCHAR)), %(substr_1)s::INTEGER,
    %(substr_2)s::INTEGER) AS text, prompts.prompt IS NULL AS is_json
FROM prompts LEFT OUTER
JOIN batches ON batches.id = prompts.batch_id
WHERE prompts.batch_id + %(batch_id_1)s::BIGINT = (SELECT batches.id
FROM batches
WHERE batches.name = %(name_1)s::VARCHAR)
AND prompts.status = 'failed'
AND prompts.id > %(after)s::BIGINT
AND prompts.id < %(before)s::BIGINT
ORDER BY prompts.id DESC
LIMIT %(page)s::INTEGER;

-- manage.to_cancel
SELECT prompts.id
FROM prompts
WHERE prompts.batch_id + %(batch_id_1)s::BIGINT = (SELECT batches.id
FROM batches
WHERE batches.name = %(name_1)s::VARCHAR)
AND prompts.status = 'failed'
AND (prompts.status = 'queued'
OR prompts.status = 'running'
AND prompts.cancel_requested_at IS NULL)
AND prompts.id > %(after)s::INTEGER
AND prompts.id <= %(last)s::INTEGER
ORDER BY prompts.id
LIMIT %(page)s::INTEGER
FOR NO KEY UPDATE OF prompts;

-- manage.to_retry
SELECT prompts.id
FROM prompts
WHERE prompts.batch_id + %(batch_id_1)s::BIGINT = (SELECT batches.id
FROM batches
WHERE batches.name = %(name_1)s::VARCHAR)
AND prompts.status = 'failed'
AND prompts.status IN ('failed', 'cancelled')
AND prompts.id > %(after)s::INTEGER
AND prompts.id <= %(last)s::INTEGER
ORDER BY prompts.id
LIMIT %(page)s::INTEGER
FOR NO KEY UPDATE OF prompts;

-- manage.to_prune
SELECT prompts.id
FROM prompts
WHERE prompts.batch_id + %(batch_id_1)s::BIGINT = (SELECT batches.id
FROM batches
WHERE batches.name = %(name_1)s::VARCHAR)
AND prompts.status = 'failed'
AND prompts.status IN ('completed', 'failed', 'cancelled')
AND prompts.id > %(after)s::INTEGER
AND prompts.id <= %(last)s::INTEGER
ORDER BY prompts.id
LIMIT %(page)s::INTEGER
FOR NO KEY UPDATE OF prompts;

-- manage.cancel
UPDATE prompts
SET status=CASE WHEN (prompts.status = 'queued') THEN 'cancelled' ELSE prompts.status END,
    cancel_requested_at=coalesce(prompts.cancel_requested_at, clock_timestamp()), error_code=CASE
    WHEN (prompts.status = 'queued') THEN 'cancelled' ELSE prompts.error_code END, error=CASE WHEN
    (prompts.status = 'queued') THEN NULL ELSE prompts.error END, finished_at=CASE WHEN
    (prompts.status = 'queued') THEN clock_timestamp() ELSE prompts.finished_at END
WHERE prompts.id = ANY (%(ids)s::BIGINT[])
AND prompts.status IN ('queued', 'running');

-- manage.cancel_queued
UPDATE prompts
SET status=CASE WHEN (prompts.status = 'queued') THEN 'cancelled' ELSE prompts.status END,
    error_code=CASE WHEN (prompts.status = 'queued') THEN 'cancelled' ELSE prompts.error_code END,
    error=CASE WHEN (prompts.status = 'queued') THEN NULL ELSE prompts.error END, finished_at=CASE
    WHEN (prompts.status = 'queued') THEN clock_timestamp() ELSE prompts.finished_at END
WHERE prompts.id IN (SELECT prompts.id
FROM prompts
WHERE prompts.cancel_requested_at IS NOT NULL
AND prompts.finished_at IS NULL
AND prompts.status = 'queued'
LIMIT %(param_1)s::INTEGER FOR UPDATE SKIP LOCKED);

-- manage.retry
UPDATE prompts
SET endpoint=%(new_endpoint)s::VARCHAR, status='queued', available_at=clock_timestamp(),
    attempts=%(attempts)s::INTEGER, crashes=%(crashes)s::INTEGER, cancel_requested_at=NULL,
    error_code=NULL, error=NULL, finished_at=NULL, runs_without_progress=NULL
WHERE prompts.id = ANY (%(ids)s::BIGINT[])
AND prompts.status IN ('failed', 'cancelled');

-- manage.retry fresh
UPDATE prompts
SET endpoint=%(new_endpoint)s::VARCHAR, status='queued', available_at=clock_timestamp(),
    attempts=%(attempts)s::INTEGER, crashes=%(crashes)s::INTEGER, cancel_requested_at=NULL,
    run_id=NULL, error_code=NULL, error=NULL, finished_at=NULL, runs_without_progress=NULL,
    first_attempt=(prompts.runs + %(runs_1)s::INTEGER)
WHERE prompts.id = ANY (%(ids)s::BIGINT[])
AND prompts.status IN ('failed', 'cancelled');

-- manage.prune
DELETE
FROM prompts
WHERE prompts.id = ANY (%(ids)s::BIGINT[])
AND prompts.status IN ('completed', 'failed', 'cancelled');

-- outcomes.of_batch
SELECT prompts.endpoint, prompts.status, count(*) AS number
FROM prompts
WHERE prompts.batch_id = (SELECT batches.id
FROM batches
WHERE batches.name = %(batch)s::VARCHAR) GROUP BY prompts.endpoint, prompts.status;

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
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.priority < %(below)s::BIGINT UNION ALL
SELECT (SELECT max(prompts.priority) AS priority
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.priority < levels.priority) AS anon_3, levels.level + %(level_1)s::INTEGER AS anon_4
FROM levels
WHERE levels.priority IS NOT NULL
AND levels.level < %(level_2)s::INTEGER)
SELECT levels.priority, EXISTS (SELECT *
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.keeps_place IS true
AND prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_2)
AND prompts.priority = levels.priority) AS anon_1
FROM levels
WHERE levels.priority IS NOT NULL
AND ((EXISTS (SELECT *
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_5)
AND prompts.priority = levels.priority))
OR levels.level = %(level_3)s::INTEGER)
LIMIT %(param_1)s::INTEGER;

-- priority_levels.candidates
SELECT prompts.id
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_1)
ORDER BY prompts.priority DESC, prompts.available_at, prompts.id
LIMIT %(limit)s::INTEGER;

-- priority_levels.anything_ready
WITH RECURSIVE levels(priority, level) AS (SELECT max(prompts.priority) AS priority, 1 AS level
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR UNION ALL
SELECT (SELECT max(prompts.priority) AS priority
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.priority < levels.priority) AS anon_1, levels.level + %(level_1)s::INTEGER AS anon_2
FROM levels
WHERE levels.priority IS NOT NULL
AND levels.level < %(level_2)s::INTEGER)
SELECT levels.priority
FROM levels
WHERE (EXISTS (SELECT *
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_3)
AND prompts.priority = levels.priority))
OR levels.level = %(level_3)s::INTEGER
AND (EXISTS (SELECT *
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = %(for_endpoint)s::VARCHAR
AND prompts.available_at <= (SELECT clock_timestamp() AS anon_4)
AND prompts.priority < levels.priority))
LIMIT %(param_1)s::INTEGER;

-- read.count
SELECT count(*) AS count_1
FROM prompts
WHERE prompts.batch_id = (SELECT batches.id
FROM batches
WHERE batches.name = %(name_1)s::VARCHAR)
AND prompts.status = 'failed';

-- read.any_of
SELECT prompts.id
FROM prompts
WHERE prompts.batch_id = (SELECT batches.id
FROM batches
WHERE batches.name = %(name_1)s::VARCHAR)
AND prompts.status = 'failed'
LIMIT %(param_1)s::INTEGER;

-- read.batch_names
SELECT batches.name
FROM batches
WHERE EXISTS (SELECT *
FROM prompts
WHERE prompts.batch_id = batches.id)
ORDER BY batches.id;

-- read.waiting
SELECT count(*) FILTER (WHERE prompts.available_at <= (SELECT clock_timestamp() AS anon_1)) AS
    ready, count(*) FILTER (WHERE prompts.available_at > (SELECT clock_timestamp() AS anon_1)) AS
    later, CASE WHEN isfinite((SELECT clock_timestamp() AS anon_2))
AND isfinite(min(prompts.available_at) FILTER (WHERE prompts.available_at > (SELECT
    clock_timestamp() AS anon_1))) THEN CAST(EXTRACT(EPOCH
FROM min(prompts.available_at) FILTER (WHERE prompts.available_at > (SELECT clock_timestamp() AS
    anon_1)) - (SELECT clock_timestamp() AS anon_2)) AS double precision) END AS seconds
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL;

-- read.waiting_for
SELECT count(*) FILTER (WHERE prompts.available_at <= (SELECT clock_timestamp() AS anon_1)) AS
    ready, count(*) FILTER (WHERE prompts.available_at > (SELECT clock_timestamp() AS anon_1)) AS
    later, CASE WHEN isfinite((SELECT clock_timestamp() AS anon_2))
AND isfinite(min(prompts.available_at) FILTER (WHERE prompts.available_at > (SELECT
    clock_timestamp() AS anon_1))) THEN CAST(EXTRACT(EPOCH
FROM min(prompts.available_at) FILTER (WHERE prompts.available_at > (SELECT clock_timestamp() AS
    anon_1)) - (SELECT clock_timestamp() AS anon_2)) AS double precision) END AS seconds
FROM prompts
WHERE prompts.status = 'queued'
AND prompts.cancel_requested_at IS NULL
AND prompts.endpoint = ANY (%(endpoints)s::TEXT[]);

-- read.running_for
SELECT count(*) AS count_1
FROM runs
WHERE runs.status = 'streaming'
AND runs.endpoint = ANY (%(endpoints)s::TEXT[]);

-- read.clock
SELECT CASE WHEN (SELECT clock_timestamp() AS anon_2) BETWEEN '0001-01-03 00:00:00+00'
AND '9999-12-29 00:00:00+00' THEN (SELECT clock_timestamp() AS anon_2) END AS anon_1;

-- read.strays
SELECT runs.id
FROM runs
JOIN prompts ON prompts.id = runs.prompt_id
WHERE runs.worker_id = %(worker)s::VARCHAR
AND runs.status = 'streaming'
AND NOT (prompts.status = 'running'
AND prompts.run_id = runs.id);

-- read.prompt_states
SELECT prompts.id, prompts.status
FROM prompts
WHERE prompts.id = ANY (%(ids)s::BIGINT[]);

-- read.prompt
SELECT batches.name AS batch, prompts.id, prompts.custom_id, prompts.endpoint, prompts.model,
    prompts.prompt, prompts.system, prompts.priority, prompts.status, CASE WHEN prompts.available_at
    BETWEEN '0001-01-03 00:00:00+00'
AND '9999-12-29 00:00:00+00' THEN prompts.available_at END AS available_at, prompts.attempts,
    prompts.max_attempts, prompts.crashes, prompts.runs, CASE WHEN prompts.cancel_requested_at
    BETWEEN '0001-01-03 00:00:00+00'
AND '9999-12-29 00:00:00+00' THEN prompts.cancel_requested_at END AS cancel_requested_at,
    prompts.run_id, prompts.error_code, prompts.error, CASE WHEN prompts.created_at BETWEEN
    '0001-01-03 00:00:00+00'
AND '9999-12-29 00:00:00+00' THEN prompts.created_at END AS created_at, CASE WHEN
    prompts.finished_at BETWEEN '0001-01-03 00:00:00+00'
AND '9999-12-29 00:00:00+00' THEN prompts.finished_at END AS finished_at, CAST(prompts.messages AS
    TEXT) AS messages_json, CAST(prompts.options AS TEXT) AS options_json, CAST(prompts.metadata AS
    TEXT) AS metadata_json, CASE WHEN prompts.status = 'completed' THEN prompts.run_id ELSE
    coalesce( (SELECT t.id
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
WHERE prompts.id = %(id)s::INTEGER;

-- read.find
SELECT prompts.id
FROM prompts
WHERE prompts.custom_id = %(custom_id)s::VARCHAR
ORDER BY prompts.id;

-- read.find in_batch
SELECT prompts.id
FROM prompts
JOIN batches ON batches.id = prompts.batch_id
WHERE prompts.custom_id = %(custom_id)s::VARCHAR
AND batches.name = %(batch)s::VARCHAR
ORDER BY prompts.id;

-- read.attempts
SELECT runs.id AS run_id, runs.attempt, runs.status, runs.worker_id, CASE WHEN runs.started_at
    BETWEEN '0001-01-03 00:00:00+00'
AND '9999-12-29 00:00:00+00' THEN runs.started_at END AS started_at, CASE WHEN runs.finished_at
    BETWEEN '0001-01-03 00:00:00+00'
AND '9999-12-29 00:00:00+00' THEN runs.finished_at END AS finished_at, runs.finish_reason, CASE WHEN
    (runs.status = 'streaming') THEN (SELECT coalesce(sum(length(chunks.text)),
    %(coalesce_2)s::INTEGER) AS coalesce_1
FROM chunks
WHERE chunks.run_id = runs.id
AND chunks.kind = 'text') ELSE runs.chars END AS chars, runs.error_code, runs.error,
    runs.continues_run_id, runs.carried_chars, runs.carried_chunks, runs.dropped_chars,
    runs.continued_by, runs.not_continued
FROM runs
WHERE runs.prompt_id = %(id)s::INTEGER
ORDER BY runs.attempt;

-- read.text
SELECT chunks.seq, chunks.text
FROM chunks
WHERE chunks.run_id = %(id)s::INTEGER
AND chunks.seq > %(after)s::INTEGER
AND chunks.kind = %(kind)s::VARCHAR
ORDER BY chunks.seq
LIMIT %(page)s::INTEGER;

-- read.lengths
SELECT chunks.run_id, sum(length(chunks.text)) AS chars
FROM chunks
WHERE chunks.run_id = ANY (%(ids)s::BIGINT[])
AND chunks.kind = 'text' GROUP BY chunks.run_id;

-- read.span
SELECT min(prompts.id) - %(min_1)s::BIGINT AS anon_1, max(prompts.id) AS max_1
FROM prompts
WHERE prompts.batch_id = (SELECT batches.id
FROM batches
WHERE batches.name = %(name_1)s::VARCHAR);

-- read.results
SELECT prompts.id, batches.name AS batch, prompts.custom_id, prompts.endpoint, coalesce(runs.model,
    prompts.model) AS model, prompts.prompt, prompts.system, CAST(prompts.messages AS TEXT) AS
    messages_json, prompts.status, prompts.run_id, runs.finish_reason, runs.prompt_tokens,
    runs.completion_tokens + coalesce(runs.carried_tokens, 0) AS completion_tokens,
    runs.http_status, runs.request_id, prompts.attempts, CASE WHEN isfinite(runs.started_at)
AND isfinite(coalesce(runs.finished_at, (SELECT clock_timestamp() AS anon_1))) THEN
    CAST(EXTRACT(EPOCH
FROM coalesce(runs.finished_at, (SELECT clock_timestamp() AS anon_1)) - runs.started_at) AS double
    precision) END AS seconds, prompts.error_code, prompts.error, CAST(prompts.metadata AS TEXT) AS
    metadata_json, CASE WHEN prompts.created_at BETWEEN '0001-01-03 00:00:00+00'
AND '9999-12-29 00:00:00+00' THEN prompts.created_at END AS created_at, CASE WHEN
    prompts.finished_at BETWEEN '0001-01-03 00:00:00+00'
AND '9999-12-29 00:00:00+00' THEN prompts.finished_at END AS finished_at, CASE WHEN prompts.status =
    'completed' THEN prompts.run_id ELSE coalesce( (SELECT t.id
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
    total_completion_tokens, CASE WHEN isfinite(runs.started_at)
AND isfinite(runs.first_text_at) THEN CAST(EXTRACT(EPOCH
FROM runs.first_text_at - runs.started_at) AS double precision) END AS first_text_seconds
FROM prompts LEFT OUTER
JOIN batches ON batches.id = prompts.batch_id LEFT OUTER
JOIN runs ON runs.id = prompts.run_id
WHERE prompts.batch_id + %(batch_id_1)s::BIGINT = (SELECT batches.id
FROM batches
WHERE batches.name = %(name_1)s::VARCHAR)
AND prompts.status = 'failed'
AND prompts.id > %(after)s::BIGINT
AND prompts.id <= %(last)s::BIGINT
ORDER BY prompts.id
LIMIT %(page)s::INTEGER;

-- read.tallies
SELECT batches.name AS batch, anon_1.batch_id, anon_1.endpoint, anon_1.status, anon_1.why,
    anon_1.number, anon_1.recent, anon_1.lately
FROM (SELECT prompts.batch_id AS batch_id, prompts.endpoint AS endpoint, prompts.status AS status,
    CASE WHEN (prompts.status = 'failed') THEN prompts.error_code END AS why, count(*) AS number,
    count(*) FILTER (WHERE prompts.status = 'completed'
AND prompts.finished_at > (SELECT (clock_timestamp() + make_interval(secs => %(hour)s)) AS anon_2))
    AS recent, count(*) FILTER (WHERE prompts.status = 'completed'
AND prompts.finished_at > (SELECT (clock_timestamp() + make_interval(secs => %(minute)s)) AS
    anon_3)) AS lately
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
LIMIT %(page)s::INTEGER;

-- read.living
SELECT workers.id, workers.host, workers.pid, workers.version, CASE WHEN workers.started_at BETWEEN
    '0001-01-03 00:00:00+00'
AND '9999-12-29 00:00:00+00' THEN workers.started_at END AS started_at, CASE WHEN workers.stopped_at
    BETWEEN '0001-01-03 00:00:00+00'
AND '9999-12-29 00:00:00+00' THEN workers.stopped_at END AS stopped_at, coalesce(CASE WHEN
    isfinite((SELECT clock_timestamp() AS anon_1))
AND isfinite(workers.lease_until) THEN CAST(EXTRACT(EPOCH
FROM workers.lease_until - (SELECT clock_timestamp() AS anon_1)) AS double precision) END, 0.0) AS
    lease_seconds_left, workers.endpoints, (SELECT count(*) AS count_1
FROM runs
WHERE runs.worker_id = workers.id
AND runs.status = 'streaming') AS runs
FROM workers
WHERE workers.stopped_at IS NULL
AND workers.lease_until > (SELECT (clock_timestamp() + make_interval(secs => %(hour)s)) AS anon_2)
OR (SELECT count(*) AS count_1
FROM runs
WHERE runs.worker_id = workers.id
AND runs.status = 'streaming') > %(param_1)s::INTEGER
ORDER BY workers.started_at, workers.id;

-- read.live
SELECT runs.id AS run_id, runs.prompt_id, batches.name AS batch, prompts.custom_id, runs.endpoint,
    runs.model, runs.worker_id, runs.attempt, CASE WHEN runs.started_at BETWEEN '0001-01-03
    00:00:00+00'
AND '9999-12-29 00:00:00+00' THEN runs.started_at END AS started_at, coalesce(CASE WHEN
    isfinite(runs.started_at)
AND isfinite((SELECT clock_timestamp() AS anon_1)) THEN CAST(EXTRACT(EPOCH
FROM (SELECT clock_timestamp() AS anon_1) - runs.started_at) AS double precision) END, 0.0) AS
    seconds, coalesce(CASE WHEN isfinite(coalesce((SELECT chunks.created_at
FROM chunks
WHERE chunks.run_id = runs.id
ORDER BY chunks.seq DESC
LIMIT %(param_1)s::INTEGER), runs.started_at))
AND isfinite((SELECT clock_timestamp() AS anon_2)) THEN CAST(EXTRACT(EPOCH
FROM (SELECT clock_timestamp() AS anon_2) - coalesce((SELECT chunks.created_at
FROM chunks
WHERE chunks.run_id = runs.id
ORDER BY chunks.seq DESC
LIMIT %(param_1)s::INTEGER), runs.started_at)) AS double precision) END, 0.0) AS silent_seconds,
    (SELECT count(*) AS count_1
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
WHERE workers.host = %(on_host)s::VARCHAR
AND workers.id != %(worker)s::VARCHAR
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT clock_timestamp() AS anon_1)
AND workers.process IS NOT NULL;

-- rescue.bury
UPDATE workers
SET lease_until=clock_timestamp()
WHERE workers.id = ANY (%(dead)s::TEXT[])
AND workers.lease_until > (SELECT clock_timestamp() AS anon_1);

-- rescue.orphans
SELECT runs.id, runs.prompt_id
FROM runs
WHERE runs.status = 'streaming'
AND NOT (EXISTS (SELECT *
FROM workers
WHERE workers.id = runs.worker_id
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT clock_timestamp() AS anon_1)))
AND runs.worker_id != %(rescuer)s::VARCHAR
ORDER BY runs.worker_id, runs.id
LIMIT %(limit)s::INTEGER
FOR NO KEY UPDATE OF runs SKIP LOCKED;

-- rescue.orphans of_dead
SELECT runs.id, runs.prompt_id
FROM runs
WHERE runs.status = 'streaming'
AND NOT (EXISTS (SELECT *
FROM workers
WHERE workers.id = runs.worker_id
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT clock_timestamp() AS anon_1)))
AND runs.worker_id != %(rescuer)s::VARCHAR
AND runs.worker_id = ANY (%(dead)s::TEXT[])
ORDER BY runs.worker_id, runs.id
LIMIT %(limit)s::INTEGER
FOR NO KEY UPDATE OF runs SKIP LOCKED;

-- rescue.hold_prompts
SELECT prompts.id
FROM prompts
WHERE prompts.id = ANY (%(ids)s::BIGINT[])
FOR NO KEY UPDATE SKIP LOCKED;

-- rescue.interrupt_orphans
UPDATE runs
SET status='interrupted', first_text_at=(SELECT chunks.created_at
FROM chunks
WHERE chunks.run_id = runs.id
ORDER BY chunks.seq
LIMIT %(param_1)s::INTEGER), finished_at=clock_timestamp(), chars=(SELECT
    coalesce(sum(length(chunks.text)) FILTER (WHERE chunks.kind = 'text'), %(coalesce_2)s::INTEGER)
    AS coalesce_1
FROM chunks
WHERE chunks.run_id = runs.id), chunks=(SELECT count(*) AS count_1
FROM chunks
WHERE chunks.run_id = runs.id), error_code=CASE WHEN ((SELECT workers.leaving_at
FROM workers
WHERE workers.id = runs.worker_id) IS NOT NULL) THEN 'shutdown' ELSE 'lease_expired' END, error=CASE
    WHEN ((SELECT workers.leaving_at
FROM workers
WHERE workers.id = runs.worker_id) IS NOT NULL) THEN %(leaving_words)s ELSE %(words)s END
WHERE runs.id = ANY (%(ids)s::BIGINT[])
AND runs.status = 'streaming'
AND NOT (EXISTS (SELECT *
FROM workers
WHERE workers.id = runs.worker_id
AND workers.stopped_at IS NULL
AND workers.lease_until > (SELECT clock_timestamp() AS anon_1)))
RETURNING runs.id, runs.prompt_id, runs.worker_id;

-- rescue.requeue_orphans
UPDATE prompts
SET status=CASE WHEN (prompts.cancel_requested_at IS NOT NULL) THEN 'cancelled' WHEN ((EXISTS
    (SELECT *
FROM runs
WHERE runs.id = prompts.run_id
AND runs.error_code = 'lease_expired'
AND runs.chars - %(chars_1)s::BIGINT < (SELECT coalesce(max(earlier.chars), %(coalesce_2)s::INTEGER)
    AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = runs.prompt_id
AND earlier.attempt < runs.attempt)))
AND (prompts.crashes + CASE WHEN (EXISTS (SELECT *
FROM runs
WHERE runs.id = prompts.run_id
AND runs.error_code = 'lease_expired'
AND runs.chars - %(chars_1)s::BIGINT < (SELECT coalesce(max(earlier.chars), %(coalesce_2)s::INTEGER)
    AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = runs.prompt_id
AND earlier.attempt < runs.attempt))) THEN %(param_1)s::INTEGER ELSE %(param_2)s::INTEGER END) -
    (SELECT count(*) AS count_1
FROM runs AS survived
WHERE survived.prompt_id = prompts.id
AND survived.error_code = 'lease_expired'
AND survived.chars - %(chars_2)s::BIGINT < (SELECT coalesce(max(earlier.chars),
    %(coalesce_4)s::INTEGER) AS coalesce_3
FROM runs AS earlier
WHERE earlier.prompt_id = survived.prompt_id
AND earlier.attempt < survived.attempt)
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = survived.worker_id
AND workers.lease_until > survived.finished_at))) >= %(max_crashes)s::INTEGER) THEN 'failed' ELSE
    'queued' END, attempts=CASE WHEN (prompts.attempts > %(attempts_1)s::INTEGER) THEN
    prompts.attempts - %(attempts_2)s::INTEGER ELSE %(param_3)s::INTEGER END,
    crashes=(prompts.crashes + CASE WHEN (EXISTS (SELECT *
FROM runs
WHERE runs.id = prompts.run_id
AND runs.error_code = 'lease_expired'
AND runs.chars - %(chars_1)s::BIGINT < (SELECT coalesce(max(earlier.chars), %(coalesce_2)s::INTEGER)
    AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = runs.prompt_id
AND earlier.attempt < runs.attempt))) THEN %(param_1)s::INTEGER ELSE %(param_2)s::INTEGER END),
    error_code=CASE WHEN (prompts.cancel_requested_at IS NOT NULL) THEN 'cancelled' WHEN ((EXISTS
    (SELECT *
FROM runs
WHERE runs.id = prompts.run_id
AND runs.error_code = 'lease_expired'
AND runs.chars - %(chars_1)s::BIGINT < (SELECT coalesce(max(earlier.chars), %(coalesce_2)s::INTEGER)
    AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = runs.prompt_id
AND earlier.attempt < runs.attempt)))
AND (prompts.crashes + CASE WHEN (EXISTS (SELECT *
FROM runs
WHERE runs.id = prompts.run_id
AND runs.error_code = 'lease_expired'
AND runs.chars - %(chars_1)s::BIGINT < (SELECT coalesce(max(earlier.chars), %(coalesce_2)s::INTEGER)
    AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = runs.prompt_id
AND earlier.attempt < runs.attempt))) THEN %(param_1)s::INTEGER ELSE %(param_2)s::INTEGER END) -
    (SELECT count(*) AS count_1
FROM runs AS survived
WHERE survived.prompt_id = prompts.id
AND survived.error_code = 'lease_expired'
AND survived.chars - %(chars_2)s::BIGINT < (SELECT coalesce(max(earlier.chars),
    %(coalesce_4)s::INTEGER) AS coalesce_3
FROM runs AS earlier
WHERE earlier.prompt_id = survived.prompt_id
AND earlier.attempt < survived.attempt)
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = survived.worker_id
AND workers.lease_until > survived.finished_at))) >= %(max_crashes)s::INTEGER) THEN
    'too_many_crashes' ELSE (SELECT runs.error_code
FROM runs
WHERE runs.id = prompts.run_id) END, error=(SELECT runs.error
FROM runs
WHERE runs.id = prompts.run_id), finished_at=CASE WHEN (prompts.cancel_requested_at IS NOT NULL
OR (EXISTS (SELECT *
FROM runs
WHERE runs.id = prompts.run_id
AND runs.error_code = 'lease_expired'
AND runs.chars - %(chars_1)s::BIGINT < (SELECT coalesce(max(earlier.chars), %(coalesce_2)s::INTEGER)
    AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = runs.prompt_id
AND earlier.attempt < runs.attempt)))
AND (prompts.crashes + CASE WHEN (EXISTS (SELECT *
FROM runs
WHERE runs.id = prompts.run_id
AND runs.error_code = 'lease_expired'
AND runs.chars - %(chars_1)s::BIGINT < (SELECT coalesce(max(earlier.chars), %(coalesce_2)s::INTEGER)
    AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = runs.prompt_id
AND earlier.attempt < runs.attempt))) THEN %(param_1)s::INTEGER ELSE %(param_2)s::INTEGER END) -
    (SELECT count(*) AS count_1
FROM runs AS survived
WHERE survived.prompt_id = prompts.id
AND survived.error_code = 'lease_expired'
AND survived.chars - %(chars_2)s::BIGINT < (SELECT coalesce(max(earlier.chars),
    %(coalesce_4)s::INTEGER) AS coalesce_3
FROM runs AS earlier
WHERE earlier.prompt_id = survived.prompt_id
AND earlier.attempt < survived.attempt)
AND (EXISTS (SELECT *
FROM workers
WHERE workers.id = survived.worker_id
AND workers.lease_until > survived.finished_at))) >= %(max_crashes)s::INTEGER) THEN
    clock_timestamp() ELSE NULL END, keeps_place=true
WHERE prompts.run_id = ANY (%(ids)s::BIGINT[])
AND prompts.id = ANY (%(prompt_ids)s::BIGINT[])
AND prompts.status = 'running';

-- rescue.uncounted
SELECT runs.id, prompts.id AS id_1
FROM runs, prompts
WHERE runs.id = ANY (%(ids)s::BIGINT[])
AND runs.worker_id = %(worker)s::VARCHAR
AND runs.error_code = 'lease_expired'
AND prompts.id = runs.prompt_id
AND prompts.finished_at IS NULL
ORDER BY runs.id
FOR NO KEY UPDATE OF runs, prompts SKIP LOCKED;

-- rescue.uncount_prompt
UPDATE prompts
SET crashes=CASE WHEN (EXISTS (SELECT *
FROM runs
WHERE runs.id = %(of_run)s::BIGINT
AND runs.error_code = 'lease_expired'
AND runs.chars - %(chars_1)s::BIGINT < (SELECT coalesce(max(earlier.chars), %(coalesce_2)s::INTEGER)
    AS coalesce_1
FROM runs AS earlier
WHERE earlier.prompt_id = runs.prompt_id
AND earlier.attempt < runs.attempt))) THEN CASE WHEN (prompts.crashes > %(crashes_1)s::INTEGER) THEN
    prompts.crashes - %(crashes_2)s::INTEGER ELSE %(param_1)s::INTEGER END ELSE prompts.crashes END
WHERE prompts.id = %(of_prompt)s::BIGINT
AND prompts.finished_at IS NULL;

-- rescue.uncount_runs
UPDATE runs
SET error_code='lease_lost', error=%(words)s::VARCHAR
WHERE runs.id = ANY (%(ids)s::BIGINT[])
AND runs.worker_id = %(worker)s::VARCHAR
AND runs.error_code = 'lease_expired';
