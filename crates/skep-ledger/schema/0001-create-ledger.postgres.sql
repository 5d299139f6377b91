-- What happened. Only the payload may ever change, and only to NULL, which is how it is purged.
CREATE TABLE ledger_event (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    kind TEXT NOT NULL,
    version BIGINT NOT NULL,
    subject TEXT NOT NULL,
    payload BYTEA
);
CREATE INDEX ledger_event_subject ON ledger_event (subject, id);

-- Committed events that the sealer has yet to chain; a row goes in the transaction that seals it.
CREATE TABLE ledger_unsealed (
    event_id BIGINT PRIMARY KEY
);

-- The order of the events, and the hash that ties each to all before it.
CREATE TABLE ledger_chain (
    seq BIGINT PRIMARY KEY,
    event_id BIGINT NOT NULL UNIQUE,
    payload_digest BYTEA NOT NULL,
    hash BYTEA NOT NULL
);

-- The last link, signed, so that a chain cut short is noticed. Who locks the row seals.
CREATE TABLE ledger_head (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    signature BYTEA
) WITH (fillfactor = 50);
INSERT INTO ledger_head (one, seq, hash) VALUES (1, 0, decode(repeat('00', 32), 'hex'));

CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is insert-only', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER ledger_event_is_insert_only BEFORE UPDATE ON ledger_event FOR EACH ROW
WHEN (NEW.payload IS NOT NULL OR (NEW.id, NEW.at_ms, NEW.kind, NEW.version, NEW.subject)
    <> (OLD.id, OLD.at_ms, OLD.kind, OLD.version, OLD.subject))
EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER ledger_event_keeps_its_rows BEFORE DELETE OR TRUNCATE ON ledger_event
FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER ledger_chain_is_insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_chain
FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
