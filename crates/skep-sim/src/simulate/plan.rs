//! What happens next in a history: drawn from the seed, more often such as can succeed.
//!
//! Looks at what the actors know and never at the store, so that a history is the same whatever
//! is checked in between.

use super::dice::Dice;
use super::queue::LEASE_MS;
use super::step::{Ask, BATCH, Ending, Fate, JobName, LeaseName, Name, Step, Wanted};
use super::turn::{PAUSABLE, Place};
use super::world::{Belief, NODES, Names, World};
use skep_queue::Advance;
use skep_types::{AttemptState, FailureClass, JobState};

/// Jobs of one history: enough to compete for slots, few enough to meet every fault.
const JOBS_MAX: usize = 8;
/// Leases that a wild request picks from: the latest ones, which are most often still known.
const RECENT_LEASES: usize = 8;
const HOUR_MS: i64 = 60 * 60 * 1_000;

/// The next step.
pub(crate) fn next(dice: &mut Dice, world: &World) -> Step {
    let kind = dice.below(100);
    let node = dice.below(NODES);
    let jobs: Vec<JobName> = world.jobs.keys().copied().collect();
    if jobs.is_empty() || (kind < 14 && jobs.len() < JOBS_MAX) {
        return send(dice, |dice| enqueue(dice, world));
    }
    let job = dice.any(&jobs).copied().unwrap_or_default();
    match kind {
        0..28 => send(dice, |dice| Ask::Claim {
            node,
            slots: 1 + dice.below(3),
        }),
        28..33 => send(dice, |_| Ask::Heartbeat { node }),
        33..62 => match dice.any(&world.nodes[node].beliefs).cloned() {
            Some(_) if dice.one_in(7) => send(dice, |dice| finish_all(dice, world, node)),
            Some(belief) => send(dice, |dice| work(dice, world, &belief)),
            None => send(dice, |_| Ask::Claim { node, slots: 2 }),
        },
        62..68 => match lease(dice, world) {
            Some(lease) => send(dice, |dice| wild(dice, lease)),
            None => tick(dice),
        },
        68..74 => deliver(dice, world),
        74..78 => send(dice, |dice| wake(dice, world, job)),
        78..80 => send(dice, |_| Ask::Cancel { job }),
        80..82 => {
            let extra = dice.number(3);
            send(dice, |_| Ask::Retry { job, extra })
        }
        82..86 => send(dice, |_| Ask::Reconcile { node }),
        86..87 => send(dice, |_| Ask::GiveBack { node }),
        87..90 => Step::Crash { node },
        90..91 => Step::Pause { node },
        91..95 => Step::Resume { node },
        95..97 => send(dice, |dice| pause(dice, world)),
        97..98 if !world.has_one_lane() => Step::Limits {
            set: dice.below(world.policies()),
        },
        _ => tick(dice),
    }
}

/// A queue is paused, or one that is goes on; now and then one that is not.
fn pause(dice: &mut Dice, world: &World) -> Ask {
    let queue = dice.of(PAUSABLE);
    let mut paused = PAUSABLE.iter().copied();
    match paused.find(|queue| world.paused.contains(*queue)) {
        Some(queue) if !dice.one_in(3) => Ask::ResumeQueue { queue },
        None if !dice.one_in(6) => Ask::PauseQueue { queue },
        _ if dice.one_in(2) => Ask::ResumeQueue { queue },
        _ => Ask::PauseQueue { queue },
    }
}

fn send(dice: &mut Dice, ask: impl FnOnce(&mut Dice) -> Ask) -> Step {
    let ask = ask(dice);
    let fate = match dice.below(100) {
        0..4 => Fate::Lost,
        4..10 => Fate::DiesBefore,
        10..18 => Fate::DiesAfter,
        18..23 => Fate::RunTwice,
        23..30 => Fate::Delayed,
        _ => Fate::Answered,
    };
    Step::Send { ask, fate }
}

fn enqueue(dice: &mut Dice, world: &World) -> Ask {
    if !dice.one_in(4) {
        return Ask::Enqueue(wanted(dice, world));
    }
    let many = 2 + dice.below(BATCH - 1);
    let mut wanted = std::array::from_fn(|place| (place < many).then(|| wanted(dice, world)));
    if dice.one_in(6) {
        let place = dice.below(many);
        wanted[place] = wanted[place].map(|wanted| Wanted {
            attempts_max: 0,
            ..wanted
        });
    }
    Ask::EnqueueAll(wanted)
}

fn wanted(dice: &mut Dice, world: &World) -> Wanted {
    Wanted {
        key: dice.one_in(3).then(|| dice.of(&[1, 2])),
        priority: dice.of(&[0, 0, 0, 1]),
        delay_ms: dice.of(&[0, 0, 0, 0, 500, 5_000]),
        attempts_max: dice.of(&[1, 2, 3]),
        place: if world.has_one_lane() {
            Place::ONLY
        } else {
            Place::drawn(dice)
        },
        name: name(dice, world),
    }
}

/// In some histories every other request has a name, so that they meet.
fn name(dice: &mut Dice, world: &World) -> Option<Name> {
    let names = world.names();
    if names == Names::NONE || dice.one_in(2) {
        return None;
    }
    if names.debounces && (!names.singletons || dice.one_in(2)) {
        let quiet_ms = dice.of(&[500, 5_000]);
        let wait_max_ms = dice.of(&[5_000, 6_000, 60_000]);
        return Some(Name::Debounce {
            quiet_ms,
            wait_max_ms,
        });
    }
    Some(Name::Singleton)
}

/// A node ends what it believes to hold, now and then one twice and one that it lost.
fn finish_all(dice: &mut Dice, world: &World, node: usize) -> Ask {
    let beliefs = world.nodes[node].beliefs.iter().map(|belief| belief.name);
    let mut leases: Vec<LeaseName> = beliefs.take(BATCH).collect();
    if leases.len() < BATCH
        && let Some(other) = lease(dice, world)
        && dice.one_in(3)
    {
        leases.insert(dice.below(leases.len() + 1), other);
    }
    if leases.len() < BATCH
        && dice.one_in(4)
        && let Some(again) = dice.any(&leases).copied()
    {
        leases.push(again);
    }
    let endings = std::array::from_fn(|place| {
        let lease = leases.get(place).copied();
        lease.map(|lease| ending(dice, lease))
    });
    Ask::FinishAll { node, endings }
}

fn ending(dice: &mut Dice, lease: LeaseName) -> Ending {
    let ends = [JobState::Done, JobState::Done, JobState::Failed];
    let to = if dice.one_in(8) {
        dice.of(JobState::ALL)
    } else {
        dice.of(&ends)
    };
    let state = if dice.one_in(12) {
        dice.of(AttemptState::ALL)
    } else if to == JobState::Done {
        AttemptState::Succeeded
    } else {
        AttemptState::Failed
    };
    Ending {
        lease,
        to,
        state,
        failure: failure(dice),
        counts: dice.one_in(2),
    }
}

/// What a node does next with a claim that it believes to hold.
fn work(dice: &mut Dice, world: &World, belief: &Belief) -> Ask {
    let lease = belief.name;
    let open = matches!(
        belief.attempt,
        Some(AttemptState::Leased | AttemptState::Running)
    );
    if belief.attempt == Some(AttemptState::Leased) && !dice.one_in(5) {
        return Ask::Start { lease };
    }
    let to = follower(dice, belief.state);
    let how = how(dice, world);
    if belief.state != JobState::Running || !open {
        return Ask::Advance { lease, to, how };
    }
    let state = if matches!(to, JobState::Verifying | JobState::Done) {
        AttemptState::Succeeded
    } else if matches!(to, JobState::WaitingQuota | JobState::WaitingBudget) {
        AttemptState::Parked
    } else {
        AttemptState::Failed
    };
    if dice.one_in(5) {
        return Ask::End {
            lease,
            state,
            failure: how.failure,
            counts: dice.one_in(2),
        };
    }
    Ask::Finish {
        lease,
        state,
        failure: how.failure,
        to,
        how,
    }
}

/// Anything at all, with a lease that may be long gone.
fn wild(dice: &mut Dice, lease: LeaseName) -> Ask {
    let failure = failure(dice);
    match dice.below(4) {
        0 => Ask::Start { lease },
        1 => Ask::End {
            lease,
            state: dice.of(AttemptState::ALL),
            failure,
            counts: dice.one_in(2),
        },
        2 => Ask::Finish {
            lease,
            state: AttemptState::Succeeded,
            failure,
            to: dice.of(&[JobState::Verifying, JobState::Done, JobState::Backoff]),
            how: Advance::default(),
        },
        _ => Ask::Advance {
            lease,
            to: dice.of(JobState::ALL),
            how: Advance {
                keep_lease: dice.one_in(2),
                failure,
                run_at_ms: None,
            },
        },
    }
}

fn lease(dice: &mut Dice, world: &World) -> Option<LeaseName> {
    let recent: Vec<LeaseName> = world
        .issued
        .keys()
        .rev()
        .take(RECENT_LEASES)
        .copied()
        .collect();
    dice.any(&recent).copied()
}

fn deliver(dice: &mut Dice, world: &World) -> Step {
    if let Some(of) = dice.any(&world.under_way).copied()
        && !dice.one_in(3)
    {
        return Step::Deliver { of };
    }
    match dice.any(&world.arrived()).copied() {
        Some(of) => Step::Deliver { of },
        None => tick(dice),
    }
}

fn wake(dice: &mut Dice, world: &World, job: JobName) -> Ask {
    let seen = world.jobs.get(&job).and_then(|id| world.seen.get(id));
    let from = match seen {
        Some(state) if !dice.one_in(6) => *state,
        _ => dice.of(JobState::ALL),
    };
    let to = follower(dice, from);
    Ask::Wake { job, from, to }
}

/// A state, most often one that can follow; more seldom an end.
fn follower(dice: &mut Dice, from: JobState) -> JobState {
    if dice.one_in(8) {
        return dice.of(JobState::ALL);
    }
    let legal =
        |to: &&JobState| from.to(**to).is_ok() && (!to.is_terminal() || **to == JobState::Done);
    let legal: Vec<JobState> = JobState::ALL.iter().filter(legal).copied().collect();
    match dice.any(&legal) {
        Some(to) => *to,
        None => dice.of(JobState::ALL),
    }
}

fn how(dice: &mut Dice, world: &World) -> Advance {
    let delay_ms = dice.of(&[None, None, Some(0), Some(500), Some(2 * LEASE_MS)]);
    Advance {
        keep_lease: !dice.one_in(3),
        failure: failure(dice),
        run_at_ms: delay_ms.map(|delay_ms| world.now() + delay_ms),
    }
}

fn failure(dice: &mut Dice) -> Option<FailureClass> {
    dice.of(&[
        None,
        None,
        Some(FailureClass::RateLimit),
        Some(FailureClass::WorkerCrash),
    ])
}

fn tick(dice: &mut Dice) -> Step {
    let ms = dice.of(&[
        1,
        499,
        5_000,
        LEASE_MS / 2,
        LEASE_MS,
        LEASE_MS + 1,
        -500,
        -LEASE_MS,
        HOUR_MS,
        -HOUR_MS,
    ]);
    Step::Tick { ms }
}
