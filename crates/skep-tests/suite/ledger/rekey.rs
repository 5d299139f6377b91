//! Going on under another key: on record, provable, and not a way to hide anything.

use super::export::{export, verified};
use super::{Ledgered, count_bees};
use skep_db::Tx;
use skep_ledger::{
    Fault, LedgerError, LedgerKey, RekeyReason, SealerService, check_key, purge, rekey, tail,
    verify,
};
use skep_testkit::{TestStore, on_both_engines};

on_both_engines!(
    a_ledger_goes_on_under_another_key,
    a_lost_key_is_on_record_without_it,
    events_that_waited_are_sealed_with_the_new_key,
);

async fn open(store: &TestStore, key_file: &str) -> anyhow::Result<Ledgered> {
    Ledgered::open_with_key(store, &[skep_ledger::SCHEMA], key_file).await
}

async fn a_ledger_goes_on_under_another_key(store: TestStore) -> anyhow::Result<()> {
    let before = open(&store, "old.key").await?;
    for bees in 1..=3 {
        count_bees(&before.db, "hive", bees).await?;
    }
    let old_end = before.events().await?[2].hash;
    let (old, new) = (
        before.key.public(),
        LedgerKey::open_or_create(&store.folder().join("new.key"))?,
    );
    let reason = RekeyReason::Planned;
    let record = rekey(&before.db, Some(old), new.clone(), reason).await?;
    assert_eq!((record.old_seq, record.old_hash), (3, old_end));
    assert!(record.was_signed_by(&old) && !record.was_signed_by(&new.public()));
    let refused = check_key(&before.db, old).await;
    assert!(
        matches!(refused, Err(LedgerError::ForeignHead { seq: 4 })),
        "{refused:?}"
    );

    let after = open(&store, "new.key").await?;
    check_key(&after.db, new.public()).await?;
    count_bees(&after.db, "hive", 4).await?;
    after.sealer.seal_pending().await?;
    // Neither the record nor anything before it can be taken away unnoticed.
    let purge_all = async move |tx: &mut Tx<'_>| purge(tx, 1, 9).await;
    assert_eq!(
        after.db.write("purge", purge_all).await?,
        4,
        "the record stays"
    );
    after.sealer.seal_pending().await?;
    let report = after.verify().await?;
    assert_eq!(
        (report.events, report.purged, report.first_bad),
        (6, 4, None)
    );
    let changes: Vec<_> = report.key_changes.iter().map(|change| change.seq).collect();
    assert_eq!(changes, [4]);
    assert_eq!(report.key_changes[0].record, record);

    let text = export(&after).await?;
    let report = verified(&text, Some(new.public()), &[])?;
    assert_eq!((report.first_bad, report.key_changes.len()), (None, 1));
    let bad = verify(&after.db, old).await?.first_bad;
    let bad = bad.ok_or_else(|| anyhow::anyhow!("the old key is no longer the ledger's"))?;
    assert_eq!((bad.seq, bad.fault), (6, Fault::Signature));
    assert!(bad.reason.contains("replaced by event 4"), "{}", bad.reason);
    Ok(())
}

async fn a_lost_key_is_on_record_without_it(store: TestStore) -> anyhow::Result<()> {
    let before = open(&store, "old.key").await?;
    count_bees(&before.db, "hive", 1).await?;
    before.events().await?;
    drop(before);
    let after = open(&store, "new.key").await?;
    let refused = count_bees(&after.db, "hive", 2).await;
    let sealed = after.sealer.seal_pending().await;
    assert!(refused.is_err() || sealed.is_err(), "not unnoticed");
    let reason = RekeyReason::Lost;
    let record = rekey(&after.db, None, after.key.clone(), reason).await?;
    assert_eq!((record.old_seq, record.old_key), (1, None));
    count_bees(&after.db, "hive", 3).await?;
    after.events().await?;
    let report = after.verify().await?;
    assert_eq!(report.first_bad, None);
    assert_eq!(report.key_changes[0].record.reason, RekeyReason::Lost);
    Ok(())
}

async fn events_that_waited_are_sealed_with_the_new_key(store: TestStore) -> anyhow::Result<()> {
    let before = open(&store, "old.key").await?;
    count_bees(&before.db, "hive", 1).await?;
    before.sealer.seal_pending().await?;
    // On PostgreSQL these two wait.
    count_bees(&before.db, "hive", 2).await?;
    count_bees(&before.db, "hive", 3).await?;
    let after = open(&store, "new.key").await?;
    let old = Some(before.key.public());
    rekey(&after.db, old, after.key.clone(), RekeyReason::Exposed).await?;
    SealerService::new(after.db.clone(), after.key.clone())
        .seal_pending()
        .await?;
    let read = async |tx: &mut Tx<'_>| tail(tx, 0, 10).await;
    let events = after.db.read("tail", read).await?;
    let mut kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            "bee_counted",
            "bee_counted",
            "bee_counted",
            "ledger_rekeyed"
        ]
    );
    let report = after.verify().await?;
    assert_eq!((report.unsealed, report.first_bad), (0, None));
    Ok(())
}
