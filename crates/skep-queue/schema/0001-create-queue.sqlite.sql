-- Jobs that have not ended. Only these are ever searched for work.
CREATE TABLE job (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    purpose TEXT NOT NULL,
    owner TEXT NOT NULL,
    project TEXT NOT NULL,
    tier TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state TEXT NOT NULL,
    run_at_ms INTEGER NOT NULL,
    attempts_used INTEGER NOT NULL,
    attempts_max INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    parent TEXT,
    failure TEXT,
    created_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    lease_node TEXT,
    lease_until_ms INTEGER,
    CHECK ((lease_node IS NULL) = (lease_until_ms IS NULL)),
    CHECK (state NOT IN ('done', 'failed', 'cancelled', 'skipped', 'quarantined'))
) STRICT;
-- The lease's end is in no index and in no index's condition, so that a heartbeat moves no entry.
CREATE INDEX job_claimable ON job (priority DESC, run_at_ms, number)
    WHERE lease_node IS NULL
    AND state IN ('queued', 'rework', 'backoff', 'verifying', 'landing');
CREATE INDEX job_leased ON job (lease_node) WHERE lease_node IS NOT NULL;
CREATE INDEX job_parent ON job (parent) WHERE parent IS NOT NULL;

-- Jobs that have ended, each moved here by the transaction that ended it.
CREATE TABLE job_history (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    purpose TEXT NOT NULL,
    owner TEXT NOT NULL,
    project TEXT NOT NULL,
    tier TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state TEXT NOT NULL,
    run_at_ms INTEGER NOT NULL,
    attempts_used INTEGER NOT NULL,
    attempts_max INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    parent TEXT,
    failure TEXT,
    created_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER NOT NULL,
    CHECK (state IN ('done', 'failed', 'cancelled', 'skipped', 'quarantined'))
) STRICT;
CREATE INDEX job_history_parent ON job_history (parent) WHERE parent IS NOT NULL;

CREATE VIEW job_all AS
    SELECT number, id, kind, purpose, owner, project, tier, priority, state, run_at_ms,
        attempts_used, attempts_max, losses, parent, failure, created_at_ms, changed_at_ms,
        lease_node, lease_until_ms, CAST(NULL AS INTEGER) AS ended_at_ms FROM job
    UNION ALL
    SELECT number, id, kind, purpose, owner, project, tier, priority, state, run_at_ms,
        attempts_used, attempts_max, losses, parent, failure, created_at_ms, changed_at_ms,
        CAST(NULL AS TEXT) AS lease_node, CAST(NULL AS INTEGER) AS lease_until_ms, ended_at_ms
    FROM job_history;

-- What keeps a request that is sent twice from becoming two jobs, as long as the home lives.
CREATE TABLE job_key (
    owner TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    digest BLOB NOT NULL,
    job_id TEXT NOT NULL,
    PRIMARY KEY (owner, idempotency_key)
) STRICT, WITHOUT ROWID;

-- Every claim that started a worker.
CREATE TABLE attempt (
    id TEXT PRIMARY KEY,
    job_id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    node TEXT NOT NULL,
    state TEXT NOT NULL,
    harness TEXT,
    model_requested TEXT,
    model_actual TEXT,
    session_id TEXT,
    failure TEXT,
    counted INTEGER NOT NULL,
    leased_at_ms INTEGER NOT NULL,
    started_at_ms INTEGER,
    ended_at_ms INTEGER,
    UNIQUE (job_id, fence)
) STRICT, WITHOUT ROWID;
