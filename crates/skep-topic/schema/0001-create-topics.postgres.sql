-- What was declared, so that a list needs no running process.
CREATE TABLE topic (
    name TEXT NOT NULL PRIMARY KEY,
    partitions BIGINT NOT NULL CHECK (partitions > 0),
    readers TEXT NOT NULL,
    retention_ms BIGINT NOT NULL,
    retention_bytes BIGINT,
    payload_bytes_max BIGINT NOT NULL,
    silent_after_ms BIGINT,
    declared_at_ms BIGINT NOT NULL
);

-- The head of each partition. Who locks the row gives out the next offsets, so that offsets have
-- no gaps and follow the order of the commits.
CREATE TABLE topic_partition (
    topic TEXT NOT NULL,
    partition BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- Either a payload or a reference to where it lies.
CREATE TABLE topic_message (
    topic TEXT NOT NULL,
    partition BIGINT NOT NULL,
    message_offset BIGINT NOT NULL,
    message_key TEXT,
    dedup_id TEXT,
    payload BYTEA,
    reference TEXT,
    digest BYTEA NOT NULL,
    bytes BIGINT NOT NULL,
    produced_at_ms BIGINT NOT NULL,
    PRIMARY KEY (topic, partition, message_offset),
    CHECK ((payload IS NULL) <> (reference IS NULL))
);
CREATE INDEX topic_message_reference ON topic_message (reference) WHERE reference IS NOT NULL;

-- What keeps a message that is produced twice from being two, as long as it is retained.
CREATE TABLE topic_dedup (
    topic TEXT NOT NULL,
    dedup_id TEXT NOT NULL,
    digest BYTEA NOT NULL,
    partition BIGINT NOT NULL,
    message_offset BIGINT NOT NULL,
    PRIMARY KEY (topic, dedup_id)
);

CREATE TABLE topic_group (
    topic TEXT NOT NULL,
    name TEXT NOT NULL,
    tries_max BIGINT NOT NULL,
    silent_after_ms BIGINT,
    declared_at_ms BIGINT NOT NULL,
    PRIMARY KEY (topic, name)
);

-- How far a group has been handed out, and which partition had its turn last.
CREATE TABLE topic_cursor (
    topic TEXT NOT NULL,
    reader_group TEXT NOT NULL,
    partition BIGINT NOT NULL,
    first_offset BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    turn BIGINT NOT NULL,
    dismissed BIGINT NOT NULL,
    PRIMARY KEY (topic, reader_group, partition)
) WITH (fillfactor = 50);

-- Messages that a group has been handed and about which there is more to say than `delivered`.
-- A message before the cursor without a row is delivered, one behind it is pending.
CREATE TABLE topic_item (
    topic TEXT NOT NULL,
    reader_group TEXT NOT NULL,
    partition BIGINT NOT NULL,
    message_offset BIGINT NOT NULL,
    message_key TEXT,
    state TEXT NOT NULL,
    fence BIGINT NOT NULL,
    holder TEXT,
    due_ms BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    retries BIGINT NOT NULL,
    losses BIGINT NOT NULL,
    reason TEXT,
    why TEXT,
    status TEXT,
    changed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (topic, reader_group, partition, message_offset)
);
CREATE INDEX topic_item_open ON topic_item (topic, reader_group, partition, message_offset)
    WHERE state IN ('pending', 'delivering');
CREATE INDEX topic_item_key ON topic_item
    (topic, reader_group, partition, message_key, message_offset)
    WHERE state IN ('pending', 'delivering') AND message_key IS NOT NULL;
CREATE INDEX topic_item_held ON topic_item (topic, partition, message_offset)
    WHERE state = 'blocked' OR status IS NOT NULL;

-- Messages that a group has made visible, for readers that commit their effect on its own.
CREATE TABLE topic_inbox (
    topic TEXT NOT NULL,
    reader_group TEXT NOT NULL,
    partition BIGINT NOT NULL,
    message_offset BIGINT NOT NULL,
    PRIMARY KEY (topic, partition, message_offset, reader_group)
);

-- How far the ledger was read for a topic that is fed from it.
CREATE TABLE topic_bridge (
    topic TEXT NOT NULL PRIMARY KEY,
    ledger_seq BIGINT NOT NULL
);

-- What a stage took in and gave out, and since when it owes an output.
CREATE TABLE topic_stage (
    name TEXT NOT NULL PRIMARY KEY,
    silent_after_ms BIGINT NOT NULL,
    input_total BIGINT NOT NULL,
    output_total BIGINT NOT NULL,
    seen_output BIGINT NOT NULL,
    seen_blocked BIGINT NOT NULL,
    waiting_since_ms BIGINT
) WITH (fillfactor = 50);

-- Steps of a job that were done, by consumer, item and date.
CREATE TABLE checkpoint (
    consumer TEXT NOT NULL,
    item TEXT NOT NULL,
    date TEXT NOT NULL,
    step TEXT NOT NULL,
    done_at_ms BIGINT NOT NULL,
    PRIMARY KEY (consumer, item, date, step)
);
CREATE INDEX checkpoint_age ON checkpoint (done_at_ms);

-- What is done to the world outside, each once.
CREATE TABLE effect (
    kind TEXT NOT NULL,
    effect_key TEXT NOT NULL,
    state TEXT NOT NULL,
    request_digest BYTEA NOT NULL,
    job_id TEXT,
    fence BIGINT,
    holder TEXT,
    due_ms BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    outcome TEXT,
    why TEXT,
    planned_at_ms BIGINT NOT NULL,
    changed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (kind, effect_key)
);
CREATE INDEX effect_open ON effect (holder) WHERE holder IS NOT NULL;

-- What somebody must look at. One open alarm of a kind about a subject.
CREATE TABLE alarm (
    number BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    occurrences BIGINT NOT NULL,
    raised_at_ms BIGINT NOT NULL,
    last_at_ms BIGINT NOT NULL,
    acked_at_ms BIGINT,
    cleared_at_ms BIGINT
);
CREATE UNIQUE INDEX alarm_open ON alarm (kind, subject) WHERE cleared_at_ms IS NULL;
