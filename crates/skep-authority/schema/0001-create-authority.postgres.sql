CREATE TABLE authority (
    job_id TEXT PRIMARY KEY,
    fence BIGINT NOT NULL CHECK (fence > 0),
    holder TEXT
) WITH (fillfactor = 70);
