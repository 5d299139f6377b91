-- What was declared, so that a list needs no running process.
CREATE TABLE topic (
    name TEXT NOT NULL PRIMARY KEY,
    partitions INTEGER NOT NULL CHECK (partitions > 0),
    readers TEXT NOT NULL,
    retention_ms INTEGER NOT NULL,
    retention_bytes INTEGER,
    payload_bytes_max INTEGER NOT NULL,
    silent_after_ms INTEGER,
    declared_at_ms INTEGER NOT NULL
) STRICT;

-- The head of each partition. Who locks the row gives out the next offsets, so that offsets have
-- no gaps and follow the order of the commits.
CREATE TABLE topic_partition (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) STRICT, WITHOUT ROWID;

-- Either a payload or a reference to where it lies.
CREATE TABLE topic_message (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    message_offset INTEGER NOT NULL,
    message_key TEXT,
    dedup_id TEXT,
    payload BLOB,
    reference TEXT,
    digest BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    produced_at_ms INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, message_offset),
    CHECK ((payload IS NULL) <> (reference IS NULL))
) STRICT;
CREATE INDEX topic_message_reference ON topic_message (reference) WHERE reference IS NOT NULL;

-- What keeps a message that is produced twice from being two, as long as it is retained.
CREATE TABLE topic_dedup (
    topic TEXT NOT NULL,
    dedup_id TEXT NOT NULL,
    digest BLOB NOT NULL,
    partition INTEGER NOT NULL,
    message_offset INTEGER NOT NULL,
    PRIMARY KEY (topic, dedup_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE topic_group (
    topic TEXT NOT NULL,
    name TEXT NOT NULL,
    tries_max INTEGER NOT NULL,
    silent_after_ms INTEGER,
    declared_at_ms INTEGER NOT NULL,
    PRIMARY KEY (topic, name)
) STRICT, WITHOUT ROWID;

-- How far a group has been handed out, and which partition had its turn last.
CREATE TABLE topic_cursor (
    topic TEXT NOT NULL,
    reader_group TEXT NOT NULL,
    partition INTEGER NOT NULL,
    first_offset INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    dismissed INTEGER NOT NULL,
    PRIMARY KEY (topic, reader_group, partition)
) STRICT, WITHOUT ROWID;

-- Messages that a group has been handed and about which there is more to say than `delivered`.
-- A message before the cursor without a row is delivered, one behind it is pending.
CREATE TABLE topic_item (
    topic TEXT NOT NULL,
    reader_group TEXT NOT NULL,
    partition INTEGER NOT NULL,
    message_offset INTEGER NOT NULL,
    message_key TEXT,
    state TEXT NOT NULL,
    fence INTEGER NOT NULL,
    holder TEXT,
    due_ms INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    reason TEXT,
    why TEXT,
    status TEXT,
    changed_at_ms INTEGER NOT NULL,
    PRIMARY KEY (topic, reader_group, partition, message_offset)
) STRICT, WITHOUT ROWID;
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
    partition INTEGER NOT NULL,
    message_offset INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, message_offset, reader_group)
) STRICT, WITHOUT ROWID;

-- How far the ledger was read for a topic that is fed from it.
CREATE TABLE topic_bridge (
    topic TEXT NOT NULL PRIMARY KEY,
    ledger_seq INTEGER NOT NULL
) STRICT;

-- What a stage took in and gave out, and since when it owes an output.
CREATE TABLE topic_stage (
    name TEXT NOT NULL PRIMARY KEY,
    silent_after_ms INTEGER NOT NULL,
    input_total INTEGER NOT NULL,
    output_total INTEGER NOT NULL,
    seen_output INTEGER NOT NULL,
    seen_blocked INTEGER NOT NULL,
    waiting_since_ms INTEGER
) STRICT;

-- Steps of a job that were done, by consumer, item and date.
CREATE TABLE checkpoint (
    consumer TEXT NOT NULL,
    item TEXT NOT NULL,
    date TEXT NOT NULL,
    step TEXT NOT NULL,
    done_at_ms INTEGER NOT NULL,
    PRIMARY KEY (consumer, item, date, step)
) STRICT, WITHOUT ROWID;
CREATE INDEX checkpoint_age ON checkpoint (done_at_ms);

-- What is done to the world outside, each once.
CREATE TABLE effect (
    kind TEXT NOT NULL,
    effect_key TEXT NOT NULL,
    state TEXT NOT NULL,
    request_digest BLOB NOT NULL,
    job_id TEXT,
    fence INTEGER,
    holder TEXT,
    due_ms INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    outcome TEXT,
    why TEXT,
    planned_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, effect_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX effect_open ON effect (holder) WHERE holder IS NOT NULL;

-- What somebody must look at. One open alarm of a kind about a subject.
CREATE TABLE alarm (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    occurrences INTEGER NOT NULL,
    raised_at_ms INTEGER NOT NULL,
    last_at_ms INTEGER NOT NULL,
    acked_at_ms INTEGER,
    cleared_at_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX alarm_open ON alarm (kind, subject) WHERE cleared_at_ms IS NULL;
