//! Every change of the stored ledger behind its back is found, with its place.

use super::{BeeCounted, Ledgered, count_bees, ledger};
use skep_db::{DbError, Tx};
use skep_ledger::{Anchor, Digest, Fault, LedgerError, SealedEvent, append, verify};
use skep_testkit::{Backend, TestStore, on_both_engines};

on_both_engines!(
    a_chain_made_anew_under_the_old_head_is_found,
    a_change_is_found_with_its_place,
    a_foreign_head_is_not_extended,
    a_ledger_made_with_another_key_is_found,
    an_earlier_state_put_back_is_found_by_its_anchor,
);

/// What is done, and at which entry it is to be found. The ledger holds entries 1 to 10, whose
/// events have the same numbers, in the segments 1 to 4, 5 to 7 and 8 to 10.
const CASES: &[(&str, i64)] = &[
    // Any column of an event.
    ("UPDATE ledger_event SET at_ms = at_ms + 1 WHERE id = 4", 4),
    (
        "UPDATE ledger_event SET kind = 'bee_countee' WHERE id = 4",
        4,
    ),
    ("UPDATE ledger_event SET version = 4 WHERE id = 4", 4),
    ("UPDATE ledger_event SET subject = 'hivf' WHERE id = 4", 4),
    (
        "UPDATE ledger_event SET payload = (SELECT payload FROM ledger_event WHERE id = 5)
            WHERE id = 4",
        4,
    ),
    ("UPDATE ledger_event SET payload = NULL WHERE id = 4", 4),
    ("UPDATE ledger_event SET id = 99 WHERE id = 4", 4),
    // Any column of a segment.
    (
        "UPDATE ledger_chain SET first_seq = 40 WHERE first_seq = 5",
        5,
    ),
    (
        "UPDATE ledger_chain SET first_seq = 11 WHERE first_seq = 8",
        8,
    ),
    (
        "UPDATE ledger_chain SET first_seq = 0 WHERE first_seq = 1",
        1,
    ),
    (
        "UPDATE ledger_chain SET first_seq = -1 WHERE first_seq = 1",
        1,
    ),
    (
        "UPDATE ledger_chain SET last_seq = 6 WHERE first_seq = 5",
        7,
    ),
    (
        "UPDATE ledger_chain SET last_seq = 8 WHERE first_seq = 5",
        8,
    ),
    (
        "UPDATE ledger_chain SET low_event = 4 WHERE first_seq = 5",
        7,
    ),
    (
        "UPDATE ledger_chain SET high_event = 8 WHERE first_seq = 5",
        7,
    ),
    (
        "UPDATE ledger_chain SET hash = (SELECT hash FROM ledger_chain WHERE first_seq = 1)
            WHERE first_seq = 5",
        7,
    ),
    (
        "UPDATE ledger_chain SET entries = (SELECT entries FROM ledger_chain WHERE first_seq = 8)
            WHERE first_seq = 5",
        5,
    ),
    (
        "UPDATE ledger_chain SET entries = substr(entries, 1, 72) WHERE first_seq = 5",
        6,
    ),
    (
        "UPDATE ledger_chain SET entries = substr(entries, 73, 144) WHERE first_seq = 5",
        5,
    ),
    (
        "UPDATE ledger_chain SET entries = substr(entries, 1, 71) WHERE first_seq = 5",
        5,
    ),
    (
        "UPDATE ledger_chain SET entries = substr(entries, 1, 0) WHERE first_seq = 5",
        5,
    ),
    // Something gone from the middle, from the start, from the end.
    ("DELETE FROM ledger_event WHERE id = 4", 4),
    ("DELETE FROM ledger_chain WHERE first_seq = 5", 5),
    (
        "DELETE FROM ledger_event WHERE id BETWEEN 5 AND 7;
        DELETE FROM ledger_chain WHERE first_seq = 5",
        5,
    ),
    (
        "DELETE FROM ledger_event WHERE id <= 4; DELETE FROM ledger_chain WHERE first_seq = 1",
        1,
    ),
    ("DELETE FROM ledger_event WHERE id = 10", 10),
    ("DELETE FROM ledger_chain WHERE first_seq >= 8", 8),
    (
        "DELETE FROM ledger_event WHERE id >= 8; DELETE FROM ledger_chain WHERE first_seq >= 8",
        8,
    ),
    ("DELETE FROM ledger_event; DELETE FROM ledger_chain", 1),
    // The end gone and the head made to agree, as far as one can without the key.
    (
        "DELETE FROM ledger_event WHERE id >= 8; DELETE FROM ledger_chain WHERE first_seq >= 8;
        UPDATE ledger_head SET seq = 7, last_event = 7,
            hash = (SELECT hash FROM ledger_chain WHERE first_seq = 5)",
        7,
    ),
    (
        "DELETE FROM ledger_event WHERE id >= 8; DELETE FROM ledger_chain WHERE first_seq >= 8;
        UPDATE ledger_head SET seq = 7, last_event = 7, signature = NULL,
            hash = (SELECT hash FROM ledger_chain WHERE first_seq = 5)",
        7,
    ),
    // The head alone.
    ("UPDATE ledger_head SET seq = 9", 10),
    ("UPDATE ledger_head SET seq = 11", 11),
    (
        "UPDATE ledger_head SET hash = (SELECT hash FROM ledger_chain WHERE first_seq = 5)",
        10,
    ),
    ("UPDATE ledger_head SET signature = hash", 10),
    ("UPDATE ledger_head SET signature = NULL", 10),
    ("UPDATE ledger_head SET last_event = 9", 10),
    ("UPDATE ledger_head SET last_event = 11", 10),
    ("UPDATE ledger_head SET gaps = substr(hash, 1, 24)", 10),
    ("UPDATE ledger_head SET gaps = substr(hash, 1, 5)", 1),
    ("DELETE FROM ledger_head", 1),
    (
        "INSERT INTO ledger_head (seq, hash, signature, last_event, gaps)
            SELECT 11, hash, signature, last_event, gaps FROM ledger_head",
        1,
    ),
    // Two in each other's place.
    (
        "UPDATE ledger_chain SET first_seq = 50 WHERE first_seq = 5;
        UPDATE ledger_chain SET first_seq = 5 WHERE first_seq = 8;
        UPDATE ledger_chain SET first_seq = 8 WHERE first_seq = 50",
        5,
    ),
    (
        "UPDATE ledger_event SET id = 50 WHERE id = 6; UPDATE ledger_event SET id = 6 WHERE id = 7;
        UPDATE ledger_event SET id = 7 WHERE id = 50",
        6,
    ),
    // Something slipped in: at the end, in the middle, outside the chain.
    (
        "INSERT INTO ledger_event (id, at_ms, kind, version, subject, payload)
            SELECT 11, at_ms, kind, version, subject, payload FROM ledger_event WHERE id = 10;
        INSERT INTO ledger_chain (first_seq, last_seq, low_event, high_event, entries, hash)
            SELECT 11, 11, 11, 11, substr(entries, 145, 72), hash FROM ledger_chain
            WHERE first_seq = 8",
        11,
    ),
    (
        "UPDATE ledger_chain SET first_seq = -first_seq WHERE first_seq > 5;
        UPDATE ledger_chain SET first_seq = 1 - first_seq, last_seq = last_seq + 1
            WHERE first_seq < 0;
        INSERT INTO ledger_chain (first_seq, last_seq, low_event, high_event, entries, hash)
            SELECT 8, 8, 7, 7, substr(entries, 145, 72), hash FROM ledger_chain
            WHERE first_seq = 5;
        UPDATE ledger_head SET seq = 11",
        8,
    ),
    (
        "INSERT INTO ledger_event (id, at_ms, kind, version, subject, payload)
            SELECT 0, at_ms, kind, version, subject, payload FROM ledger_event WHERE id = 5",
        1,
    ),
];

const TABLES: [&str; 3] = ["ledger_event", "ledger_chain", "ledger_head"];

async fn a_change_is_found_with_its_place(store: TestStore) -> anyhow::Result<()> {
    let ledger = with_ten(&store).await?;
    unguard(&ledger, &store).await?;
    if store.backend == Backend::Postgres {
        let free_ids = "ALTER TABLE ledger_event ALTER COLUMN id DROP IDENTITY";
        run(&ledger, free_ids.to_owned()).await?;
    }
    let copies: Vec<String> = TABLES
        .iter()
        .map(|table| format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}"))
        .collect();
    run(&ledger, copies.join(";")).await?;
    let restore: Vec<String> = TABLES
        .iter()
        .map(|table| format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table}"))
        .collect();
    for (sql, expected) in CASES {
        run(&ledger, (*sql).to_owned()).await?;
        let report = ledger.verify().await?;
        let found = report.first_bad.as_ref().map(|bad| bad.seq);
        assert_eq!(found, Some(*expected), "{sql}: {report:?}");
        run(&ledger, restore.join(";")).await?;
        let report = ledger.verify().await?;
        assert_eq!((report.events, report.first_bad), (10, None), "after {sql}");
    }
    Ok(())
}

pub(super) async fn with_ten(store: &TestStore) -> anyhow::Result<Ledgered> {
    let sealed = ledger(store).await?;
    for segment in [1..=4, 5..=7, 8..=10] {
        let append_all = async move |tx: &mut Tx<'_>| {
            for bees in segment.clone() {
                append(tx, "hive", &BeeCounted { bees }).await?;
            }
            Ok::<(), LedgerError>(())
        };
        sealed.db.write("count", append_all).await?;
        sealed.sealer.seal_pending().await?;
    }
    assert_eq!(sealed.events().await?.len(), 10);
    // Opened again without what seals at a commit, as somebody with the database alone would.
    let Ledgered { key, .. } = sealed;
    let db = store.open(&[skep_ledger::SCHEMA], None).await?;
    let sealer = skep_ledger::SealerService::new(db.clone(), key.clone());
    Ok(Ledgered { db, key, sealer })
}

async fn run(ledger: &Ledgered, sql: String) -> Result<(), DbError> {
    ledger
        .db
        .write("tamper", async move |tx: &mut Tx<'_>| tx.batch(&sql).await)
        .await
}

/// Takes away what only slows down somebody who can change the schema.
pub(super) async fn unguard(ledger: &Ledgered, store: &TestStore) -> Result<(), DbError> {
    let sql = match store.backend {
        Backend::Sqlite => {
            "DROP TRIGGER ledger_event_is_insert_only; DROP TRIGGER ledger_event_keeps_its_rows;
            DROP TRIGGER ledger_chain_is_insert_only; DROP TRIGGER ledger_chain_keeps_its_rows"
        }
        Backend::Postgres => {
            "ALTER TABLE ledger_event DISABLE TRIGGER USER;
            ALTER TABLE ledger_chain DISABLE TRIGGER USER"
        }
    };
    run(ledger, sql.to_owned()).await
}

/// Without this, the next event would give a rewritten ledger a good signature.
async fn a_foreign_head_is_not_extended(store: TestStore) -> anyhow::Result<()> {
    let tampered = with_ten(&store).await?;
    unguard(&tampered, &store).await?;
    let cut =
        "DELETE FROM ledger_event WHERE id >= 8; DELETE FROM ledger_chain WHERE first_seq >= 8;
        UPDATE ledger_head SET seq = 7, last_event = 7,
            hash = (SELECT hash FROM ledger_chain WHERE first_seq = 5)";
    run(&tampered, cut.to_owned()).await?;
    drop(tampered);
    let restarted = ledger(&store).await?;
    let appended = count_bees(&restarted.db, "hive", 11).await;
    match store.backend {
        Backend::Sqlite => assert!(
            matches!(
                &appended,
                Err(LedgerError::Db(DbError::NotCommitted { reason, .. }))
                    if reason.contains("not signed with the key")
            ),
            "{appended:?}"
        ),
        Backend::Postgres => {
            appended?;
            let sealed = restarted.sealer.seal_pending().await;
            assert!(
                matches!(sealed, Err(LedgerError::ForeignHead { seq: 7 })),
                "{sealed:?}"
            );
        }
    }
    let report = restarted.verify().await?;
    assert_eq!((report.events, report.head_seq), (7, 7));
    assert_eq!(report.first_bad.map(|bad| bad.seq), Some(7));
    Ok(())
}

async fn a_ledger_made_with_another_key_is_found(store: TestStore) -> anyhow::Result<()> {
    let parts = [skep_ledger::SCHEMA];
    let forger = Ledgered::open_with_key(&store, &parts, "forger.key").await?;
    for bees in 1..=3 {
        count_bees(&forger.db, "hive", bees).await?;
    }
    forger.events().await?;
    assert_eq!(forger.verify().await?.first_bad, None);
    drop(forger);
    let owner = ledger(&store).await?;
    let report = verify(&owner.db, owner.key.public()).await?;
    let bad = report.first_bad.map(|bad| (bad.seq, bad.reason));
    let reason = "the head is not signed with this key".to_owned();
    assert_eq!(bad, Some((3, reason)));
    let refused = owner
        .db
        .write("count", async |tx: &mut Tx<'_>| {
            append(tx, "hive", &BeeCounted { bees: 4 }).await
        })
        .await;
    let sealed = owner.sealer.seal_pending().await;
    assert!(
        refused.is_err() || sealed.is_err(),
        "{refused:?} {sealed:?}"
    );
    Ok(())
}

/// The whole chain agrees with itself, and the head is truly signed: only not for this chain.
async fn a_chain_made_anew_under_the_old_head_is_found(store: TestStore) -> anyhow::Result<()> {
    let owner = with_ten(&store).await?;
    unguard(&owner, &store).await?;
    let emptied = "CREATE TABLE kept_head AS SELECT * FROM ledger_head;
        UPDATE ledger_head SET seq = 0, signature = NULL, last_event = 0;
        DELETE FROM ledger_event; DELETE FROM ledger_chain";
    run(&owner, emptied.to_owned()).await?;
    let zero = match store.backend {
        Backend::Sqlite => "UPDATE ledger_head SET hash = zeroblob(32)",
        Backend::Postgres => "UPDATE ledger_head SET hash = decode(repeat('00', 32), 'hex')",
    };
    run(&owner, zero.to_owned()).await?;
    let parts = [skep_ledger::SCHEMA];
    let forger = Ledgered::open_with_key(&store, &parts, "forger.key").await?;
    for bees in 11..=20 {
        count_bees(&forger.db, "hive", bees).await?;
    }
    assert_eq!(forger.events().await?.len(), 10);
    assert_eq!(forger.verify().await?.first_bad, None);
    let back = "DELETE FROM ledger_head; INSERT INTO ledger_head SELECT * FROM kept_head";
    run(&owner, back.to_owned()).await?;
    let bad = owner.verify().await?.first_bad;
    let reason = "the head's hash is not that of the last entry".to_owned();
    assert_eq!(bad.map(|bad| (bad.seq, bad.reason)), Some((10, reason)));
    Ok(())
}

/// The database of yesterday in the place of today's, head and all: nothing in it is wrong, and only
/// who has noted a later head can tell.
async fn an_earlier_state_put_back_is_found_by_its_anchor(store: TestStore) -> anyhow::Result<()> {
    let ledger = with_ten(&store).await?;
    unguard(&ledger, &store).await?;
    let anchor = |events: &[SealedEvent], seq: i64| {
        let hash = events.iter().find(|event| event.seq == seq).map(|e| e.hash);
        Anchor {
            seq,
            hash: hash.unwrap_or(Digest::ZERO),
        }
    };
    let keep: Vec<String> = TABLES
        .iter()
        .map(|table| format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}"))
        .collect();
    run(&ledger, keep.join(";")).await?;
    let later = Ledgered::open(&store, &[skep_ledger::SCHEMA]).await?;
    count_bees(&later.db, "hive", 11).await?;
    let events = later.events().await?;
    let (noted, earlier) = (anchor(&events, 11), anchor(&events, 10));
    let verified = async |anchor| {
        let key = ledger.key.public();
        let report = skep_ledger::verify_with(&ledger.db, key, vec![anchor]).await?;
        anyhow::Ok(report.first_bad.map(|bad| (bad.seq, bad.fault)))
    };
    assert_eq!(verified(noted).await?, None);
    let back: Vec<String> = TABLES
        .iter()
        .map(|table| {
            let columns = match (*table, store.backend) {
                // The server draws this column's values itself unless it is told otherwise.
                ("ledger_event", Backend::Postgres) => "OVERRIDING SYSTEM VALUE",
                _ => "",
            };
            format!("DELETE FROM {table}; INSERT INTO {table} {columns} SELECT * FROM kept_{table}")
        })
        .collect();
    run(&ledger, back.join(";")).await?;
    assert_eq!(verified(earlier).await?, None);
    assert_eq!(verified(noted).await?, Some((11, Fault::Anchor)));
    // Going on from there makes another chain of the same length.
    let again = Ledgered::open(&store, &[skep_ledger::SCHEMA]).await?;
    count_bees(&again.db, "hive", 12).await?;
    again.events().await?;
    assert_eq!(verified(earlier).await?, None);
    assert_eq!(verified(noted).await?, Some((11, Fault::Anchor)));
    Ok(())
}
