//! Running histories by their seeds, and making a failing one short.

use super::check::check;
use super::dice::Dice;
use super::mutation::Mutation;
use super::queue::Queue;
use super::rule::{Rule, Violation};
use super::step::{History, StepId};
use super::turn::POLICIES;
use super::world::{World, first_limits};
use super::{plan, quiet};
use anyhow::Result;
use skep_stdx::Stopwatch;
use skep_testkit::{Backend, TestStore};
use std::sync::Arc;

/// Steps of one history before its quiet end.
const STEPS: StepId = 48;
/// Steps between two checks of every row.
const CHECK_EVERY: StepId = 12;
/// Histories on one store; then its ledger is verified and it is thrown away.
const HISTORIES_PER_STORE: u64 = 64;
/// The first number of a step of the quiet end.
const QUIET: StepId = 1_000;

/// What to run, and on what.
#[derive(Debug, Clone)]
pub struct Options {
    /// The engine.
    pub backend: Backend,
    /// A defect between simulator and queue.
    pub mutation: Option<Mutation>,
    /// Whether every answer is compared with the model's; the other rules hold in any case.
    pub model: bool,
    /// Whether a history that fails is made short.
    pub shorten: bool,
}

/// What a run found.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Histories that ran to their end.
    pub histories: u64,
    /// Steps that were done in them, the quiet ends included.
    pub steps: u64,
    /// Ledger entries that were verified.
    pub events: i64,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
    /// The first history that failed.
    pub failure: Option<Failure>,
}

/// A history that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What broke.
    pub violation: Violation,
    /// What is limited when it begins, in words.
    pub limits: &'static str,
    /// The shortest history found in which the same rule breaks, a line for each step.
    pub shortest: Vec<String>,
    /// How many steps the history of the seed has.
    pub steps: usize,
}

/// Runs the histories of `count` seeds from `first` on, until one fails.
pub async fn simulate(first: u64, count: u64, options: &Options) -> Result<Outcome> {
    let watch = Stopwatch::start();
    let mut outcome = Outcome::default();
    let mut seed = first;
    while seed < first + count && outcome.failure.is_none() {
        let until = (seed + HISTORIES_PER_STORE).min(first + count);
        on_one_store(seed..until, options, &mut outcome).await?;
        seed = until;
    }
    outcome.took_ms = watch.elapsed_ms();
    Ok(outcome)
}

/// Runs one history on a store of its own and tells every step; the last line says how it ended.
pub async fn replay(seed: u64, options: &Options, tell: &mut dyn FnMut(&str)) -> Result<bool> {
    let queue = open(options).await?;
    let mut world = World::new(Arc::clone(&queue), seed, options.model, (0, 0));
    let mut dice = Dice::new(seed);
    let mut history = History::new();
    tell(&format!("   0  {}", limits(seed)));
    let outcome = drawn(&mut world, &mut dice, &mut history, tell).await;
    match outcome.map_err(Violation::from_error) {
        Ok(()) => tell("every rule holds"),
        Err(violation) => {
            tell(&format!("broken: {violation}"));
            return Ok(false);
        }
    }
    Ok(true)
}

async fn on_one_store(
    seeds: std::ops::Range<u64>,
    options: &Options,
    outcome: &mut Outcome,
) -> Result<()> {
    let queue = open(options).await?;
    let mut begin = (0, 0);
    // Where the ledger stood after each history, so that a bad entry names its history.
    let mut ends = Vec::new();
    for seed in seeds {
        queue.forget_rates().await?;
        let mut world = World::new(Arc::clone(&queue), seed, options.model, begin);
        let (mut dice, mut history) = (Dice::new(seed), History::new());
        let ran = drawn(&mut world, &mut dice, &mut history, &mut |_| {}).await;
        outcome.steps += world.steps_done;
        if let Err(error) = ran {
            let violation = Violation::from_error(error);
            outcome.failure = Some(shortened(seed, history, violation, options).await?);
            return Ok(());
        }
        outcome.histories += 1;
        begin = world.end();
        ends.push((begin.1, seed, history));
    }
    let report = queue.verify().await?;
    outcome.events += report.events;
    let Some(bad) = report.first_bad else {
        return Ok(());
    };
    let violation = Violation::of(Rule::LedgerVerifies, format!("{bad:?}"));
    if let Some((_, seed, history)) = ends.into_iter().find(|(end, ..)| bad.seq <= *end) {
        outcome.failure = Some(shortened(seed, history, violation, options).await?);
    }
    Ok(())
}

/// Draws a history while it runs, and brings it to its quiet end.
async fn drawn(
    world: &mut World,
    dice: &mut Dice,
    history: &mut History,
    tell: &mut dyn FnMut(&str),
) -> Result<()> {
    for id in 1..=STEPS {
        let step = plan::next(dice, world);
        history.push((id, step));
        let done = world.act(id, step).await?;
        let answer = if done { &world.last_answer } else { "nothing" };
        tell(&format!("{id:>4}  {step}\n      {answer}"));
        if id.is_multiple_of(CHECK_EVERY) {
            check(world).await?;
        }
    }
    tell("      faults end; what is up works honestly");
    quiet::end(world, QUIET).await.map(drop)
}

/// Runs a given history on a store of its own, with every rule checked after every step.
async fn given(history: &History, seed: u64, options: &Options) -> Result<Option<Violation>> {
    let queue = open(options).await?;
    let mut world = World::new(Arc::clone(&queue), seed, options.model, (0, 0));
    let run = async {
        for (id, step) in history {
            world.act(*id, *step).await?;
            check(&mut world).await?;
        }
        quiet::end(&mut world, QUIET).await?;
        match queue.verify().await?.first_bad {
            Some(bad) => Err(Violation::of(Rule::LedgerVerifies, format!("{bad:?}")).into()),
            None => anyhow::Ok(()),
        }
    };
    Ok(run.await.map_err(Violation::from_error).err())
}

/// Drops steps, in ever smaller pieces, as long as the same rule breaks.
async fn shortened(
    seed: u64,
    history: History,
    violation: Violation,
    options: &Options,
) -> Result<Failure> {
    let steps = history.len();
    let mut shortest = history;
    let mut broken = violation;
    if options.shorten {
        let mut piece = shortest.len().div_ceil(2).max(1);
        loop {
            let mut from = 0;
            while from < shortest.len() {
                let mut shorter = shortest.clone();
                shorter.drain(from..(from + piece).min(shortest.len()));
                match given(&shorter, seed, options).await? {
                    Some(again) if again.rule == broken.rule => {
                        (shortest, broken) = (shorter, again);
                    }
                    _ => from += piece,
                }
            }
            if piece == 1 {
                break;
            }
            piece = piece.div_ceil(2);
        }
    }
    Ok(Failure {
        seed,
        violation: broken,
        limits: limits(seed),
        shortest: shortest
            .iter()
            .map(|(id, step)| format!("{id:>4}  {step}"))
            .collect(),
        steps,
    })
}

/// What is limited when a history begins.
fn limits(seed: u64) -> &'static str {
    POLICIES[first_limits(seed)]
}

async fn open(options: &Options) -> Result<Arc<Queue>> {
    let store = match options.backend {
        Backend::Sqlite => TestStore::sqlite_in(&crate::memory_folder())?,
        Backend::Postgres => TestStore::new(Backend::Postgres).await?,
    };
    Queue::open(store, options.mutation).await
}
