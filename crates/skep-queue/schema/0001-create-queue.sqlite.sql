-- Jobs that have not ended. Only these are ever searched for work.
--
-- `line` says whether the job waits for a slot: 0 no, 1 it is in its lane's line, 2 it will be at
-- `run_at_ms`. `order_ms` is its place in the line. `fence` is the last one given out; with a
-- lease it is the current one. `attempt_open` is 1 while the worker of that fence has not ended.
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
    queue TEXT NOT NULL,
    backend TEXT,
    flow_key TEXT,
    flow_key_max INTEGER,
    singleton TEXT,
    debounce TEXT,
    fence INTEGER NOT NULL,
    lease_node TEXT,
    lease_until_ms INTEGER,
    attempt_open INTEGER NOT NULL,
    lane TEXT NOT NULL,
    order_ms INTEGER NOT NULL,
    line INTEGER NOT NULL CHECK (line IN (0, 1, 2)),
    CHECK ((lease_node IS NULL) = (lease_until_ms IS NULL)),
    CHECK (lease_node IS NULL OR line = 0),
    CHECK (state NOT IN ('done', 'failed', 'cancelled', 'skipped', 'quarantined'))
) STRICT;
-- The lease's end is in no index and in no index's condition, so that a heartbeat moves no entry.
CREATE INDEX job_line ON job (lane, order_ms, number) WHERE line = 1;
CREATE INDEX job_later ON job (run_at_ms) WHERE line = 2;
CREATE INDEX job_leased ON job (lease_node) WHERE lease_node IS NOT NULL;
CREATE INDEX job_parent ON job (parent) WHERE parent IS NOT NULL;
CREATE UNIQUE INDEX job_singleton ON job (owner, singleton) WHERE singleton IS NOT NULL;
CREATE UNIQUE INDEX job_debounce ON job (owner, debounce) WHERE debounce IS NOT NULL AND fence = 0;

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
    queue TEXT NOT NULL,
    backend TEXT,
    flow_key TEXT,
    flow_key_max INTEGER,
    singleton TEXT,
    debounce TEXT,
    fence INTEGER NOT NULL,
    ended_at_ms INTEGER NOT NULL,
    CHECK (state IN ('done', 'failed', 'cancelled', 'skipped', 'quarantined'))
) STRICT;
CREATE INDEX job_history_parent ON job_history (parent) WHERE parent IS NOT NULL;

CREATE VIEW job_all AS
    SELECT number, id, kind, purpose, owner, project, tier, priority, state, run_at_ms,
        attempts_used, attempts_max, losses, parent, failure, created_at_ms, changed_at_ms,
        queue, backend, flow_key, flow_key_max, singleton, debounce, fence,
        lease_node, lease_until_ms, attempt_open, CAST(NULL AS INTEGER) AS ended_at_ms
    FROM job
    UNION ALL
    SELECT number, id, kind, purpose, owner, project, tier, priority, state, run_at_ms,
        attempts_used, attempts_max, losses, parent, failure, created_at_ms, changed_at_ms,
        queue, backend, flow_key, flow_key_max, singleton, debounce, fence,
        CAST(NULL AS TEXT) AS lease_node, CAST(NULL AS INTEGER) AS lease_until_ms,
        CAST(0 AS INTEGER) AS attempt_open, ended_at_ms
    FROM job_history;

-- What keeps a request that is sent twice from becoming two jobs, as long as the home lives.
CREATE TABLE job_key (
    owner TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    digest BLOB NOT NULL,
    job_id TEXT NOT NULL,
    PRIMARY KEY (owner, idempotency_key)
) STRICT, WITHOUT ROWID;

-- Every worker that was started, and every one that ended before it was.
CREATE TABLE attempt (
    job_id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    id TEXT NOT NULL,
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
    PRIMARY KEY (job_id, fence)
) STRICT, WITHOUT ROWID;

-- Queues that a person has paused; `*` is every queue.
CREATE TABLE queue_pause (
    queue TEXT NOT NULL PRIMARY KEY,
    paused_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Held by a claim that weighs lanes against each other, so that no two do at once. `after_lane` is
-- where the next one begins when there are more lanes than one claim looks at.
CREATE TABLE queue_gate (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    after_lane TEXT NOT NULL
) STRICT;
INSERT INTO queue_gate (one, after_lane) VALUES (1, '');

-- When the next start under a rate limit may happen (generic cell rate algorithm).
CREATE TABLE queue_rate (
    name TEXT NOT NULL PRIMARY KEY,
    next_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
