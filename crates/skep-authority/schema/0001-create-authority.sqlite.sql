CREATE TABLE authority (
    job_id TEXT PRIMARY KEY,
    fence INTEGER NOT NULL CHECK (fence > 0),
    holder TEXT
) STRICT, WITHOUT ROWID;
