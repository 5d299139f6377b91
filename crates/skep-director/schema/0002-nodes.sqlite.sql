-- Every engine of this store. `shared_id` tells which folder it shares with the others; `seen_at` is
-- kept on PostgreSQL only, where there can be others.
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

-- Held while a builder's scope is compared with those of the live ones and taken.
CREATE TABLE scope_gate (one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1)) STRICT;
INSERT INTO scope_gate (one) VALUES (1);
