//! The rules that the rows and events of one instant can break.

use super::queue::Rows;
use super::rule::{Rule, Violation, holds};
use super::story::{Story, Telling};
use super::world::World;
use anyhow::{Result, bail, ensure};
use skep_ledger::limits::TAIL_EVENTS_MAX;
use skep_ledger::{Payload as _, SealedEvent};
use skep_queue::event::{QueuePaused, QueueResumed};
use skep_queue::{Attempt, Job};
use skep_types::AttemptState;
use std::collections::BTreeSet;

/// Checks everything that can be seen now; the answer is the rows.
pub(crate) async fn check(world: &mut World) -> Result<Rows> {
    let rows = loop {
        let rows = world.queue.rows(world.begin.0, world.read_to).await?;
        tell(world, &rows)?;
        // A page that is full may not be the last one.
        if i64::try_from(rows.events.len())? < TAIL_EVENTS_MAX {
            break rows;
        }
    };
    places(world, &rows)?;
    pauses(world, &rows)?;
    for (job, attempts) in &rows.jobs {
        one_job(world, job, attempts)?;
    }
    if let Some(model) = &world.model {
        let (found, expected) = (rows.jobs.len(), model.len());
        holds(found == expected, Rule::AsTheModel, || {
            format!("there are {found} jobs, expected {expected}")
        })?;
        let (found, expected) = (&rows.rates, model.rates());
        holds(found == expected, Rule::AsTheModel, || {
            format!("rates stand at {found:?}, expected {expected:?}")
        })?;
    }
    fences(world, &rows).await?;
    Ok(rows)
}

/// Goes on with the story of every job.
fn tell(world: &mut World, rows: &Rows) -> Result<()> {
    for event in &rows.events {
        world.read_to = event.seq;
        if event.subject == skep_ledger::HOME {
            tell_pause(&mut world.paused_told, event).map_err(not_told(event))?;
            continue;
        }
        let told = match world.tellings.get_mut(&event.subject) {
            Some(telling) => telling.go_on(event),
            None => Telling::begin(event).map(|telling| {
                world.tellings.insert(event.subject.clone(), telling);
            }),
        };
        told.map_err(not_told(event))?;
    }
    Ok(())
}

fn not_told(event: &SealedEvent) -> impl FnOnce(anyhow::Error) -> Violation {
    move |error| {
        let (kind, seq, subject) = (&event.kind, event.seq, &event.subject);
        let detail = format!("{kind} at {seq} of {subject}: {error}");
        Violation::of(Rule::EventsGiveRow, detail)
    }
}

/// Goes on with the story of the paused queues.
fn tell_pause(paused: &mut BTreeSet<String>, event: &SealedEvent) -> Result<()> {
    let changed = match event.kind.as_str() {
        QueuePaused::KIND => {
            let told: QueuePaused = serde_json::from_slice(&event.payload)?;
            paused.insert(told.queue)
        }
        QueueResumed::KIND => {
            let told: QueueResumed = serde_json::from_slice(&event.payload)?;
            paused.remove(&told.queue)
        }
        other => bail!("{other} is no event of the home"),
    };
    ensure!(changed, "it changed nothing");
    Ok(())
}

fn pauses(world: &World, rows: &Rows) -> Result<(), Violation> {
    let (found, told) = (&rows.paused, &world.paused_told);
    holds(found == told, Rule::EventsGiveRow, || {
        format!("{found:?} are paused, the events say {told:?}")
    })?;
    let answered = &world.paused;
    holds(found == answered, Rule::PauseStands, || {
        format!("{found:?} are paused, the answers said {answered:?}")
    })
}

fn places(world: &World, rows: &Rows) -> Result<(), Violation> {
    for (place, (id, _)) in rows.places.iter().enumerate() {
        let again = rows.places[..place].iter().any(|(other, _)| other == id);
        holds(!again, Rule::OneTable, || format!("{id} is in both"))?;
    }
    for (job, _) in &rows.jobs {
        let ended = rows.places.iter().find(|(id, _)| *id == job.id);
        let right = ended.is_some_and(|(_, ended)| *ended == job.state.is_terminal());
        holds(right, Rule::OneTable, || {
            format!("{} is {} and in the other table", job.id, job.state)
        })?;
    }
    for (job, _) in &rows.jobs {
        let asked = world.acknowledged.contains(&job.id);
        holds(asked, Rule::NothingLeft, || {
            format!("{} is there, and nobody was told of it", job.id)
        })?;
    }
    for id in &world.acknowledged {
        let there = rows.jobs.iter().any(|(job, _)| job.id == *id);
        holds(there, Rule::NothingLost, || {
            format!("{id} was acknowledged and is gone")
        })?;
    }
    Ok(())
}

fn one_job(world: &World, job: &Job, attempts: &[Attempt]) -> Result<(), Violation> {
    let telling = world.tellings.get(job.id.as_str());
    let told = telling.map(Telling::story);
    let found = Story::of_rows(job, attempts);
    holds(told == Some(&found), Rule::EventsGiveRow, || {
        format!("the events give {told:?}, the row is {found:?}")
    })?;
    let completions = telling.map_or(0, |telling| telling.completions);
    holds(completions <= 1, Rule::CompletedOnce, || {
        format!("{} was done {completions} times", job.id)
    })?;
    let name = world.holders.get(&job.id);
    let issued = name.and_then(|name| world.issued.get(name));
    if let Some(held) = &job.held {
        let node = issued.and_then(|issued| world.nodes.get(issued.node));
        let right = node.is_some_and(|node| node.id == held.node);
        holds(right, Rule::OneHolder, || {
            format!("{} is held by {}, claimed by {node:?}", job.id, held.node)
        })?;
    }
    for attempt in attempts {
        let open = matches!(attempt.state, AttemptState::Leased | AttemptState::Running);
        let claim = issued.map(|issued| issued.lease.fence);
        let right = !open || (job.held.is_some() && claim == Some(attempt.fence));
        holds(right, Rule::AttemptNeedsLease, || {
            format!("{attempt:?} is open, the lease is {:?}", job.held)
        })?;
    }
    if let Some(model) = &world.model {
        let compared = model.compare(job, attempts);
        compared.map_err(|why| Violation::of(Rule::AsTheModel, format!("{}: {why}", job.id)))?;
    }
    Ok(())
}

/// Every fence that was ever given out, and whether it is current.
async fn fences(world: &World, rows: &Rows) -> Result<()> {
    let issued: Vec<_> = world.issued.iter().collect();
    let leases: Vec<_> = issued.iter().map(|(_, i)| i.lease.clone()).collect();
    let current = world.queue.current(&leases).await?;
    for ((name, issued), current) in issued.iter().zip(current) {
        let id = &issued.lease.job;
        let row = rows.jobs.iter().find(|(job, _)| job.id == *id);
        let held = row.is_some_and(|(job, _)| job.held.is_some());
        let newest = world.holders.get(id) == Some(*name);
        holds(current == (held && newest), Rule::FenceNeedsLease, || {
            format!("the fence of {name} on {id} is current: {current}; held: {held}")
        })?;
    }
    Ok(())
}
