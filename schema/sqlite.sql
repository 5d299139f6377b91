-- What all migration steps of all crates give, in a stable order. Generated: see
-- crates/skep-tests/suite/schema.rs.

CREATE TABLE alarm (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    occurrences INTEGER NOT NULL,
    raised_at_ms INTEGER NOT NULL,
    last_at_ms INTEGER NOT NULL,
    acked_at_ms INTEGER,
    cleared_at_ms INTEGER
) STRICT;

CREATE UNIQUE INDEX alarm_open ON alarm (kind, subject) WHERE cleared_at_ms IS NULL;

CREATE TABLE artifact (
    job TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    place TEXT NOT NULL,
    tier TEXT NOT NULL,
    PRIMARY KEY (job, name)
) STRICT, WITHOUT ROWID;

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

CREATE TABLE authority (
    job_id TEXT NOT NULL PRIMARY KEY,
    fence INTEGER NOT NULL CHECK (fence > 0),
    holder TEXT NOT NULL
) STRICT, WITHOUT ROWID;

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

CREATE TABLE budget_window (
    budget_id TEXT NOT NULL REFERENCES budget (id),
    subject TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    spent_micro_usd INTEGER NOT NULL CHECK (spent_micro_usd >= 0),
    reserved_micro_usd INTEGER NOT NULL CHECK (reserved_micro_usd >= 0),
    unconfirmed_micro_usd INTEGER NOT NULL CHECK (unconfirmed_micro_usd >= 0),
    PRIMARY KEY (budget_id, subject, window_start)
) STRICT, WITHOUT ROWID;

CREATE TABLE call_answer (
    attempt_id TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    salt BLOB NOT NULL,
    text TEXT NOT NULL,
    problem TEXT,
    stop_reason TEXT,
    model_actual TEXT,
    provider_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX call_answer_by_job ON call_answer (job_id, fence);

CREATE TABLE call_request (
    job_id TEXT NOT NULL PRIMARY KEY,
    request TEXT NOT NULL,
    model TEXT NOT NULL,
    worker TEXT NOT NULL,
    tier TEXT NOT NULL,
    budget_micro_usd INTEGER,
    timeout_ms INTEGER NOT NULL
) STRICT;

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

CREATE TABLE checkpoint (
    consumer TEXT NOT NULL,
    item TEXT NOT NULL,
    date TEXT NOT NULL,
    step TEXT NOT NULL,
    done_at_ms INTEGER NOT NULL,
    PRIMARY KEY (consumer, item, date, step)
) STRICT, WITHOUT ROWID;

CREATE INDEX checkpoint_age ON checkpoint (done_at_ms);

CREATE TABLE dead_letter (
    job_id TEXT NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    class TEXT NOT NULL,
    deaths INTEGER NOT NULL,
    in_a_row INTEGER NOT NULL,
    replays INTEGER NOT NULL,
    died_at INTEGER NOT NULL
) STRICT;

CREATE INDEX dead_letter_open ON dead_letter (number) WHERE state IN ('failed', 'quarantined');

CREATE TABLE delivery (
    job_id TEXT NOT NULL PRIMARY KEY,
    place TEXT
, message TEXT) STRICT;

CREATE INDEX delivery_unsent ON delivery (job_id) WHERE message IS NULL AND place IS NULL;

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
, base_from TEXT, artifacts TEXT, timeout_ms INTEGER) STRICT;

CREATE TABLE effect (
    kind TEXT NOT NULL,
    effect_key TEXT NOT NULL,
    state TEXT NOT NULL,
    request_digest BLOB NOT NULL,
    job_id TEXT,
    fence INTEGER,
    holder TEXT,
    due_ms INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    outcome TEXT,
    why TEXT,
    planned_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, effect_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX effect_open ON effect (holder) WHERE holder IS NOT NULL;

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

CREATE UNIQUE INDEX job_debounce ON job (owner, debounce) WHERE debounce IS NOT NULL AND fence = 0;

CREATE INDEX job_later ON job (run_at_ms) WHERE line = 2;

CREATE INDEX job_leased ON job (lease_node) WHERE lease_node IS NOT NULL;

CREATE INDEX job_line ON job (lane, order_ms, number) WHERE line = 1;

CREATE INDEX job_parent ON job (parent) WHERE parent IS NOT NULL;

CREATE UNIQUE INDEX job_singleton ON job (owner, singleton) WHERE singleton IS NOT NULL;

CREATE TABLE job_edge (
    parent TEXT NOT NULL,
    child TEXT NOT NULL,
    policy TEXT NOT NULL,
    artifact TEXT NOT NULL,
    outcome TEXT,
    PRIMARY KEY (parent, child, policy, artifact),
    CHECK (outcome IN ('met', 'unmet'))
) STRICT, WITHOUT ROWID;

CREATE INDEX job_edge_child ON job_edge (child);

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

CREATE TABLE job_key (
    owner TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    digest BLOB NOT NULL,
    job_id TEXT NOT NULL,
    PRIMARY KEY (owner, idempotency_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_node (
    job TEXT NOT NULL PRIMARY KEY,
    root TEXT NOT NULL,
    name TEXT,
    depth INTEGER NOT NULL,
    level INTEGER NOT NULL,
    edges_open INTEGER NOT NULL,
    cause TEXT,
    CHECK (edges_open >= 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_reason (
    job_id TEXT NOT NULL PRIMARY KEY,
    reason TEXT NOT NULL
) STRICT;

CREATE TABLE job_tree (
    job TEXT NOT NULL PRIMARY KEY,
    open INTEGER NOT NULL,
    jobs INTEGER NOT NULL,
    wake_to TEXT,
    ending INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX job_tree_ending ON job_tree (job) WHERE ending = 1;

CREATE TABLE landing (
    job_id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    target TEXT NOT NULL,
    old_commit TEXT,
    commit_oid TEXT,
    read_back_at INTEGER,
    reason TEXT
) STRICT;

CREATE TABLE ledger_chain (
    first_seq INTEGER PRIMARY KEY,
    last_seq INTEGER NOT NULL,
    -- The lowest event of the segment, and the highest of all up to its end.
    low_event INTEGER NOT NULL,
    high_event INTEGER NOT NULL,
    entries BLOB NOT NULL,
    -- That of the last entry.
    hash BLOB NOT NULL
) STRICT;

CREATE INDEX ledger_chain_event ON ledger_chain (high_event, first_seq);

CREATE INDEX ledger_chain_late ON ledger_chain (last_seq) WHERE high_event - low_event > 65536;

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
    seq INTEGER PRIMARY KEY,
    hash BLOB NOT NULL,
    signature BLOB,
    last_event INTEGER NOT NULL,
    gaps BLOB NOT NULL
) STRICT;

CREATE TABLE leftover (
    attempt_id TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    tip_commit TEXT,
    place TEXT,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;

CREATE INDEX leftover_by_job ON leftover (job_id, fence);

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

CREATE INDEX model_call_of_attempt ON model_call (attempt_id) WHERE attempt_id IS NOT NULL;

CREATE INDEX model_call_of_job ON model_call (job_id) WHERE job_id IS NOT NULL;

CREATE INDEX model_call_of_key ON model_call (key_id);

CREATE INDEX model_call_under_way ON model_call (id) WHERE state = 'reserved';

CREATE TABLE node (
    id TEXT NOT NULL PRIMARY KEY,
    host TEXT NOT NULL,
    roles TEXT NOT NULL,
    slots INTEGER NOT NULL,
    version TEXT NOT NULL,
    shared_id TEXT NOT NULL,
    draining INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    left_at INTEGER
) STRICT;

CREATE TABLE queue_gate (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    after_lane TEXT NOT NULL
) STRICT;

CREATE TABLE queue_pause (
    queue TEXT NOT NULL PRIMARY KEY,
    paused_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE queue_rate (
    name TEXT NOT NULL PRIMARY KEY,
    next_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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

CREATE TABLE schedule (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    state TEXT NOT NULL,
    pause_reason TEXT,
    timing TEXT NOT NULL,
    zone TEXT NOT NULL,
    anchor_ms INTEGER NOT NULL,
    jitter_ms INTEGER NOT NULL,
    overlap TEXT NOT NULL,
    overlap_max INTEGER NOT NULL,
    catch_up TEXT NOT NULL,
    catch_up_max INTEGER NOT NULL,
    catch_up_window_ms INTEGER NOT NULL,
    failures_max INTEGER NOT NULL,
    version INTEGER NOT NULL,
    cursor_ms INTEGER NOT NULL,
    due_ms INTEGER,
    failures INTEGER NOT NULL,
    missed INTEGER NOT NULL,
    last_success_ms INTEGER,
    last_success_job TEXT,
    last_failure_ms INTEGER,
    last_failure_job TEXT,
    created_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    CHECK (state IN ('active', 'paused', 'auto_paused', 'removed'))
) STRICT, WITHOUT ROWID;

CREATE INDEX schedule_due ON schedule (due_ms) WHERE state = 'active' AND due_ms IS NOT NULL;

CREATE UNIQUE INDEX schedule_name ON schedule (name) WHERE state <> 'removed';

CREATE TABLE schedule_firing (
    schedule_id TEXT NOT NULL,
    slot_ms INTEGER NOT NULL,
    cause TEXT NOT NULL,
    state TEXT NOT NULL,
    job_id TEXT,
    failure TEXT,
    reason TEXT,
    fence INTEGER NOT NULL,
    node TEXT,
    lease_until_ms INTEGER,
    precheck_exit_code INTEGER,
    precheck_log TEXT,
    missed_from_ms INTEGER,
    missed_count INTEGER NOT NULL,
    begun_at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER,
    PRIMARY KEY (schedule_id, slot_ms),
    CHECK ((node IS NULL) = (lease_until_ms IS NULL)),
    CHECK (state <> 'running' OR job_id IS NOT NULL)
) STRICT, WITHOUT ROWID;

CREATE INDEX schedule_firing_by_job ON schedule_firing (job_id) WHERE job_id IS NOT NULL;

CREATE INDEX schedule_firing_open ON schedule_firing (schedule_id, slot_ms)
    WHERE state IN ('waiting', 'checking', 'running');

CREATE TABLE schedule_template (
    schedule_id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    request TEXT NOT NULL,
    precheck TEXT,
    precheck_nothing_to_do INTEGER,
    precheck_seconds_max INTEGER
) STRICT;

CREATE TABLE schema_step (
    owner TEXT NOT NULL, version BIGINT NOT NULL, intent TEXT NOT NULL,
    checksum TEXT NOT NULL, applied_at BIGINT NOT NULL, PRIMARY KEY (owner, version));

CREATE TABLE scope_gate (one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1)) STRICT;

CREATE TABLE shell_request (
    job_id TEXT NOT NULL PRIMARY KEY,
    command TEXT NOT NULL,
    repo TEXT,
    vault TEXT,
    base_commit TEXT,
    scope TEXT NOT NULL,
    tier TEXT NOT NULL,
    timeout_ms INTEGER NOT NULL,
    output_bytes_max INTEGER NOT NULL
, base_from TEXT) STRICT;

CREATE TABLE shell_run (
    attempt_id TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    exit_code INTEGER,
    signal INTEGER,
    limit_hit TEXT,
    duration_ms INTEGER NOT NULL,
    output_bytes INTEGER NOT NULL,
    salt BLOB NOT NULL,
    output_sha256 BLOB NOT NULL,
    tail TEXT NOT NULL,
    isolation TEXT NOT NULL
) STRICT;

CREATE INDEX shell_run_by_job ON shell_run (job_id, fence);

CREATE TABLE topic (
    name TEXT NOT NULL PRIMARY KEY,
    partitions INTEGER NOT NULL CHECK (partitions > 0),
    readers TEXT NOT NULL,
    retention_ms INTEGER NOT NULL,
    retention_bytes INTEGER,
    payload_bytes_max INTEGER NOT NULL,
    silent_after_ms INTEGER,
    declared_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE topic_bridge (
    topic TEXT NOT NULL PRIMARY KEY,
    ledger_seq INTEGER NOT NULL
) STRICT;

CREATE TABLE topic_cursor (
    topic TEXT NOT NULL,
    reader_group TEXT NOT NULL,
    partition INTEGER NOT NULL,
    first_offset INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    dismissed INTEGER NOT NULL,
    PRIMARY KEY (topic, reader_group, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE topic_dedup (
    topic TEXT NOT NULL,
    dedup_id TEXT NOT NULL,
    digest BLOB NOT NULL,
    partition INTEGER NOT NULL,
    message_offset INTEGER NOT NULL,
    PRIMARY KEY (topic, dedup_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE topic_group (
    topic TEXT NOT NULL,
    name TEXT NOT NULL,
    tries_max INTEGER NOT NULL,
    silent_after_ms INTEGER,
    declared_at_ms INTEGER NOT NULL,
    PRIMARY KEY (topic, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE topic_inbox (
    topic TEXT NOT NULL,
    reader_group TEXT NOT NULL,
    partition INTEGER NOT NULL,
    message_offset INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, message_offset, reader_group)
) STRICT, WITHOUT ROWID;

CREATE TABLE topic_item (
    topic TEXT NOT NULL,
    reader_group TEXT NOT NULL,
    partition INTEGER NOT NULL,
    message_offset INTEGER NOT NULL,
    message_key TEXT,
    state TEXT NOT NULL,
    fence INTEGER NOT NULL,
    holder TEXT,
    due_ms INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    reason TEXT,
    why TEXT,
    status TEXT,
    changed_at_ms INTEGER NOT NULL,
    PRIMARY KEY (topic, reader_group, partition, message_offset)
) STRICT, WITHOUT ROWID;

CREATE INDEX topic_item_held ON topic_item (topic, partition, message_offset)
    WHERE state = 'blocked' OR status IS NOT NULL;

CREATE INDEX topic_item_key ON topic_item
    (topic, reader_group, partition, message_key, message_offset)
    WHERE state IN ('pending', 'delivering') AND message_key IS NOT NULL;

CREATE INDEX topic_item_open ON topic_item (topic, reader_group, partition, message_offset)
    WHERE state IN ('pending', 'delivering');

CREATE TABLE topic_message (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    message_offset INTEGER NOT NULL,
    message_key TEXT,
    dedup_id TEXT,
    payload BLOB,
    reference TEXT,
    digest BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    produced_at_ms INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, message_offset),
    CHECK ((payload IS NULL) <> (reference IS NULL))
) STRICT;

CREATE INDEX topic_message_reference ON topic_message (reference) WHERE reference IS NOT NULL;

CREATE TABLE topic_partition (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE topic_stage (
    name TEXT NOT NULL PRIMARY KEY,
    silent_after_ms INTEGER NOT NULL,
    input_total INTEGER NOT NULL,
    output_total INTEGER NOT NULL,
    seen_output INTEGER NOT NULL,
    seen_blocked INTEGER NOT NULL,
    waiting_since_ms INTEGER
) STRICT;

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
