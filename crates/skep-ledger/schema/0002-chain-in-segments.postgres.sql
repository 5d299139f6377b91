-- One row of the chain for each batch of the sealer instead of one for each event.
DROP TRIGGER ledger_chain_is_insert_only ON ledger_chain;
ALTER TABLE ledger_chain RENAME TO ledger_chain_of_single_events;
ALTER TABLE ledger_chain_of_single_events DROP CONSTRAINT ledger_chain_pkey;

-- The order of the events, and the hash that ties each to all before it. `entries` holds 72 bytes
-- for each event: its id as a 64-bit big-endian number, the SHA-256 of its payload, its hash.
CREATE TABLE ledger_chain (
    first_seq BIGINT PRIMARY KEY,
    last_seq BIGINT NOT NULL,
    -- The lowest event of the segment, and the highest of all up to its end.
    low_event BIGINT NOT NULL,
    high_event BIGINT NOT NULL,
    entries BYTEA NOT NULL,
    -- That of the last entry.
    hash BYTEA NOT NULL
);
-- Hashes do not compress.
ALTER TABLE ledger_chain ALTER COLUMN entries SET STORAGE EXTERNAL;
INSERT INTO ledger_chain
    SELECT seq, seq, event_id, MAX(event_id) OVER (ORDER BY seq),
        int8send(event_id) || payload_digest || hash, hash
    FROM ledger_chain_of_single_events ORDER BY seq;
CREATE INDEX ledger_chain_event ON ledger_chain (high_event, first_seq);
CREATE INDEX ledger_chain_late ON ledger_chain (last_seq) WHERE high_event - low_event > 65536;

-- The last entry, signed, so that a chain cut short is noticed. `last_event` is the highest event
-- that has a place; `gaps` are lower ones that may still appear. The key is what changes, so that
-- the newest version of the row is found at once, however many dead ones a reader keeps alive.
-- Who locks the row seals.
ALTER TABLE ledger_head RENAME TO ledger_head_without_events;
ALTER TABLE ledger_head_without_events DROP CONSTRAINT ledger_head_pkey;
CREATE TABLE ledger_head (
    seq BIGINT PRIMARY KEY,
    hash BYTEA NOT NULL,
    signature BYTEA,
    last_event BIGINT NOT NULL,
    gaps BYTEA NOT NULL
);
-- An event that waited for its seal below the highest sealed one is a gap that will be filled.
INSERT INTO ledger_head
    SELECT h.seq, h.hash, h.signature, e.last,
        COALESCE((SELECT string_agg(int8send(u.event_id) || int8send(u.event_id) || int8send(0), ''
            ORDER BY u.event_id) FROM ledger_unsealed u WHERE u.event_id < e.last), '')
    FROM ledger_head_without_events h,
        (SELECT COALESCE(MAX(high_event), 0) AS last FROM ledger_chain) e;
DROP TABLE ledger_head_without_events;
DROP TABLE ledger_unsealed;
DROP TABLE ledger_chain_of_single_events;

CREATE TRIGGER ledger_chain_is_insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_chain
FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
