-- A credential for model calls. The secret itself is stored nowhere.
CREATE TABLE virtual_key (
    id TEXT NOT NULL PRIMARY KEY,
    secret_sha256 BLOB NOT NULL UNIQUE,
    job_id TEXT,
    attempt_id TEXT,
    fence INTEGER,
    project TEXT,
    worker TEXT,
    models TEXT NOT NULL,
    tier TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    CHECK ((job_id IS NULL) = (fence IS NULL))
) STRICT;

CREATE INDEX virtual_key_of_job ON virtual_key (job_id) WHERE job_id IS NOT NULL;

-- A limit. configured_micro_usd is what the file last said; NULL for budgets of jobs and keys.
CREATE TABLE budget (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    limit_micro_usd INTEGER NOT NULL CHECK (limit_micro_usd >= 0),
    configured_micro_usd INTEGER,
    period TEXT NOT NULL,
    on_exhaust TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    retired_at INTEGER,
    UNIQUE (name, scope, period)
) STRICT;

CREATE INDEX budget_in_force ON budget (scope) WHERE retired_at IS NULL;

-- The sums of one budget in one window; subject is the job or key where each has sums of its own.
CREATE TABLE budget_window (
    budget_id TEXT NOT NULL REFERENCES budget (id),
    subject TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    spent_micro_usd INTEGER NOT NULL CHECK (spent_micro_usd >= 0),
    reserved_micro_usd INTEGER NOT NULL CHECK (reserved_micro_usd >= 0),
    unconfirmed_micro_usd INTEGER NOT NULL CHECK (unconfirmed_micro_usd >= 0),
    PRIMARY KEY (budget_id, subject, window_start)
) STRICT, WITHOUT ROWID;

-- One row for every call that was let through.
CREATE TABLE model_call (
    id TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES virtual_key (id),
    job_id TEXT,
    attempt_id TEXT,
    fence INTEGER,
    project TEXT,
    worker TEXT,
    tier TEXT NOT NULL,
    provider TEXT NOT NULL,
    model_requested TEXT NOT NULL,
    model_upstream TEXT NOT NULL,
    model_actual TEXT,
    price_book TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('reserved', 'settled', 'unconfirmed', 'released')),
    reserved_micro_usd INTEGER NOT NULL,
    cost_micro_usd INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    http_status INTEGER,
    request_sha256 BLOB NOT NULL,
    request_bytes INTEGER NOT NULL,
    holder TEXT NOT NULL,
    deadline_at INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;

CREATE INDEX model_call_of_key ON model_call (key_id);
CREATE INDEX model_call_of_job ON model_call (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX model_call_of_attempt ON model_call (attempt_id) WHERE attempt_id IS NOT NULL;
CREATE INDEX model_call_under_way ON model_call (id) WHERE state = 'reserved';

-- What one call holds of one budget; gone when the call is settled or released.
CREATE TABLE reservation (
    call_id TEXT NOT NULL REFERENCES model_call (id),
    budget_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    amount_micro_usd INTEGER NOT NULL,
    PRIMARY KEY (call_id, budget_id),
    FOREIGN KEY (budget_id, subject, window_start)
        REFERENCES budget_window (budget_id, subject, window_start)
) STRICT, WITHOUT ROWID;
