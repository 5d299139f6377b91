//! One request, one job.

use super::Hive;
use skep_db::{DbError, Tx};
use skep_queue::{EnqueueError, Enqueued, NewJob, limits};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::JobState;

on_both_engines!(
    a_field_out_of_bounds_is_refused,
    a_job_is_read_as_it_was_asked_for,
    a_key_belongs_to_its_owner,
    a_key_outlives_the_end_of_its_job,
    an_error_after_some_writes_leaves_nothing,
    an_id_stays_taken_after_its_job_has_ended,
    numbers_grow,
    one_key_for_two_requests_is_a_conflict,
    one_request_sent_many_times_at_once_is_one_job,
);

async fn an_id_stays_taken_after_its_job_has_ended(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let (new, other) = (hive.new_job(), hive.new_job());
    hive.enqueue(new.clone()).await?;
    hive.cancel(&new.id).await?;
    let again = hive.enqueue(new.clone()).await;
    let taken = |error: &EnqueueError| matches!(error, EnqueueError::Db(e) if e.is_constraint());
    assert!(again.as_ref().is_err_and(taken), "{again:?}");
    assert_eq!(hive.places(&new.id).await?, (0, 1));
    hive.enqueue(other).await?;
    Ok(())
}

fn keyed(hive: &Hive, key: &str, digest: &[u8]) -> NewJob {
    NewJob {
        idempotency_key: Some(key.to_owned()),
        idempotency_digest: digest.to_vec(),
        ..hive.new_job()
    }
}

async fn a_job_is_read_as_it_was_asked_for(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let parent = hive.enqueue_any().await?;
    let new = NewJob {
        priority: -7,
        run_at_ms: Some(1_999),
        parent: Some(parent.clone()),
        ..hive.new_job()
    };
    let enqueued = hive.enqueue(new.clone()).await?;
    assert_eq!((&enqueued.id, enqueued.created), (&new.id, true));
    let job = hive.job(&new.id).await?;
    assert_eq!(
        (job.number, job.kind, job.purpose, job.tier),
        (enqueued.number, new.kind, new.purpose, new.tier)
    );
    assert_eq!(
        (job.owner.as_str(), job.project.as_str(), job.parent),
        ("ada", "hive", Some(parent))
    );
    assert_eq!((job.priority, job.run_at_ms), (-7, 1_999));
    assert_eq!(
        (job.state, job.attempts_used, job.attempts_max, job.losses),
        (JobState::Queued, 0, 3, 0)
    );
    let now = skep_stdx::Clock::now_ms(&store.clock);
    assert_eq!((job.created_at_ms, job.changed_at_ms), (now, now));
    assert_eq!((job.ended_at_ms, job.held, job.failure), (None, None, None));
    assert_eq!(hive.kinds_of(&new.id).await?, ["job_queued"]);
    Ok(())
}

async fn numbers_grow(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let job = hive.enqueue(hive.new_job()).await?;
        // An ended job leaves its number to nobody.
        hive.cancel(&job.id).await?;
        numbers.push(job.number);
    }
    assert!(
        numbers[0] < numbers[1] && numbers[1] < numbers[2],
        "{numbers:?}"
    );
    Ok(())
}

async fn one_request_sent_many_times_at_once_is_one_job(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (hive, new) = (hive.clone(), keyed(&hive, "nightly", b"same"));
            skep_stdx::spawn("enqueue", async move { hive.enqueue(new).await })
        })
        .collect();
    let mut answers: Vec<Enqueued> = Vec::new();
    for task in tasks {
        answers.push(task.await??);
    }
    let created = answers.iter().filter(|answer| answer.created).count();
    assert_eq!(created, 1);
    let first = &answers[0];
    for answer in &answers {
        assert_eq!((&answer.id, answer.number), (&first.id, first.number));
    }
    assert_eq!(hive.kinds_of(&first.id).await?, ["job_queued"]);
    assert_eq!(hive.ledger.events().await?.len(), 1);
    Ok(())
}

async fn one_key_for_two_requests_is_a_conflict(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let tasks: Vec<_> = (0..10_u8)
        .map(|n| {
            let (hive, new) = (hive.clone(), keyed(&hive, "nightly", &[n]));
            skep_stdx::spawn("enqueue", async move { hive.enqueue(new).await })
        })
        .collect();
    let (mut made, mut refused) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await? {
            Ok(enqueued) => made.push(enqueued.id),
            Err(EnqueueError::Conflict { existing }) => refused.push(existing),
            Err(error) => return Err(error.into()),
        }
    }
    assert_eq!((made.len(), refused.len()), (1, 9));
    assert!(refused.iter().all(|existing| *existing == made[0]));
    assert_eq!(hive.ledger.events().await?.len(), 1);
    Ok(())
}

async fn a_key_belongs_to_its_owner(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    hive.enqueue(keyed(&hive, "nightly", b"a")).await?;
    let other = NewJob {
        owner: "bob".to_owned(),
        ..keyed(&hive, "nightly", b"b")
    };
    assert!(hive.enqueue(other).await?.created);
    Ok(())
}

async fn a_key_outlives_the_end_of_its_job(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let first = hive.enqueue(keyed(&hive, "nightly", b"a")).await?;
    hive.cancel(&first.id).await?;
    let again = hive.enqueue(keyed(&hive, "nightly", b"a")).await?;
    assert_eq!(
        again,
        Enqueued {
            state: JobState::Cancelled,
            created: false,
            ..first.clone()
        }
    );
    let other = hive.enqueue(keyed(&hive, "nightly", b"b")).await;
    assert!(
        matches!(&other, Err(EnqueueError::Conflict { existing }) if *existing == first.id),
        "{other:?}"
    );
    Ok(())
}

async fn a_field_out_of_bounds_is_refused(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let long = "x".repeat(limits::NAME_BYTES_MAX + 1);
    let base = || hive.new_job();
    #[rustfmt::skip]
    let cases: Vec<(&str, NewJob)> = vec![
        ("owner", NewJob { owner: String::new(), ..base() }),
        ("owner", NewJob { owner: long.clone(), ..base() }),
        ("project", NewJob { project: "a\0b".to_owned(), ..base() }),
        ("idempotency_key", keyed(&hive, "", b"a")),
        ("idempotency_key", keyed(&hive, &long, b"a")),
        ("idempotency_digest", keyed(&hive, "k", &[0; 65])),
        ("attempts_max", NewJob { attempts_max: 0, ..base() }),
        ("attempts_max", NewJob { attempts_max: limits::ATTEMPTS_MAX + 1, ..base() }),
    ];
    for (expected, new) in cases {
        match hive.enqueue(new.clone()).await {
            Err(EnqueueError::Invalid { field, .. }) => assert_eq!(field, expected),
            other => anyhow::bail!("{expected}: {other:?} for {new:?}"),
        }
    }
    let longest = NewJob {
        owner: "x".repeat(limits::NAME_BYTES_MAX),
        ..base()
    };
    assert!(hive.enqueue(longest).await?.created);
    Ok(())
}

/// As when the process dies between two steps: the transaction has written in every table and
/// then ends without a commit.
async fn an_error_after_some_writes_leaves_nothing(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let (new, node) = (keyed(&hive, "nightly", b"a"), hive.node());
    let (first, request) = (new.clone(), hive.request(&node, 1));
    let failed = hive
        .db
        .write("half", async move |tx: &mut Tx<'_>| {
            skep_queue::enqueue(tx, &first).await?;
            let claims = skep_queue::claim(tx, &request).await?;
            let lease = claims[0].lease();
            let done = skep_queue::Advance::default();
            if let Ok(job) = skep_queue::advance(tx, &lease, JobState::Done, done).await {
                assert_eq!(job.state, JobState::Done);
                return Err::<(), EnqueueError>(DbError::Closed.into());
            }
            Ok(())
        })
        .await;
    assert!(
        matches!(failed, Err(EnqueueError::Db(DbError::Closed))),
        "{failed:?}"
    );
    assert_eq!(hive.places(&new.id).await?, (0, 0));
    assert_eq!(hive.attempts(&new.id).await?, []);
    assert_eq!(hive.ledger.events().await?, []);
    assert!(hive.claim(&node, 1).await?.is_empty());
    // Neither the key nor the fence was used up.
    assert!(hive.enqueue(new).await?.created);
    assert_eq!(hive.claim_one(&node).await?.fence.0, 1);
    Ok(())
}
