//! Many at a time: what a batch does is what one after the other would do.

use super::{Hive, attempt_of, crashed, succeeded};
use skep_db::Tx;
use skep_queue::limits::BATCH_JOBS_MAX;
use skep_queue::{
    AdvanceError, AttemptEnd, Claim, EnqueueError, Enqueued, Finish, Flow, Job, NewJob,
};
use skep_sim::simulate::{Story, Telling};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{AttemptState, Fence, JobState};

on_both_engines!(
    a_batch_is_enqueued_in_order_and_whole,
    a_finish_needs_the_current_fence,
    a_refused_job_does_not_stop_the_others,
    an_old_lease_does_not_stop_the_current_one,
    finished_jobs_are_what_their_events_say,
    one_bad_job_stops_the_batch,
);

impl Hive {
    async fn enqueue_all(&self, new: Vec<NewJob>) -> Result<Vec<Enqueued>, EnqueueError> {
        self.db
            .write("enqueue all", async move |tx: &mut Tx<'_>| {
                skep_queue::enqueue_all(tx, &new).await
            })
            .await
    }

    async fn finish_all(
        &self,
        finishes: Vec<Finish>,
    ) -> Result<Vec<Result<Job, AdvanceError>>, skep_db::DbError> {
        self.db
            .write("finish all", async move |tx: &mut Tx<'_>| {
                skep_queue::finish_all(tx, &finishes).await
            })
            .await
    }
}

fn finish(claim: &Claim, to: JobState, attempt: AttemptEnd) -> Finish {
    Finish {
        lease: claim.lease(),
        to,
        failure: attempt.failure_class,
        attempt,
    }
}

/// 107 jobs: pieces of every size, keyed ones and a singleton among them.
async fn a_batch_is_enqueued_in_order_and_whole(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let new: Vec<NewJob> = (0..107)
        .map(|n| NewJob {
            idempotency_key: (n % 40 == 7).then(|| format!("key {n}")),
            flow: Flow {
                singleton: (n == 50 || n == 60).then(|| "only".to_owned()),
                ..Flow::default()
            },
            priority: n % 3,
            ..hive.new_job()
        })
        .collect();
    let made = hive.enqueue_all(new.clone()).await?;
    assert_eq!(made.len(), new.len());
    for (n, (made, asked)) in made.iter().zip(&new).enumerate() {
        // The singleton's second request answers with the first one's job.
        let asked = if n == 60 { &new[50] } else { asked };
        assert_eq!((&made.id, made.created), (&asked.id, n != 60), "{n}");
        let job = hive.job(&made.id).await?;
        let found = (job.number, job.priority);
        assert_eq!(found, (made.number, asked.priority), "{n}");
    }
    let again = hive.enqueue_all(vec![new[7].clone()]).await?;
    assert!(!again[0].created && again[0].id == made[7].id);
    assert_eq!(hive.claim(&hive.node(), 200).await?.len(), 106);
    Ok(())
}

async fn one_bad_job_stops_the_batch(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let bad = NewJob {
        attempts_max: 0,
        ..hive.new_job()
    };
    let refused = hive.enqueue_all(vec![hive.new_job(), bad]).await;
    assert!(matches!(
        refused,
        Err(EnqueueError::Invalid {
            field: "attempts_max",
            ..
        })
    ));
    let many: Vec<NewJob> = (0..=BATCH_JOBS_MAX).map(|_| hive.new_job()).collect();
    let refused = hive.enqueue_all(many).await;
    assert!(matches!(
        refused,
        Err(EnqueueError::Invalid { field: "jobs", .. })
    ));
    assert!(
        hive.claim(&hive.node(), 9).await?.is_empty(),
        "nothing was made"
    );
    assert!(hive.enqueue_all(Vec::new()).await?.is_empty());
    Ok(())
}

async fn a_refused_job_does_not_stop_the_others(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    hive.enqueue_all((0..5).map(|_| hive.new_job()).collect())
        .await?;
    let claims = hive.claim(&hive.node(), 5).await?;
    hive.cancel(&claims[1].job.id).await?;
    let mut old = finish(&claims[2], JobState::Done, succeeded());
    old.lease.fence = Fence(0);
    let running = AttemptEnd {
        state: AttemptState::Running,
        ..succeeded()
    };
    let long = AttemptEnd {
        session_id: Some("s".repeat(501)),
        ..succeeded()
    };
    let answers = hive
        .finish_all(vec![
            finish(&claims[0], JobState::Done, succeeded()),
            finish(&claims[1], JobState::Done, succeeded()),
            old,
            finish(&claims[3], JobState::Queued, succeeded()),
            finish(&claims[3], JobState::Done, running),
            finish(&claims[4], JobState::Failed, long),
            finish(&claims[0], JobState::Done, succeeded()),
        ])
        .await?;
    let words: Vec<String> = answers
        .iter()
        .map(|answer| match answer {
            Ok(job) => job.state.to_string(),
            Err(AdvanceError::Stale { current }) => format!("stale {:?}", current.map(|f| f.0)),
            Err(error) => error.code().to_owned(),
        })
        .collect();
    assert_eq!(
        words,
        [
            "done",
            "stale None",
            "stale Some(1)",
            "illegal_transition",
            "illegal_transition",
            "attempt_invalid",
            "stale None",
        ]
    );
    for (place, state) in [
        (2, JobState::Running),
        (3, JobState::Running),
        (4, JobState::Running),
    ] {
        assert_eq!(hive.job(&claims[place].job.id).await?.state, state);
        assert!(hive.is_current(&claims[place].lease()).await?);
    }
    Ok(())
}

/// A node that lost a job and claimed it again may show both leases at once.
async fn an_old_lease_does_not_stop_the_current_one(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.enqueue_any().await?;
    let node = hive.node();
    let old = hive.claim_one(&node).await?;
    store.clock.advance_ms(super::LEASE_MS);
    hive.reconcile(None).await?;
    let new = hive.claim_one(&node).await?;
    let answers = hive
        .finish_all(vec![
            finish(&old, JobState::Done, succeeded()),
            finish(&new, JobState::Done, succeeded()),
            finish(&new, JobState::Done, succeeded()),
        ])
        .await?;
    assert!(
        matches!(
            &answers[..],
            [
                Err(AdvanceError::Stale {
                    current: Some(Fence(2))
                }),
                Ok(_),
                Err(AdvanceError::Stale { current: None }),
            ]
        ),
        "{answers:?}"
    );
    assert_eq!(hive.places(&id).await?, (0, 1));
    Ok(())
}

async fn a_finish_needs_the_current_fence(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.enqueue_any().await?;
    let old = hive.claim_one(&hive.node()).await?;
    store.clock.advance_ms(super::LEASE_MS);
    hive.reconcile(None).await?;
    let new = hive.claim_one(&hive.node()).await?;
    let answer = |answers: Vec<Result<Job, AdvanceError>>| answers.into_iter().next();
    let stale = answer(
        hive.finish_all(vec![finish(&old, JobState::Done, succeeded())])
            .await?,
    );
    assert!(matches!(
        stale,
        Some(Err(AdvanceError::Stale {
            current: Some(Fence(2))
        }))
    ));
    let done = answer(
        hive.finish_all(vec![finish(&new, JobState::Done, succeeded())])
            .await?,
    );
    assert!(matches!(done, Some(Ok(_))), "{done:?}");
    let twice = answer(
        hive.finish_all(vec![finish(&new, JobState::Done, succeeded())])
            .await?,
    );
    assert!(matches!(
        twice,
        Some(Err(AdvanceError::Stale { current: None }))
    ));
    assert_eq!(hive.places(&id).await?, (0, 1));
    Ok(())
}

/// Started or not, counted or not, done or failed: rows and events tell one story.
async fn finished_jobs_are_what_their_events_say(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    hive.enqueue_all((0..90).map(|_| hive.new_job()).collect())
        .await?;
    let claims = hive.claim(&hive.node(), 90).await?;
    let mut finishes = Vec::new();
    for (n, claim) in claims.iter().enumerate() {
        if n % 3 == 0 {
            hive.started(&claim.lease(), &attempt_of(claim)?).await?;
        }
        if n % 5 == 0 {
            hive.ended(&claim.lease(), &attempt_of(claim)?, crashed())
                .await?;
        }
        let (to, end) = if n % 2 == 0 {
            (JobState::Done, succeeded())
        } else {
            (JobState::Failed, crashed())
        };
        finishes.push(finish(claim, to, end));
    }
    store.clock.advance_ms(7);
    let ended = hive.finish_all(finishes).await?;
    for (n, (claim, ended)) in claims.iter().zip(ended).enumerate() {
        let ended = ended?;
        let job = hive.job(&claim.job.id).await?;
        assert_eq!(job, ended, "the answer is the row");
        let attempts = hive.attempts(&job.id).await?;
        let state = match (n % 5, n % 2) {
            (0, _) => AttemptState::Failed,
            (_, 0) => AttemptState::Succeeded,
            _ => AttemptState::Failed,
        };
        assert_eq!((attempts.len(), attempts[0].state), (1, state), "{n}");
        assert_eq!(job.attempts_used, 1, "{n}");
        let events = hive.events_of(&job.id).await?;
        let of_rows = Story::of_rows(&job, &attempts);
        assert_eq!(*Telling::of_events(&events)?.story(), of_rows, "{n}");
    }
    let row = hive
        .db
        .read("authority", async |tx: &mut Tx<'_>| {
            tx.query_one("SELECT COUNT(*) AS held FROM authority", &[])
                .await
        })
        .await?;
    assert_eq!(row.get::<i64>("held")?, 0, "nobody holds an ended job");
    assert_eq!(hive.ledger.verify().await?.first_bad, None);
    Ok(())
}
