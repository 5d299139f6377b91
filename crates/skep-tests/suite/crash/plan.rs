//! The crash points of plans: the engine or the command dies there, and the next one finishes the
//! plan.

use super::site::Site;
use anyhow::Context as _;
use skep_api::{JobView, PlanView};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{JobId, JobState};

/// The points that only a plan comes by.
pub(super) const TRIED: &[&str] = &["attempt.pinned", "plan.concluded", "tree.step_ended"];

on_both_engines!(
    a_base_is_pinned_once,
    a_cancel_of_a_tree_is_finished_by_the_next_engine,
    a_plan_is_concluded_once,
    a_plan_outlives_a_death_at_each_step_of_its_first_node,
);

fn job_of(view: &PlanView, place: usize) -> anyhow::Result<JobId> {
    let node = view.nodes.get(place).and_then(|node| node.job.clone());
    node.with_context(|| format!("no node {place}: {view:#?}"))
}

/// Finishes the plan; its nodes as they are then.
async fn finish(site: &Site<'_>, plan: &PlanView) -> anyhow::Result<Vec<JobView>> {
    let whole = plan.id.clone().context("it has an id")?;
    let view = site.reported(whole.as_str()).await?;
    assert_eq!(view.state, JobState::Done, "{view:#?}");
    let nodes = [job_of(plan, 0)?, job_of(plan, 1)?];
    let nodes = site.finish(&nodes).await?;
    // The second started from what the first had left, however often either was tried.
    assert_eq!(nodes[1].base_commit, nodes[0].landing.commit);
    assert_eq!(nodes[0].artifacts.len(), 1, "{:#?}", nodes[0]);
    Ok(nodes)
}

async fn a_base_is_pinned_once(store: TestStore) -> anyhow::Result<()> {
    let site = Site::new(&store)?;
    let plan = site.submit_plan().await?;
    site.die_at("attempt.pinned").await?;
    let nodes = finish(&site, &plan).await?;
    assert_eq!((nodes[0].attempts.len(), nodes[1].attempts.len()), (1, 2));
    Ok(())
}

async fn a_plan_is_concluded_once(store: TestStore) -> anyhow::Result<()> {
    let site = Site::new(&store)?;
    let plan = site.submit_plan().await?;
    site.die_at("plan.concluded").await?;
    finish(&site, &plan).await?;
    Ok(())
}

async fn a_plan_outlives_a_death_at_each_step_of_its_first_node(
    store: TestStore,
) -> anyhow::Result<()> {
    let site = Site::new(&store)?;
    let plan = site.submit_plan().await?;
    for point in [
        "artifact.kept",
        "attempt.recorded",
        "landing.swapped",
        "landing.recorded",
    ] {
        site.die_at(point).await?;
    }
    finish(&site, &plan).await?;
    Ok(())
}

async fn a_cancel_of_a_tree_is_finished_by_the_next_engine(store: TestStore) -> anyhow::Result<()> {
    let site = Site::new(&store)?;
    let plan = site.submit_plan().await?;
    let number = plan.number.context("it has a number")?.to_string();
    let cancel = ["job", "cancel", &number];
    site.die_in(&cancel, "tree.step_ended").await?;
    let between: PlanView = site.answer(&["plan", "show", &number]).await?;
    let states: Vec<_> = between.nodes.iter().map(|node| node.state).collect();
    assert_eq!(between.state, JobState::Cancelled);
    assert_eq!(states, [JobState::Queued, JobState::Blocked]);
    let one = site.reported(job_of(&plan, 0)?.as_str()).await?;
    assert_eq!((one.state, one.attempts.len()), (JobState::Cancelled, 0));
    let after: PlanView = site.answer(&["plan", "show", &number]).await?;
    assert_eq!(after.nodes[1].state, JobState::Skipped);
    Ok(())
}
