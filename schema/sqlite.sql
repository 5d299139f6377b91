-- What all migration steps of all crates give, in a stable order. Generated: see
-- crates/skep-tests/suite/schema.rs.

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

CREATE TABLE authority (
    job_id TEXT PRIMARY KEY,
    fence INTEGER NOT NULL CHECK (fence > 0),
    holder TEXT
) STRICT, WITHOUT ROWID;

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

CREATE INDEX job_claimable ON job (priority DESC, run_at_ms, number)
    WHERE lease_node IS NULL
    AND state IN ('queued', 'rework', 'backoff', 'verifying', 'landing');

CREATE INDEX job_leased ON job (lease_node) WHERE lease_node IS NOT NULL;

CREATE INDEX job_parent ON job (parent) WHERE parent IS NOT NULL;

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

CREATE TABLE job_key (
    owner TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    digest BLOB NOT NULL,
    job_id TEXT NOT NULL,
    PRIMARY KEY (owner, idempotency_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger_chain (
    seq INTEGER PRIMARY KEY,
    event_id INTEGER NOT NULL UNIQUE,
    payload_digest BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;

CREATE TRIGGER ledger_chain_is_insert_only BEFORE UPDATE ON ledger_chain
BEGIN SELECT RAISE(ABORT, 'ledger_chain is insert-only'); END;

CREATE TRIGGER ledger_chain_keeps_its_rows BEFORE DELETE ON ledger_chain
BEGIN SELECT RAISE(ABORT, 'ledger_chain is insert-only'); END;

CREATE TABLE ledger_event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    subject TEXT NOT NULL,
    payload BLOB
) STRICT;

CREATE INDEX ledger_event_subject ON ledger_event (subject, id);

CREATE TRIGGER ledger_event_is_insert_only BEFORE UPDATE ON ledger_event
WHEN NEW.payload IS NOT NULL OR (NEW.id, NEW.at_ms, NEW.kind, NEW.version, NEW.subject)
    <> (OLD.id, OLD.at_ms, OLD.kind, OLD.version, OLD.subject)
BEGIN SELECT RAISE(ABORT, 'ledger_event is insert-only'); END;

CREATE TRIGGER ledger_event_keeps_its_rows BEFORE DELETE ON ledger_event
BEGIN SELECT RAISE(ABORT, 'ledger_event is insert-only'); END;

CREATE TABLE ledger_head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    signature BLOB
) STRICT;

CREATE TABLE schema_step (
    owner TEXT NOT NULL, version BIGINT NOT NULL, intent TEXT NOT NULL,
    checksum TEXT NOT NULL, applied_at BIGINT NOT NULL, PRIMARY KEY (owner, version));

CREATE VIEW job_all AS
    SELECT number, id, kind, purpose, owner, project, tier, priority, state, run_at_ms,
        attempts_used, attempts_max, losses, parent, failure, created_at_ms, changed_at_ms,
        lease_node, lease_until_ms, CAST(NULL AS INTEGER) AS ended_at_ms FROM job
    UNION ALL
    SELECT number, id, kind, purpose, owner, project, tier, priority, state, run_at_ms,
        attempts_used, attempts_max, losses, parent, failure, created_at_ms, changed_at_ms,
        CAST(NULL AS TEXT) AS lease_node, CAST(NULL AS INTEGER) AS lease_until_ms, ended_at_ms
    FROM job_history;
