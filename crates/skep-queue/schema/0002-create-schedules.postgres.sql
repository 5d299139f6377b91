-- Work that is asked for again and again. Every slot up to cursor_ms is accounted for.
CREATE TABLE schedule (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    state TEXT NOT NULL,
    pause_reason TEXT,
    timing TEXT NOT NULL,
    zone TEXT NOT NULL,
    anchor_ms BIGINT NOT NULL,
    jitter_ms BIGINT NOT NULL,
    overlap TEXT NOT NULL,
    overlap_max BIGINT NOT NULL,
    catch_up TEXT NOT NULL,
    catch_up_max BIGINT NOT NULL,
    catch_up_window_ms BIGINT NOT NULL,
    failures_max BIGINT NOT NULL,
    version BIGINT NOT NULL,
    cursor_ms BIGINT NOT NULL,
    due_ms BIGINT,
    failures BIGINT NOT NULL,
    missed BIGINT NOT NULL,
    last_success_ms BIGINT,
    last_success_job TEXT,
    last_failure_ms BIGINT,
    last_failure_job TEXT,
    created_at_ms BIGINT NOT NULL,
    changed_at_ms BIGINT NOT NULL,
    CHECK (state IN ('active', 'paused', 'auto_paused', 'removed'))
);
-- The name is free again once its schedule is gone.
CREATE UNIQUE INDEX schedule_name ON schedule (name) WHERE state <> 'removed';
CREATE INDEX schedule_due ON schedule (due_ms) WHERE state = 'active' AND due_ms IS NOT NULL;

-- The proof of runs: one row for a slot, or for a range of missed ones under its last.
CREATE TABLE schedule_firing (
    schedule_id TEXT NOT NULL,
    slot_ms BIGINT NOT NULL,
    cause TEXT NOT NULL,
    state TEXT NOT NULL,
    job_id TEXT,
    failure TEXT,
    reason TEXT,
    fence BIGINT NOT NULL,
    node TEXT,
    lease_until_ms BIGINT,
    precheck_exit_code BIGINT,
    precheck_log TEXT,
    missed_from_ms BIGINT,
    missed_count BIGINT NOT NULL,
    begun_at_ms BIGINT NOT NULL,
    ended_at_ms BIGINT,
    PRIMARY KEY (schedule_id, slot_ms),
    CHECK ((node IS NULL) = (lease_until_ms IS NULL)),
    CHECK (state <> 'running' OR job_id IS NOT NULL)
);
CREATE INDEX schedule_firing_open ON schedule_firing (schedule_id, slot_ms)
    WHERE state IN ('waiting', 'checking', 'running');
CREATE INDEX schedule_firing_by_job ON schedule_firing (job_id) WHERE job_id IS NOT NULL;
