//! The order of the chain under concurrency: what followed from an event stands behind it.

use super::{BeeCounted, Ledgered, bees, count_bees, ledger};
use skep_db::{Db, Tx};
use skep_ledger::{LedgerError, SealerService, append};
use skep_testkit::{Backend, TestStore, on_both_engines, run_on};
use std::sync::Arc;
use tokio::sync::Notify;

on_both_engines!(parallel_appends_are_sealed_once_each);

async fn parallel_appends_are_sealed_once_each(store: TestStore) -> anyhow::Result<()> {
    let ledger = ledger(&store).await?;
    let appends = (0..60).map(|n| {
        let db = ledger.db.clone();
        skep_stdx::spawn("append", async move { count_bees(&db, "hive", n).await })
    });
    // Two more sealers get in the way of each other and of the appends.
    let seals = (0..10).map(|n| {
        let sealer = SealerService::new(ledger.db.clone(), ledger.key.clone());
        skep_stdx::spawn("seal", async move {
            for _ in 0..n {
                sealer.seal_pending().await?;
            }
            Ok::<(), LedgerError>(())
        })
    });
    let tasks: Vec<_> = appends.chain(seals).collect();
    for task in tasks {
        task.await??;
    }
    let events = ledger.events().await?;
    let mut found: Vec<i64> = events.iter().map(bees).collect();
    found.sort_unstable();
    assert_eq!(found, (0..60).collect::<Vec<i64>>());
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=60).collect::<Vec<i64>>());
    assert_eq!(ledger.verify().await?.first_bad, None);
    Ok(())
}

/// A transaction that began early and ends late, in three steps that the test controls.
struct Slow {
    begun: Arc<Notify>,
    go_on: Arc<Notify>,
    ended: tokio::task::JoinHandle<Result<(), LedgerError>>,
}

impl Slow {
    /// Appends 1, waits, appends 3, commits. Only PostgreSQL lets a transaction wait for
    /// something else; the product never does.
    fn start(db: &Db) -> Self {
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (db, tell, wait) = (db.clone(), Arc::clone(&begun), Arc::clone(&go_on));
        let ended = skep_stdx::spawn("slow", async move {
            db.write("slow", async move |tx: &mut Tx<'_>| {
                append(tx, "hive", &BeeCounted { bees: 1 }).await?;
                tell.notify_one();
                wait.notified().await;
                append(tx, "hive", &BeeCounted { bees: 3 }).await
            })
            .await
        });
        Self {
            begun,
            go_on,
            ended,
        }
    }
}

async fn order(ledger: &Ledgered) -> anyhow::Result<Vec<i64>> {
    assert_eq!(ledger.verify().await?.first_bad, None);
    Ok(ledger.events().await?.iter().map(bees).collect())
}

/// 2 is committed by another transaction while the first is under way, so 3 may follow from it,
/// although the transaction of 3 has the lower number.
#[test]
fn what_followed_stands_behind() {
    run_on(Backend::Postgres, async |store| {
        let ledger = ledger(&store).await?;
        let slow = Slow::start(&ledger.db);
        slow.begun.notified().await;
        count_bees(&ledger.db, "hive", 2).await?;
        slow.go_on.notify_one();
        slow.ended.await??;
        assert_eq!(order(&ledger).await?, [1, 2, 3]);
        Ok(())
    });
}

/// A seal does not wait for transactions under way, and their events are not lost.
#[test]
fn a_late_commit_is_sealed_behind() {
    run_on(Backend::Postgres, async |store| {
        let ledger = ledger(&store).await?;
        let slow = Slow::start(&ledger.db);
        slow.begun.notified().await;
        count_bees(&ledger.db, "hive", 2).await?;
        assert_eq!(order(&ledger).await?, [2]);
        slow.go_on.notify_one();
        slow.ended.await??;
        assert_eq!(order(&ledger).await?, [2, 1, 3]);
        Ok(())
    });
}
