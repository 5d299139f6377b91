-- The kinds of job beside `agent` have records of their own; the limits of one attempt are the job's.
ALTER TABLE dispatch ADD COLUMN timeout_ms BIGINT;

CREATE TABLE call_request (
    job_id TEXT NOT NULL PRIMARY KEY,
    request TEXT NOT NULL,
    model TEXT NOT NULL,
    worker TEXT NOT NULL,
    tier TEXT NOT NULL,
    budget_micro_usd BIGINT,
    timeout_ms BIGINT NOT NULL
);

-- The salt is forgotten with the text; without it the digest on the ledger says nothing.
CREATE TABLE call_answer (
    attempt_id TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL,
    fence BIGINT NOT NULL,
    salt BYTEA NOT NULL,
    text TEXT NOT NULL,
    problem TEXT,
    stop_reason TEXT,
    model_actual TEXT,
    provider_ms BIGINT NOT NULL
);
CREATE INDEX call_answer_by_job ON call_answer (job_id, fence);

CREATE TABLE shell_request (
    job_id TEXT NOT NULL PRIMARY KEY,
    command TEXT NOT NULL,
    repo TEXT,
    vault TEXT,
    base_commit TEXT,
    scope TEXT NOT NULL,
    tier TEXT NOT NULL,
    timeout_ms BIGINT NOT NULL,
    output_bytes_max BIGINT NOT NULL
);

CREATE TABLE shell_run (
    attempt_id TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL,
    fence BIGINT NOT NULL,
    exit_code BIGINT,
    signal BIGINT,
    limit_hit TEXT,
    duration_ms BIGINT NOT NULL,
    output_bytes BIGINT NOT NULL,
    salt BYTEA NOT NULL,
    output_sha256 BYTEA NOT NULL,
    tail TEXT NOT NULL,
    isolation TEXT NOT NULL
);
CREATE INDEX shell_run_by_job ON shell_run (job_id, fence);

-- What attempts left that ended without a result: evidence, believed by nobody.
CREATE TABLE leftover (
    attempt_id TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL,
    fence BIGINT NOT NULL,
    tip_commit TEXT,
    place TEXT,
    files BIGINT NOT NULL,
    bytes BIGINT NOT NULL
);
CREATE INDEX leftover_by_job ON leftover (job_id, fence);

-- Jobs that ended without success. A row outlives a replay, so that what was tried is counted.
CREATE TABLE dead_letter (
    job_id TEXT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    class TEXT NOT NULL,
    deaths BIGINT NOT NULL,
    in_a_row BIGINT NOT NULL,
    replays BIGINT NOT NULL,
    died_at BIGINT NOT NULL
);
CREATE INDEX dead_letter_open ON dead_letter (number) WHERE state IN ('failed', 'quarantined');
