-- The current fence of every job that somebody holds; no row, no authority.
CREATE TABLE authority (
    job_id TEXT NOT NULL PRIMARY KEY,
    fence INTEGER NOT NULL CHECK (fence > 0),
    holder TEXT NOT NULL
) STRICT, WITHOUT ROWID;
