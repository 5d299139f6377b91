//! The end of every history: faults stop, paused queues go on, nodes that are up work honestly, clients wake what waits;
//! nodes that died or stand still stay so. Every live job must end.

use super::check::check;
use super::queue::{LEASE_MS, Rows};
use super::rule::{Rule, Violation, holds};
use super::step::{Ask, Fate, LeaseName, Step, StepId};
use super::turn::PAUSABLE;
use super::world::{Belief, NODES, World};
use anyhow::Result;
use skep_queue::{Advance, Job};
use skep_types::{AttemptState, JobState};

/// Rounds of half a lease after which nothing may be held by a node that does not renew it, and
/// nothing may be left that was due. Three renewals, and one claim for each step of a job's life.
const ROUNDS_TO_SETTLE: u32 = 6;
/// Rounds after the time of every delayed job has come.
const ROUNDS_TO_END: u32 = 6;
/// Steps that one node does on one claim in one round; no honest life is longer.
const STEPS_OF_A_LIFE: usize = 8;
/// Claims of one node in one round; more than a history has jobs.
const CLAIMS_OF_A_ROUND: usize = 16;
/// Free slots of each node.
const SLOTS: usize = 8;

const KEEP: Advance = Advance {
    keep_lease: true,
    failure: None,
    run_at_ms: None,
};

/// Brings the history to its end; step numbers begin at `next`.
pub(crate) async fn end(world: &mut World, mut next: StepId) -> Result<Rows> {
    world.under_way.clear();
    if (0..NODES).all(|node| !is_up(world, node)) {
        world.act(0, Step::Resume { node: 0 }).await?;
    }
    for queue in PAUSABLE.iter().copied() {
        if world.paused.contains(queue) {
            send(world, &mut next, Ask::ResumeQueue { queue }).await?;
        }
    }
    // A round lets at least two of each queue and backend start.
    let longer = if world.has_rate() { 2 } else { 1 };
    let (to_settle, to_end) = (ROUNDS_TO_SETTLE * longer, ROUNDS_TO_END * longer);
    for round in 0..to_settle + to_end {
        if round == to_settle {
            let rows = check(world).await?;
            if settled(world, &rows)? {
                return Ok(rows);
            }
        }
        if round < to_settle && world.seen.values().all(|state| state.is_terminal()) {
            break;
        }
        one_round(world, &mut next).await?;
    }
    let rows = check(world).await?;
    for (job, _) in &rows.jobs {
        holds(job.state.is_terminal(), Rule::NothingStuck, || stuck(job))?;
    }
    Ok(rows)
}

fn is_up(world: &World, node: usize) -> bool {
    let node = &world.nodes[node];
    node.alive && !node.paused
}

/// Whether everything has ended; what is left may only wait for its time, which then comes.
fn settled(world: &mut World, rows: &Rows) -> Result<bool, Violation> {
    let now = world.now();
    let mut latest = None;
    for (job, _) in rows.jobs.iter().filter(|(job, _)| !job.state.is_terminal()) {
        holds(job.held.is_none(), Rule::LeaseEnds, || stuck(job))?;
        // A backoff ends at a time of day, even one of no length.
        let waits = job.run_at_ms > job.changed_at_ms || job.state == JobState::Backoff;
        let delayed = job.run_at_ms > now && waits;
        holds(delayed, Rule::NothingStuck, || stuck(job))?;
        latest = latest.max(Some(job.run_at_ms));
    }
    if let Some(latest) = latest {
        world.queue.clock.set_ms(latest);
    }
    Ok(latest.is_none())
}

fn stuck(job: &Job) -> String {
    format!(
        "{} is {} since {}, due at {}, held: {:?}",
        job.id, job.state, job.changed_at_ms, job.run_at_ms, job.held
    )
}

async fn one_round(world: &mut World, next: &mut StepId) -> Result<()> {
    world.queue.clock.advance_ms(LEASE_MS / 2 + 1);
    for node in 0..NODES {
        if !is_up(world, node) {
            continue;
        }
        send(world, next, Ask::Heartbeat { node }).await?;
        send(world, next, Ask::Reconcile { node }).await?;
        // A key may let only one of its jobs run at a time.
        for _ in 0..CLAIMS_OF_A_ROUND {
            send(world, next, Ask::Claim { node, slots: SLOTS }).await?;
            let beliefs = world.nodes[node].beliefs.iter();
            let beliefs: Vec<LeaseName> = beliefs.map(|b| b.name).collect();
            for name in &beliefs {
                work(world, next, node, *name).await?;
            }
            if beliefs.is_empty() || world.has_one_lane() {
                break;
            }
        }
    }
    let jobs: Vec<_> = world
        .jobs
        .iter()
        .map(|(step, id)| (*step, id.clone()))
        .collect();
    for (job, id) in jobs {
        if let Some((from, to)) = world.seen.get(&id).copied().and_then(wake) {
            send(world, next, Ask::Wake { job, from, to }).await?;
        }
    }
    Ok(())
}

async fn send(world: &mut World, next: &mut StepId, ask: Ask) -> Result<()> {
    let fate = Fate::Answered;
    *next += 1;
    world.act(*next, Step::Send { ask, fate }).await.map(drop)
}

/// One claim, worked on to its end by a node that believes to hold it.
async fn work(world: &mut World, next: &mut StepId, node: usize, name: LeaseName) -> Result<()> {
    for _ in 0..STEPS_OF_A_LIFE {
        let belief = world.nodes[node].beliefs.iter().find(|b| b.name == name);
        let Some(ask) = belief.and_then(honest) else {
            return Ok(());
        };
        send(world, next, ask).await?;
    }
    Ok(())
}

/// What an honest worker does next.
fn honest(belief: &Belief) -> Option<Ask> {
    let lease = belief.name;
    let advance = |to| {
        Some(Ask::Advance {
            lease,
            to,
            how: KEEP,
        })
    };
    match (belief.state, belief.attempt) {
        (JobState::Running, Some(AttemptState::Leased)) => Some(Ask::Start { lease }),
        (JobState::Running, Some(AttemptState::Running)) => Some(Ask::Finish {
            lease,
            state: AttemptState::Succeeded,
            failure: None,
            to: JobState::Verifying,
            how: KEEP,
        }),
        (JobState::Running, _) => advance(JobState::Verifying),
        (JobState::Verifying, _) => advance(JobState::Landing),
        (JobState::Landing, _) => advance(JobState::Done),
        _ => None,
    }
}

/// How a client wakes what waits.
const fn wake(state: JobState) -> Option<(JobState, JobState)> {
    match state {
        JobState::InReview => Some((state, JobState::Landing)),
        JobState::WaitingQuota
        | JobState::WaitingBudget
        | JobState::WaitingHuman
        | JobState::WaitingChildren
        | JobState::WaitingCallback
        | JobState::Paused => Some((state, JobState::Queued)),
        JobState::Draft
        | JobState::Queued
        | JobState::Blocked
        | JobState::Running
        | JobState::Backoff
        | JobState::Verifying
        | JobState::Rework
        | JobState::Landing
        | JobState::Done
        | JobState::Failed
        | JobState::Cancelled
        | JobState::Skipped
        | JobState::Quarantined => None,
    }
}
