-- Every engine of this store. `shared_id` tells which folder it shares with the others; `seen_at` is
-- kept on PostgreSQL only, where there can be others.
CREATE TABLE node (
    id TEXT NOT NULL PRIMARY KEY,
    host TEXT NOT NULL,
    roles TEXT NOT NULL,
    slots BIGINT NOT NULL,
    version TEXT NOT NULL,
    shared_id TEXT NOT NULL,
    draining BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    left_at BIGINT
);

-- Held while a builder's scope is compared with those of the live ones and taken.
CREATE TABLE scope_gate (one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1));
INSERT INTO scope_gate (one) VALUES (1);
