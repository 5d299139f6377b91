-- One row of the chain for each commit instead of one for each event.
DROP TRIGGER ledger_chain_is_insert_only;
DROP TRIGGER ledger_chain_keeps_its_rows;
ALTER TABLE ledger_chain RENAME TO ledger_chain_of_single_events;

-- The order of the events, and the hash that ties each to all before it. `entries` holds 72 bytes
-- for each event: its id as a 64-bit big-endian number, the SHA-256 of its payload, its hash.
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
INSERT INTO ledger_chain
    SELECT seq, seq, event_id, MAX(event_id) OVER (ORDER BY seq),
        unhex(printf('%016x', event_id) || hex(payload_digest) || hex(hash)), hash
    FROM ledger_chain_of_single_events ORDER BY seq;
DROP TABLE ledger_chain_of_single_events;
CREATE INDEX ledger_chain_event ON ledger_chain (high_event, first_seq);
CREATE INDEX ledger_chain_late ON ledger_chain (last_seq) WHERE high_event - low_event > 65536;

-- The last entry, signed, so that a chain cut short is noticed. `last_event` is the highest event
-- that has a place; `gaps` are lower ones that may still appear, which happens on PostgreSQL only.
ALTER TABLE ledger_head RENAME TO ledger_head_without_events;
CREATE TABLE ledger_head (
    seq INTEGER PRIMARY KEY,
    hash BLOB NOT NULL,
    signature BLOB,
    last_event INTEGER NOT NULL,
    gaps BLOB NOT NULL
) STRICT;
INSERT INTO ledger_head
    SELECT seq, hash, signature, (SELECT COALESCE(MAX(high_event), 0) FROM ledger_chain), x''
    FROM ledger_head_without_events;
DROP TABLE ledger_head_without_events;

CREATE TRIGGER ledger_chain_is_insert_only BEFORE UPDATE ON ledger_chain
BEGIN SELECT RAISE(ABORT, 'ledger_chain is insert-only'); END;
CREATE TRIGGER ledger_chain_keeps_its_rows BEFORE DELETE ON ledger_chain
BEGIN SELECT RAISE(ABORT, 'ledger_chain is insert-only'); END;
