-- Text of users and models lives here and can be purged; the ledger holds none of it.
CREATE TABLE dispatch (
    job_id TEXT NOT NULL PRIMARY KEY,
    instruction TEXT NOT NULL,
    repo TEXT,
    vault TEXT,
    base_commit TEXT,
    target_branch TEXT,
    scope TEXT NOT NULL,
    role TEXT NOT NULL,
    tier TEXT NOT NULL,
    worker TEXT NOT NULL,
    harness TEXT NOT NULL,
    model TEXT,
    command TEXT NOT NULL,
    checks TEXT NOT NULL,
    gate TEXT NOT NULL,
    budget_micro_usd INTEGER,
    waivers TEXT NOT NULL,
    reviewer TEXT,
    reviews TEXT,
    reviewed_commit TEXT,
    rework_rounds_max INTEGER NOT NULL
) STRICT;

CREATE TABLE job_reason (
    job_id TEXT NOT NULL PRIMARY KEY,
    reason TEXT NOT NULL
) STRICT;

CREATE TABLE result (
    attempt_id TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    tip_commit TEXT,
    contract TEXT,
    contract_error TEXT,
    report TEXT,
    exit_code INTEGER,
    isolation TEXT NOT NULL,
    refusals INTEGER NOT NULL
) STRICT;
CREATE INDEX result_by_job ON result (job_id, fence);

CREATE TABLE verdict (
    attempt_id TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    result TEXT NOT NULL,
    commit_oid TEXT,
    findings TEXT NOT NULL,
    found_at INTEGER NOT NULL
) STRICT;
CREATE INDEX verdict_by_job ON verdict (job_id, fence);

CREATE TABLE check_run (
    job_id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    place INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    commit_oid TEXT NOT NULL,
    command TEXT NOT NULL,
    exit_code INTEGER,
    duration_ms INTEGER NOT NULL,
    log TEXT NOT NULL,
    PRIMARY KEY (job_id, fence, purpose, place)
) STRICT;

CREATE TABLE review (
    job_id TEXT NOT NULL PRIMARY KEY,
    parent_id TEXT NOT NULL,
    commit_oid TEXT NOT NULL,
    worker TEXT NOT NULL,
    model TEXT,
    verdict TEXT,
    report TEXT
) STRICT;
CREATE INDEX review_by_parent ON review (parent_id);

CREATE TABLE landing (
    job_id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    target TEXT NOT NULL,
    old_commit TEXT,
    commit_oid TEXT,
    read_back_at INTEGER,
    reason TEXT
) STRICT;

CREATE TABLE delivery (
    job_id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    place TEXT
) STRICT;
CREATE INDEX delivery_open ON delivery (job_id) WHERE state IN ('pending', 'delivering');
