//! The fence of a job: who holds it, and that it only grows.

use skep_authority::{AuthorityError, demand, raise, withdraw};
use skep_db::{Db, DbError, Tx};
use skep_stdx::{ManualClock, SeededEntropy};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{Fence, JobId};

on_both_engines!(
    a_raised_fence_makes_the_one_before_stale,
    a_withdrawn_fence_leaves_nobody_in_charge,
    every_raise_of_many_at_once_gives_another_fence,
    jobs_have_fences_of_their_own,
    what_was_demanded_holds_until_the_commit,
);

fn job(seed: u64) -> JobId {
    JobId::new(&ManualClock::at(1), &SeededEntropy::new(seed))
}

async fn open(store: &TestStore) -> anyhow::Result<Db> {
    Ok(store.open(&[skep_authority::SCHEMA], None).await?)
}

async fn raised(db: &Db, job: &JobId) -> Result<Fence, DbError> {
    let job = job.clone();
    db.write("raise", async move |tx: &mut Tx<'_>| {
        raise(tx, &job, "node").await
    })
    .await
}

async fn withdrawn(db: &Db, job: &JobId) -> Result<(), DbError> {
    let job = job.clone();
    db.write("withdraw", async move |tx: &mut Tx<'_>| {
        withdraw(tx, &job).await
    })
    .await
}

/// `Ok` if the fence is current, else the fence that is.
async fn current(db: &Db, job: &JobId, fence: i64) -> anyhow::Result<Result<(), Option<i64>>> {
    let job = job.clone();
    let demanded = db
        .write("demand", async move |tx: &mut Tx<'_>| {
            demand(tx, &job, Fence(fence)).await
        })
        .await;
    match demanded {
        Ok(()) => Ok(Ok(())),
        Err(AuthorityError::Stale { current }) => Ok(Err(current.map(|fence| fence.0))),
        Err(error) => Err(error.into()),
    }
}

async fn a_raised_fence_makes_the_one_before_stale(store: TestStore) -> anyhow::Result<()> {
    let (db, job) = (open(&store).await?, job(1));
    assert_eq!(current(&db, &job, 1).await?, Err(None), "never raised");
    assert_eq!(raised(&db, &job).await?, Fence(1));
    assert_eq!(current(&db, &job, 1).await?, Ok(()));
    assert_eq!(raised(&db, &job).await?, Fence(2));
    for (fence, expected) in [(1, Err(Some(2))), (2, Ok(())), (3, Err(Some(2)))] {
        assert_eq!(current(&db, &job, fence).await?, expected, "fence {fence}");
    }
    Ok(())
}

async fn a_withdrawn_fence_leaves_nobody_in_charge(store: TestStore) -> anyhow::Result<()> {
    let (db, job) = (open(&store).await?, job(1));
    raised(&db, &job).await?;
    withdrawn(&db, &job).await?;
    // Not even the number that the withdrawal has reached: it was given to nobody.
    for fence in 0..4 {
        assert_eq!(current(&db, &job, fence).await?, Err(None), "fence {fence}");
    }
    assert_eq!(raised(&db, &job).await?, Fence(3));
    assert_eq!(current(&db, &job, 3).await?, Ok(()));
    Ok(())
}

async fn jobs_have_fences_of_their_own(store: TestStore) -> anyhow::Result<()> {
    let db = open(&store).await?;
    raised(&db, &job(1)).await?;
    raised(&db, &job(1)).await?;
    assert_eq!(raised(&db, &job(2)).await?, Fence(1));
    withdrawn(&db, &job(1)).await?;
    assert_eq!(current(&db, &job(2), 1).await?, Ok(()));
    Ok(())
}

async fn every_raise_of_many_at_once_gives_another_fence(store: TestStore) -> anyhow::Result<()> {
    let db = open(&store).await?;
    let tasks: Vec<_> = (0..30)
        .map(|_| {
            let db = db.clone();
            skep_stdx::spawn("raise", async move { raised(&db, &job(1)).await })
        })
        .collect();
    let mut fences = Vec::new();
    for task in tasks {
        fences.push(task.await??.0);
    }
    fences.sort_unstable();
    assert_eq!(fences, (1..=30).collect::<Vec<i64>>());
    Ok(())
}

/// Half of the tasks count under a fence that the other half takes away: not one count may be
/// committed after the first raise was.
async fn what_was_demanded_holds_until_the_commit(store: TestStore) -> anyhow::Result<()> {
    let db = open(&store).await?;
    let counter = "CREATE TABLE counter (place BIGINT PRIMARY KEY, fence BIGINT NOT NULL)";
    db.write("counter", async move |tx: &mut Tx<'_>| {
        tx.batch(counter).await
    })
    .await?;
    raised(&db, &job(1)).await?;
    let tasks: Vec<_> = (0..40)
        .map(|i| {
            let db = db.clone();
            skep_stdx::spawn("count or raise", async move {
                db.write("count or raise", async move |tx: &mut Tx<'_>| {
                    let fence = if i == 20 {
                        raise(tx, &job(1), "other").await?
                    } else {
                        demand(tx, &job(1), Fence(1)).await?;
                        Fence(1)
                    };
                    // The row lock on the fence orders these, so the places tell who was first.
                    let sql = "INSERT INTO counter (place, fence)
                        SELECT COALESCE(MAX(place), 0) + 1, CAST(?1 AS BIGINT) FROM counter";
                    tx.execute(sql, skep_db::params![fence.0]).await?;
                    Ok::<(), AuthorityError>(())
                })
                .await
            })
        })
        .collect();
    for task in tasks {
        match task.await? {
            Ok(()) | Err(AuthorityError::Stale { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let rows = db
        .read("places", async |tx: &mut Tx<'_>| {
            tx.query("SELECT fence FROM counter ORDER BY place", &[])
                .await
        })
        .await?;
    let fences: Vec<i64> = rows
        .iter()
        .map(|row| row.get("fence"))
        .collect::<Result<_, _>>()?;
    assert!(fences.is_sorted(), "a stale fence wrote last: {fences:?}");
    assert_eq!(fences.last(), Some(&2));
    Ok(())
}
