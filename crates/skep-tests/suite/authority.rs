//! The fence of a job: who holds it, and that it only grows.

use skep_authority::{AuthorityError, demand, grant, withdraw};
use skep_db::{Db, DbError, Tx};
use skep_stdx::{ManualClock, SeededEntropy};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{Fence, JobId};

on_both_engines!(
    a_fence_that_does_not_grow_is_not_given_out,
    a_greater_fence_makes_the_one_before_stale,
    a_withdrawn_fence_leaves_nobody_in_charge,
    jobs_have_fences_of_their_own,
    many_are_granted_and_withdrawn_at_once,
    what_was_demanded_holds_until_the_commit,
);

fn job(seed: u64) -> JobId {
    JobId::new(&ManualClock::at(1), &SeededEntropy::new(seed))
}

async fn open(store: &TestStore) -> anyhow::Result<Db> {
    Ok(store.open(&[skep_authority::SCHEMA], None).await?)
}

async fn granted(db: &Db, job: &JobId, fence: i64) -> Result<(), DbError> {
    let job = job.clone();
    db.write("grant", async move |tx: &mut Tx<'_>| {
        grant(tx, &[(&job, Fence(fence))], "node").await
    })
    .await
}

async fn withdrawn(db: &Db, job: &JobId) -> Result<(), DbError> {
    let job = job.clone();
    db.write("withdraw", async move |tx: &mut Tx<'_>| {
        withdraw(tx, &[&job]).await
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

async fn a_greater_fence_makes_the_one_before_stale(store: TestStore) -> anyhow::Result<()> {
    let (db, job) = (open(&store).await?, job(1));
    assert_eq!(current(&db, &job, 1).await?, Err(None), "never granted");
    granted(&db, &job, 1).await?;
    assert_eq!(current(&db, &job, 1).await?, Ok(()));
    granted(&db, &job, 2).await?;
    for (fence, expected) in [(1, Err(Some(2))), (2, Ok(())), (3, Err(Some(2)))] {
        assert_eq!(current(&db, &job, fence).await?, expected, "fence {fence}");
    }
    Ok(())
}

async fn a_withdrawn_fence_leaves_nobody_in_charge(store: TestStore) -> anyhow::Result<()> {
    let (db, job) = (open(&store).await?, job(1));
    granted(&db, &job, 1).await?;
    withdrawn(&db, &job).await?;
    for fence in 0..3 {
        assert_eq!(current(&db, &job, fence).await?, Err(None), "fence {fence}");
    }
    granted(&db, &job, 2).await?;
    assert_eq!(current(&db, &job, 2).await?, Ok(()));
    Ok(())
}

async fn jobs_have_fences_of_their_own(store: TestStore) -> anyhow::Result<()> {
    let db = open(&store).await?;
    granted(&db, &job(1), 7).await?;
    granted(&db, &job(2), 1).await?;
    withdrawn(&db, &job(1)).await?;
    assert_eq!(current(&db, &job(2), 1).await?, Ok(()));
    Ok(())
}

/// One fence too few takes the whole transaction with it.
async fn a_fence_that_does_not_grow_is_not_given_out(store: TestStore) -> anyhow::Result<()> {
    let db = open(&store).await?;
    granted(&db, &job(1), 2).await?;
    for fence in [1, 2] {
        let refused = db
            .write("grant", async move |tx: &mut Tx<'_>| {
                let (new, old) = (job(2), job(1));
                grant(tx, &[(&new, Fence(1)), (&old, Fence(fence))], "other").await
            })
            .await;
        assert!(refused.is_err_and(|error| error.is_constraint()), "{fence}");
        assert_eq!(current(&db, &job(1), 2).await?, Ok(()));
        assert_eq!(current(&db, &job(2), 1).await?, Err(None));
    }
    Ok(())
}

/// More than one statement's worth.
async fn many_are_granted_and_withdrawn_at_once(store: TestStore) -> anyhow::Result<()> {
    let db = open(&store).await?;
    let jobs: Vec<JobId> = (0..150).map(job).collect();
    let all = jobs.clone();
    db.write("grant", async move |tx: &mut Tx<'_>| {
        let fences: Vec<_> = all.iter().zip(1..).map(|(j, f)| (j, Fence(f))).collect();
        grant(tx, &fences, "node").await?;
        withdraw(tx, &all.iter().skip(70).collect::<Vec<_>>()).await
    })
    .await?;
    for (place, fence) in [(0, 1), (69, 70)] {
        assert_eq!(current(&db, &jobs[place], fence).await?, Ok(()));
    }
    assert_eq!(current(&db, &jobs[70], 71).await?, Err(None));
    Ok(())
}

/// Half of the tasks count under a fence that the other half takes away: not one count may be
/// committed after the grant was.
async fn what_was_demanded_holds_until_the_commit(store: TestStore) -> anyhow::Result<()> {
    let db = open(&store).await?;
    let counter = "CREATE TABLE counter (place BIGINT PRIMARY KEY, fence BIGINT NOT NULL)";
    db.write("counter", async move |tx: &mut Tx<'_>| {
        tx.batch(counter).await
    })
    .await?;
    granted(&db, &job(1), 1).await?;
    let tasks: Vec<_> = (0..40)
        .map(|i| {
            let db = db.clone();
            skep_stdx::spawn("count or grant", async move {
                db.write("count or grant", async move |tx: &mut Tx<'_>| {
                    let fence = if i == 20 {
                        grant(tx, &[(&job(1), Fence(2))], "other").await?;
                        Fence(2)
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
