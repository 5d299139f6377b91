//! The ledger: what is appended is sealed once, in order, and cannot be changed unnoticed.

mod export;
mod order;
mod random;
mod rekey;
mod tamper;

use serde::{Deserialize, Serialize};
use skep_db::{Db, DbError, SchemaPart, Tx};
use skep_ledger::{
    Digest, LedgerError, LedgerKey, Payload, PayloadsPurged, SealedEvent, SealerService,
    VerifyReport, append, limits, purge, tail, tail_of, verify,
};
use skep_testkit::{Backend, TestStore, on_both_engines};

on_both_engines!(
    a_failed_operation_leaves_no_event,
    a_key_is_private_and_stays_the_same,
    a_payload_that_is_too_large_is_refused,
    a_purged_payload_still_verifies,
    a_reader_follows_by_cursor_and_by_subject,
    an_event_is_read_as_it_was_written,
    events_and_chain_are_insert_only,
    more_events_than_one_batch_are_all_sealed,
    only_sealed_events_are_seen,
    the_chain_goes_on_after_a_restart,
    the_sealer_follows_the_commits,
);

/// An event for tests.
#[derive(Debug, Serialize, Deserialize)]
struct BeeCounted {
    bees: i64,
}

impl Payload for BeeCounted {
    const KIND: &'static str = "bee_counted";
    const VERSION: i64 = 3;
}

/// A store with a ledger, and whatever seals it.
pub(crate) struct Ledgered {
    pub(crate) db: Db,
    pub(crate) key: LedgerKey,
    pub(crate) sealer: SealerService,
}

impl Ledgered {
    /// Opens the store with a key in its folder; sealed as its engine is sealed.
    pub(crate) async fn open(store: &TestStore, parts: &[SchemaPart]) -> anyhow::Result<Self> {
        Self::open_with_key(store, parts, "ledger.key").await
    }

    async fn open_with_key(
        store: &TestStore,
        parts: &[SchemaPart],
        key_file: &str,
    ) -> anyhow::Result<Self> {
        let key = LedgerKey::open_or_create(&store.folder().join(key_file))?;
        let db = store
            .open(parts, Some(skep_ledger::sealer(key.clone())))
            .await?;
        let sealer = SealerService::new(db.clone(), key.clone());
        Ok(Self { db, key, sealer })
    }

    /// The same store and key, opened again with what writes events.
    pub(crate) async fn opened_to_write(self, store: &TestStore) -> anyhow::Result<Self> {
        Self::open(store, &[skep_ledger::SCHEMA]).await
    }

    /// Seals what waits, and reads all of it.
    pub(crate) async fn events(&self) -> anyhow::Result<Vec<SealedEvent>> {
        self.sealer.seal_pending().await?;
        let mut events: Vec<SealedEvent> = Vec::new();
        loop {
            let after = events.last().map_or(0, |event| event.seq);
            let page = self
                .db
                .read("tail", async move |tx: &mut Tx<'_>| {
                    tail(tx, after, limits::TAIL_EVENTS_MAX).await
                })
                .await?;
            if page.is_empty() {
                return Ok(events);
            }
            events.extend(page);
        }
    }

    pub(crate) async fn verify(&self) -> anyhow::Result<VerifyReport> {
        Ok(verify(&self.db, self.key.public()).await?)
    }
}

async fn ledger(store: &TestStore) -> anyhow::Result<Ledgered> {
    Ledgered::open(store, &[skep_ledger::SCHEMA]).await
}

async fn count_bees(db: &Db, subject: &'static str, bees: i64) -> Result<(), LedgerError> {
    db.write("count", async move |tx: &mut Tx<'_>| {
        append(tx, subject, &BeeCounted { bees }).await
    })
    .await
}

fn bees(event: &SealedEvent) -> i64 {
    serde_json::from_slice::<BeeCounted>(&event.payload).map_or(-1, |payload| payload.bees)
}

async fn an_event_is_read_as_it_was_written(store: TestStore) -> anyhow::Result<()> {
    let ledger = ledger(&store).await?;
    store.clock.set_ms(1_234_567);
    count_bees(&ledger.db, "hive", 40_000).await?;
    let events = ledger.events().await?;
    let [event] = events.as_slice() else {
        anyhow::bail!("one event was appended: {events:?}");
    };
    assert_eq!((event.seq, event.at_ms), (1, 1_234_567));
    assert_eq!(
        (event.kind.as_str(), event.version, event.subject.as_str()),
        ("bee_counted", 3, "hive")
    );
    assert_eq!(event.payload, br#"{"bees":40000}"#);
    let report = ledger.verify().await?;
    assert_eq!((report.events, report.head_seq), (1, 1));
    assert_eq!(report.head_hash, event.hash);
    assert_eq!((report.unsealed, report.first_bad), (0, None));
    Ok(())
}

async fn an_empty_report(ledger: &Ledgered) -> anyhow::Result<bool> {
    let report = ledger.verify().await?;
    Ok(report.head_hash == Digest::ZERO && report.first_bad.is_none() && report.events == 0)
}

async fn a_failed_operation_leaves_no_event(store: TestStore) -> anyhow::Result<()> {
    let ledger = ledger(&store).await?;
    assert!(an_empty_report(&ledger).await?);
    let failed = ledger
        .db
        .write("fail", async |tx: &mut Tx<'_>| {
            append(tx, "hive", &BeeCounted { bees: 1 }).await?;
            Err::<(), _>(LedgerError::Db(DbError::Closed))
        })
        .await;
    assert!(failed.is_err());
    assert_eq!(ledger.events().await?, []);
    assert!(an_empty_report(&ledger).await?);
    Ok(())
}

async fn only_sealed_events_are_seen(store: TestStore) -> anyhow::Result<()> {
    let ledger = ledger(&store).await?;
    count_bees(&ledger.db, "hive", 1).await?;
    let seen = ledger
        .db
        .read("tail", async |tx: &mut Tx<'_>| tail(tx, 0, 10).await)
        .await?;
    let report = ledger.verify().await?;
    match store.backend {
        Backend::Sqlite => assert_eq!((seen.len(), report.unsealed), (1, 0)),
        Backend::Postgres => assert_eq!((seen.len(), report.unsealed), (0, 1)),
    }
    assert_eq!(report.first_bad, None, "an event that waits is no fault");
    assert_eq!(ledger.events().await?.len(), 1);
    assert_eq!(ledger.verify().await?.unsealed, 0);
    Ok(())
}

async fn more_events_than_one_batch_are_all_sealed(store: TestStore) -> anyhow::Result<()> {
    let ledger = ledger(&store).await?;
    let count = 2 * limits::SEAL_EVENTS_MAX + 7;
    ledger
        .db
        .write("count", async move |tx: &mut Tx<'_>| {
            for bees in 1..=count {
                append(tx, "hive", &BeeCounted { bees }).await?;
            }
            Ok::<(), LedgerError>(())
        })
        .await?;
    if store.backend == Backend::Sqlite {
        let report = ledger.verify().await?;
        assert_eq!(report.events, count, "the commit itself has sealed them");
    }
    let events = ledger.events().await?;
    let expected: Vec<(i64, i64)> = (1..=count).map(|n| (n, n)).collect();
    let found: Vec<(i64, i64)> = events.iter().map(|e| (e.seq, bees(e))).collect();
    assert_eq!(found, expected);
    let report = ledger.verify().await?;
    assert_eq!((report.events, report.first_bad), (count, None));
    Ok(())
}

async fn a_reader_follows_by_cursor_and_by_subject(store: TestStore) -> anyhow::Result<()> {
    let ledger = ledger(&store).await?;
    for n in 1..=9 {
        let subject = if n % 3 == 0 { "drone" } else { "worker" };
        count_bees(&ledger.db, subject, n).await?;
    }
    ledger.sealer.seal_pending().await?;
    for (after, limit, expected) in [
        (0, 4, &[1, 2, 3, 4][..]),
        (4, 4, &[5, 6, 7, 8]),
        (8, 4, &[9]),
        (9, 4, &[]),
        (0, 0, &[]),
        (0, -1, &[]),
    ] {
        let events = ledger
            .db
            .read("tail", async move |tx: &mut Tx<'_>| {
                tail(tx, after, limit).await
            })
            .await?;
        let found: Vec<i64> = events.iter().map(bees).collect();
        assert_eq!(found, expected, "{limit} after {after}");
    }
    for (after, limit, expected) in [(0, 2, &[3, 6][..]), (6, 2, &[9]), (9, 2, &[])] {
        let events = ledger
            .db
            .read("tail", async move |tx: &mut Tx<'_>| {
                tail_of(tx, "drone", after, limit).await
            })
            .await?;
        let found: Vec<i64> = events.iter().map(bees).collect();
        assert_eq!(found, expected, "{limit} of drone after {after}");
    }
    Ok(())
}

async fn the_chain_goes_on_after_a_restart(store: TestStore) -> anyhow::Result<()> {
    let first = ledger(&store).await?;
    count_bees(&first.db, "hive", 1).await?;
    first.sealer.seal_pending().await?;
    drop(first);
    let second = ledger(&store).await?;
    count_bees(&second.db, "hive", 2).await?;
    let found: Vec<(i64, i64)> = second
        .events()
        .await?
        .iter()
        .map(|e| (e.seq, bees(e)))
        .collect();
    assert_eq!(found, [(1, 1), (2, 2)]);
    assert_eq!(second.verify().await?.first_bad, None);
    Ok(())
}

async fn a_payload_that_is_too_large_is_refused(store: TestStore) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Essay(String);
    impl Payload for Essay {
        const KIND: &'static str = "essay_written";
        const VERSION: i64 = 1;
    }
    let ledger = ledger(&store).await?;
    for (bytes, fits) in [
        (limits::PAYLOAD_BYTES_MAX, true),
        (limits::PAYLOAD_BYTES_MAX + 1, false),
    ] {
        // Two of the bytes are the quotes around the text.
        let appended = ledger
            .db
            .write("essay", async move |tx: &mut Tx<'_>| {
                append(tx, "hive", &Essay("x".repeat(bytes - 2))).await
            })
            .await;
        match appended {
            Ok(()) => assert!(fits, "{bytes} bytes were appended"),
            Err(LedgerError::PayloadTooLarge { bytes: found, .. }) => {
                assert_eq!((found, fits), (bytes, false));
            }
            Err(error) => return Err(error.into()),
        }
    }
    assert_eq!(ledger.events().await?.len(), 1);
    Ok(())
}

async fn a_purged_payload_still_verifies(store: TestStore) -> anyhow::Result<()> {
    let ledger = ledger(&store).await?;
    for n in 1..=6 {
        count_bees(&ledger.db, "hive", n).await?;
    }
    ledger.sealer.seal_pending().await?;
    for (first, last, expected) in [(2, 3, 2), (3, 4, 1), (1, 7, 3)] {
        let purged = ledger
            .db
            .write("purge", async move |tx: &mut Tx<'_>| {
                purge(tx, first, last).await
            })
            .await?;
        assert_eq!(purged, expected, "{first} to {last}");
        ledger.sealer.seal_pending().await?;
        assert_eq!(ledger.verify().await?.first_bad, None);
    }
    let report = ledger.verify().await?;
    assert_eq!((report.events, report.purged), (9, 6));
    let kept: Vec<(i64, String)> = ledger
        .events()
        .await?
        .into_iter()
        .filter(|event| !event.payload.is_empty())
        .map(|event| (event.seq, event.kind))
        .collect();
    let record = |seq| (seq, PayloadsPurged::KIND.to_owned());
    assert_eq!(kept, [record(7), record(8), record(9)], "records stay");
    Ok(())
}

async fn events_and_chain_are_insert_only(store: TestStore) -> anyhow::Result<()> {
    let ledger = ledger(&store).await?;
    count_bees(&ledger.db, "hive", 1).await?;
    ledger.sealer.seal_pending().await?;
    for sql in [
        "UPDATE ledger_event SET at_ms = 0",
        "UPDATE ledger_event SET payload = payload",
        "UPDATE ledger_event SET payload = NULL, subject = 'other'",
        "DELETE FROM ledger_event",
        "UPDATE ledger_chain SET last_seq = first_seq",
        "DELETE FROM ledger_chain",
    ] {
        let changed = ledger
            .db
            .write("change", async move |tx: &mut Tx<'_>| {
                tx.execute(sql, &[]).await
            })
            .await;
        assert!(
            matches!(changed, Err(DbError::Constraint { .. })),
            "{sql}: {changed:?}"
        );
    }
    assert_eq!(ledger.verify().await?.first_bad, None);
    Ok(())
}

async fn the_sealer_follows_the_commits(store: TestStore) -> anyhow::Result<()> {
    let Ledgered { db, key, sealer } = ledger(&store).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let service = skep_stdx::spawn(
        "sealer",
        sealer.run(async {
            // Resolves when the sender is gone, whichever way it went.
            drop(stopped.await);
        }),
    );
    let mut listener = db.listen(skep_ledger::TOPIC);
    count_bees(&db, "hive", 1).await?;
    loop {
        listener.changed().await?;
        let seen = db
            .read("tail", async |tx: &mut Tx<'_>| tail(tx, 0, 10).await)
            .await?;
        if !seen.is_empty() {
            break;
        }
    }
    count_bees(&db, "hive", 2).await?;
    drop(stop);
    service.await??;
    let report = verify(&db, key.public()).await?;
    assert_eq!(
        (report.events, report.unsealed),
        (2, 0),
        "sealed at the end"
    );
    Ok(())
}

async fn a_key_is_private_and_stays_the_same(store: TestStore) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = store.folder().join("some.key");
    let made = LedgerKey::open_or_create(&path)?.public();
    assert_eq!(
        std::fs::metadata(&path)?.permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(LedgerKey::open_or_create(&path)?.public(), made);
    assert_eq!(
        made.to_string().parse::<skep_ledger::LedgerPublicKey>()?,
        made
    );
    let names: Vec<_> = std::fs::read_dir(store.folder())?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    assert!(
        names
            .iter()
            .all(|name| !name.to_string_lossy().contains("unfinished")),
        "{names:?}"
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640))?;
    let exposed = LedgerKey::open_or_create(&path).err().map(|e| e.code());
    assert_eq!(exposed, Some("ledger_key_exposed"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    std::fs::write(&path, b"not a key")?;
    let malformed = LedgerKey::open_or_create(&path).err().map(|e| e.code());
    assert_eq!(
        malformed,
        Some("ledger_key_malformed"),
        "it is not replaced"
    );
    let nowhere = LedgerKey::open_or_create(&store.folder().join("no/such/folder/key"));
    assert_eq!(
        nowhere.err().map(|e| e.code()),
        Some("ledger_key_unavailable")
    );
    Ok(())
}
