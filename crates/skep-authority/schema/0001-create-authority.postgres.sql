-- The current fence of every job that somebody holds; no row, no authority.
CREATE TABLE authority (
    job_id TEXT NOT NULL PRIMARY KEY,
    fence BIGINT NOT NULL CHECK (fence > 0),
    holder TEXT NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
