//! The order of the chain under concurrency: what followed from an event stands behind it.

use super::{Ledgered, bees, count_bees, ledger};
use skep_db::{BeforeCommit, Db, DbError, Tx};
use skep_ledger::{LedgerError, SealerService, newest, tail_of};
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

/// What is asked to be sealed is sealed when the answer comes, whoever else is at it.
#[test]
fn a_sealer_waits_for_the_one_before_it() {
    run_on(Backend::Postgres, async |store: TestStore| {
        let ledger = ledger(&store).await?;
        let (taken, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wait) = (Arc::clone(&taken), Arc::clone(&go_on));
        let other = store.open(&[skep_ledger::SCHEMA], None).await?;
        let holding = skep_stdx::spawn("hold", async move {
            let hold = async move |tx: &mut Tx<'_>| {
                tx.query("SELECT seq FROM ledger_head /*lock*/", &[])
                    .await?;
                tell.notify_one();
                wait.notified().await;
                Ok::<(), DbError>(())
            };
            other.write("hold the head", hold).await
        });
        taken.notified().await;
        count_bees(&ledger.db, "hive", 1).await?;
        let sealer = SealerService::new(ledger.db.clone(), ledger.key.clone());
        let sealing = skep_stdx::spawn("seal", async move { sealer.seal_pending().await });
        while !sealing.is_finished() && !is_waited_for(&ledger.db).await? {}
        go_on.notify_one();
        holding.await??;
        assert_eq!(sealing.await??, 1);
        Ok(())
    });
}

/// Whether a transaction of this database waits for the lock of another.
async fn is_waited_for(db: &Db) -> Result<bool, DbError> {
    let waits = async |tx: &mut Tx<'_>| {
        let sql = "SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock' LIMIT 1";
        Ok::<_, DbError>(tx.query_opt(sql, &[]).await?.is_some())
    };
    db.read("waiting", waits).await
}

/// A second connection to the same store whose commits stand still between writing their events
/// and COMMIT, until the test lets them go on.
struct Held {
    db: Db,
    written: Arc<Notify>,
    go_on: Arc<Notify>,
}

impl Held {
    async fn open(store: &TestStore, ledger: &Ledgered, outcome: Outcome) -> anyhow::Result<Self> {
        let (written, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wait) = (Arc::clone(&written), Arc::clone(&go_on));
        let write = Arc::new(skep_ledger::sealer(ledger.key.clone()));
        let hook: BeforeCommit = Box::new(move |tx, left| {
            let (tell, wait, write) = (Arc::clone(&tell), Arc::clone(&wait), Arc::clone(&write));
            Box::pin(async move {
                write(tx, left).await?;
                // What was left for the commit is written now.
                tx.query("SELECT 1 AS one", &[]).await?;
                tell.notify_one();
                wait.notified().await;
                match outcome {
                    Outcome::Committed => Ok(()),
                    Outcome::Failed => Err(DbError::Closed),
                }
            })
        });
        let db = store.open(&[skep_ledger::SCHEMA], Some(hook)).await?;
        Ok(Self { db, written, go_on })
    }

    /// Appends an event about `bees`; returns once it is written and not committed.
    async fn append(&self, bees: i64) -> tokio::task::JoinHandle<Result<(), LedgerError>> {
        let db = self.db.clone();
        let held = skep_stdx::spawn("held", async move { count_bees(&db, "hive", bees).await });
        self.written.notified().await;
        held
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    Committed,
    Failed,
}

async fn order(ledger: &Ledgered) -> anyhow::Result<Vec<i64>> {
    let events = ledger.events().await?;
    assert_eq!(ledger.verify().await?.first_bad, None);
    Ok(events.iter().map(bees).collect())
}

async fn gaps(ledger: &Ledgered) -> anyhow::Result<i64> {
    let read = async |tx: &mut Tx<'_>| {
        let sql = "SELECT CAST(length(gaps) / 24 AS BIGINT) AS gaps FROM ledger_head";
        tx.query_one(sql, &[]).await?.get("gaps")
    };
    Ok(ledger.db.read::<i64, DbError, _>("gaps", read).await?)
}

/// A seal does not wait for a transaction under way, however often it looks, and what it has
/// written is not lost; what follows from it stands behind it, though the seal of another came
/// between.
#[test]
fn a_late_commit_is_sealed_before_what_follows() {
    run_on(Backend::Postgres, async |store| {
        let ledger = ledger(&store).await?;
        let held = Held::open(&store, &ledger, Outcome::Committed).await?;
        let late = held.append(1).await;
        for bees in 2..6 {
            count_bees(&ledger.db, "hive", bees).await?;
            let expected: Vec<i64> = (2..=bees).collect();
            assert_eq!(order(&ledger).await?, expected);
            assert_eq!(gaps(&ledger).await?, 1);
        }
        held.go_on.notify_one();
        late.await??;
        // Whoever appends now has seen 1.
        count_bees(&ledger.db, "drone", 6).await?;
        assert_eq!(order(&ledger).await?, [2, 3, 4, 5, 1, 6]);
        assert_eq!(gaps(&ledger).await?, 0);
        let read = async |tx: &mut Tx<'_>| {
            let first = tail_of(tx, "hive", 0, 3).await?;
            let rest = tail_of(tx, "hive", 3, 9).await?;
            let newest = newest(tx, Some("hive"), 2).await?;
            Ok::<_, DbError>([first, rest, newest])
        };
        let found = ledger.db.read("tail", read).await?;
        let found: Vec<Vec<i64>> = found.iter().map(|e| e.iter().map(bees).collect()).collect();
        assert_eq!(found, [vec![2, 3, 4], vec![5, 1], vec![4, 5]]);
        Ok(())
    });
}

/// Numbers that were drawn by a transaction that failed are given up once it has ended, and not
/// while another that may hold lower ones goes on.
#[test]
fn the_gap_of_a_failed_commit_closes() {
    run_on(Backend::Postgres, async |store| {
        let ledger = ledger(&store).await?;
        let failing = Held::open(&store, &ledger, Outcome::Failed).await?;
        let held = Held::open(&store, &ledger, Outcome::Committed).await?;
        let late = held.append(1).await;
        let lost = failing.append(2).await;
        count_bees(&ledger.db, "hive", 3).await?;
        assert_eq!(order(&ledger).await?, [3]);
        assert_eq!(gaps(&ledger).await?, 1, "1 and 2 are one stretch");
        failing.go_on.notify_one();
        assert!(lost.await?.is_err());
        for _ in 0..3 {
            ledger.sealer.seal_pending().await?;
            assert_eq!(gaps(&ledger).await?, 1, "1 is still under way");
        }
        held.go_on.notify_one();
        late.await??;
        assert_eq!(order(&ledger).await?, [3, 1]);
        // Transactions of other tests in the same cluster may be under way; they end.
        while gaps(&ledger).await? > 0 {
            ledger.sealer.seal_pending().await?;
        }
        assert_eq!(order(&ledger).await?, [3, 1]);
        Ok(())
    });
}

/// Another node's sealer knows of the gaps that this one has left.
#[test]
fn the_gaps_are_handed_over() {
    run_on(Backend::Postgres, async |store| {
        let ledger = ledger(&store).await?;
        let held = Held::open(&store, &ledger, Outcome::Committed).await?;
        let late = held.append(1).await;
        count_bees(&ledger.db, "hive", 2).await?;
        assert_eq!(order(&ledger).await?, [2]);
        held.go_on.notify_one();
        late.await??;
        let other = Ledgered::open(&store, &[skep_ledger::SCHEMA]).await?;
        assert_eq!(order(&other).await?, [2, 1]);
        count_bees(&ledger.db, "hive", 3).await?;
        assert_eq!(order(&ledger).await?, [2, 1, 3]);
        Ok(())
    });
}
