-- What happened. Only the payload may ever change, and only to NULL, which is how it is purged.
CREATE TABLE ledger_event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    subject TEXT NOT NULL,
    payload BLOB
) STRICT;
CREATE INDEX ledger_event_subject ON ledger_event (subject, id);

-- The order of the events, and the hash that ties each to all before it.
CREATE TABLE ledger_chain (
    seq INTEGER PRIMARY KEY,
    event_id INTEGER NOT NULL UNIQUE,
    payload_digest BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;

-- The last link, signed, so that a chain cut short is noticed.
CREATE TABLE ledger_head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    signature BLOB
) STRICT;
INSERT INTO ledger_head (one, seq, hash) VALUES (1, 0, zeroblob(32));

CREATE TRIGGER ledger_event_is_insert_only BEFORE UPDATE ON ledger_event
WHEN NEW.payload IS NOT NULL OR (NEW.id, NEW.at_ms, NEW.kind, NEW.version, NEW.subject)
    <> (OLD.id, OLD.at_ms, OLD.kind, OLD.version, OLD.subject)
BEGIN SELECT RAISE(ABORT, 'ledger_event is insert-only'); END;
CREATE TRIGGER ledger_event_keeps_its_rows BEFORE DELETE ON ledger_event
BEGIN SELECT RAISE(ABORT, 'ledger_event is insert-only'); END;
CREATE TRIGGER ledger_chain_is_insert_only BEFORE UPDATE ON ledger_chain
BEGIN SELECT RAISE(ABORT, 'ledger_chain is insert-only'); END;
CREATE TRIGGER ledger_chain_keeps_its_rows BEFORE DELETE ON ledger_chain
BEGIN SELECT RAISE(ABORT, 'ledger_chain is insert-only'); END;
