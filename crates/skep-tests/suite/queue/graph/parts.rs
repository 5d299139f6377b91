//! Parts of a job: it can wait for them without a slot, they are bounded, and they end with it.

use super::Garden;
use skep_db::Tx;
use skep_queue::graph::{
    TreeCancelled, cancel_tree, ending_trees, enqueue_parent, wait_for_children,
};
use skep_queue::{AdvanceError, CancelError, Lease, NewJob};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{AttemptState, JobId, JobState};

on_both_engines!(
    a_job_that_waits_from_the_start_takes_no_slot,
    a_job_waits_for_its_parts_without_a_slot_and_without_an_attempt,
    a_part_that_is_retried_is_waited_for_again,
    a_tree_is_ended_step_by_step,
    only_the_holder_lets_a_job_wait,
    the_whole_tree_of_a_job_that_has_ended_can_be_ended,
);

async fn wait(garden: &Garden, lease: Lease) -> Result<bool, AdvanceError> {
    let write = async move |tx: &mut Tx<'_>| wait_for_children(tx, &lease, JobState::Queued).await;
    garden.hive.db.write("wait", write).await
}

/// Enqueues parts of `whole` under these names.
async fn parts(
    garden: &mut Garden,
    whole: &JobId,
    nodes: &[(&str, &[&str])],
) -> anyhow::Result<()> {
    let mut planted = Vec::new();
    for (name, after) in nodes {
        let mut node = garden.graph_node(name, after);
        node.job.parent = Some(whole.clone());
        planted.push(node);
    }
    garden.enqueue(planted).await?;
    Ok(())
}

async fn a_job_waits_for_its_parts_without_a_slot_and_without_an_attempt(
    store: TestStore,
) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    garden.plant(&[("whole", &[])]).await?;
    garden.claim_all().await?;
    let whole = garden.id("whole").clone();
    let lease = garden.lease("whole")?;
    assert!(!wait(&garden, lease.clone()).await?, "it has no parts yet");
    assert!(garden.hive.is_current(&lease).await?);
    parts(
        &mut garden,
        &whole,
        &[("a", &[]), ("b", &["a"]), ("c", &["b?"])],
    )
    .await?;
    assert!(wait(&garden, lease.clone()).await?);
    assert!(!garden.hive.is_current(&lease).await?);
    let job = garden.hive.job(&whole).await?;
    assert_eq!(
        (job.state, job.held, job.attempts_used),
        (JobState::WaitingChildren, None, 0)
    );
    let attempts = garden.hive.attempts(&whole).await?;
    let states: Vec<_> = attempts.iter().map(|a| (a.state, a.counted)).collect();
    assert_eq!(states, [(AttemptState::Parked, false)]);
    garden.end("a", JobState::Failed).await?;
    garden
        .assert_states("b skipped, c queued, whole waiting_children")
        .await?;
    garden.end("c", JobState::Done).await?;
    garden.assert_states("whole queued").await?;
    garden.end("whole", JobState::Done).await
}

async fn a_job_that_waits_from_the_start_takes_no_slot(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    let new = NewJob {
        idempotency_key: Some("key".to_owned()),
        ..garden.hive.new_job()
    };
    let whole = new.id.clone();
    let again = NewJob {
        id: garden.hive.new_job().id,
        ..new.clone()
    };
    let write = async move |tx: &mut Tx<'_>| enqueue_parent(tx, &new, JobState::Verifying).await;
    let made = garden.hive.db.write("parent", write).await?;
    assert_eq!(
        (made.created, made.state),
        (true, JobState::WaitingChildren)
    );
    let write = async move |tx: &mut Tx<'_>| enqueue_parent(tx, &again, JobState::Verifying).await;
    let found = garden.hive.db.write("parent", write).await?;
    assert_eq!((found.created, &found.id), (false, &whole));
    parts(&mut garden, &whole, &[("a", &[]), ("b", &["a"])]).await?;
    garden.end("a", JobState::Done).await?;
    assert_eq!(
        garden.hive.job(&whole).await?.state,
        JobState::WaitingChildren
    );
    garden.end("b", JobState::Done).await?;
    let job = garden.hive.job(&whole).await?;
    assert_eq!((job.state, job.held), (JobState::Verifying, None));
    Ok(())
}

async fn a_part_that_is_retried_is_waited_for_again(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    garden.plant(&[("whole", &[])]).await?;
    garden.claim_all().await?;
    let (whole, lease) = (garden.id("whole").clone(), garden.lease("whole")?);
    parts(
        &mut garden,
        &whole,
        &[("a", &[]), ("b", &["a"]), ("c", &[])],
    )
    .await?;
    assert!(wait(&garden, lease).await?);
    garden.end("a", JobState::Failed).await?;
    garden.hive.retry(garden.id("a"), 0).await?;
    garden.end("c", JobState::Done).await?;
    garden.end("a", JobState::Done).await?;
    garden.assert_states("whole waiting_children").await?;
    garden.end("b", JobState::Done).await?;
    garden.assert_states("whole queued").await
}

async fn only_the_holder_lets_a_job_wait(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    garden.plant(&[("whole", &[])]).await?;
    garden.claim_all().await?;
    let (whole, lease) = (garden.id("whole").clone(), garden.lease("whole")?);
    parts(&mut garden, &whole, &[("a", &[])]).await?;
    garden.hive.cancel(&whole).await?;
    let late = wait(&garden, lease).await;
    assert!(
        matches!(late, Err(AdvanceError::Stale { current: None })),
        "{late:?}"
    );
    Ok(())
}

async fn step(garden: &Garden, job: &JobId) -> Result<TreeCancelled, CancelError> {
    let job = job.clone();
    let write = async move |tx: &mut Tx<'_>| cancel_tree(tx, &job, &[]).await;
    garden.hive.db.write("cancel tree", write).await
}

async fn ending(garden: &Garden) -> anyhow::Result<Vec<JobId>> {
    let read = async |tx: &mut Tx<'_>| ending_trees(tx).await;
    Ok(garden.hive.db.read("ending", read).await?)
}

async fn a_tree_is_ended_step_by_step(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    garden
        .plant(&[("whole", &[]), ("after", &["whole?"]), ("other", &[])])
        .await?;
    garden.claim_all().await?;
    let whole = garden.id("whole").clone();
    let many: Vec<String> = (0..300).map(|n| format!("part-{n}")).collect();
    let nodes: Vec<(&str, &[&str])> = many.iter().map(|name| (name.as_str(), &[][..])).collect();
    parts(&mut garden, &whole, &nodes).await?;
    parts(
        &mut garden,
        &whole,
        &[("a", &[]), ("b", &["a"]), ("c", &["b?"])],
    )
    .await?;
    let part = garden.id("a").clone();
    parts(&mut garden, &part, &[("inner", &[])]).await?;
    let first = step(&garden, &whole).await?;
    let ended: Vec<_> = first.cancelled.iter().map(|ended| &ended.job.id).collect();
    assert_eq!((ended, first.more), (vec![&whole], true));
    // Whoever comes after a crash finds what is to be done.
    let mut steps = 0;
    while let [tree] = ending(&garden).await?.as_slice() {
        let found = step(&garden, tree).await?;
        assert!(found.cancelled.len() <= 128);
        steps += 1;
    }
    assert_eq!(steps, 4, "three full steps and one that finds nothing");
    for name in ["whole", "after", "part-0", "part-299", "a", "inner"] {
        assert_eq!(garden.state(name).await?, JobState::Cancelled, "{name}");
    }
    garden
        .assert_states("b skipped, c cancelled, other running")
        .await?;
    let late = step(&garden, &whole).await;
    assert!(
        matches!(
            late,
            Err(CancelError::Ended {
                state: JobState::Cancelled
            })
        ),
        "{late:?}"
    );
    Ok(())
}

async fn the_whole_tree_of_a_job_that_has_ended_can_be_ended(
    store: TestStore,
) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    garden.plant(&[("whole", &[])]).await?;
    garden.claim_all().await?;
    let whole = garden.id("whole").clone();
    parts(&mut garden, &whole, &[("a", &[])]).await?;
    garden.hive.cancel(&whole).await?;
    garden.assert_states("a queued").await?;
    assert_eq!(step(&garden, &whole).await?.cancelled, []);
    assert_eq!(step(&garden, &whole).await?.cancelled.len(), 1);
    garden.assert_states("a cancelled").await?;
    let nobody = garden.hive.new_job().id;
    let missing = step(&garden, &nobody).await;
    assert!(matches!(missing, Err(CancelError::NotFound)), "{missing:?}");
    Ok(())
}
