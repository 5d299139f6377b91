//! Random graphs with random ends: every job stands where a model of a few lines has it, after
//! every step, and in the end none is left waiting.

use super::Garden;
use skep_stdx::{Entropy as _, SeededEntropy};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::JobState;

on_both_engines!(seed_1, seed_2, seed_3, seed_4);

async fn seed_1(store: TestStore) -> anyhow::Result<()> {
    histories(store, 1).await
}

async fn seed_2(store: TestStore) -> anyhow::Result<()> {
    histories(store, 2).await
}

async fn seed_3(store: TestStore) -> anyhow::Result<()> {
    histories(store, 3).await
}

/// A seed of one's own choice, as in `SKEP_TEST_SEED=77`.
async fn seed_4(store: TestStore) -> anyhow::Result<()> {
    let seed = std::env::var("SKEP_TEST_SEED").ok();
    histories(store, seed.map_or(Ok(4), |seed| seed.parse())?).await
}

const GRAPHS: usize = 6;
const NODES: usize = 14;
const STEPS: usize = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Success,
    AnyEnd,
    Artifact,
}

struct Arrow {
    parent: usize,
    child: usize,
    policy: Policy,
    met: Option<bool>,
}

/// What should be.
struct Model {
    states: Vec<JobState>,
    arrows: Vec<Arrow>,
    left: Vec<bool>,
}

impl Model {
    fn random(dice: &mut Dice) -> Self {
        let mut arrows = Vec::new();
        for child in 1..NODES {
            for _ in 0..dice.below(4) {
                let policy = [Policy::Success, Policy::AnyEnd, Policy::Artifact][dice.below(3)];
                let parent = dice.below(child);
                let known = |a: &Arrow| (a.parent, a.child, a.policy) == (parent, child, policy);
                if !arrows.iter().any(known) {
                    arrows.push(Arrow {
                        parent,
                        child,
                        policy,
                        met: None,
                    });
                }
            }
        }
        let mut model = Self {
            states: vec![JobState::Blocked; NODES],
            arrows,
            left: vec![false; NODES],
        };
        model.settle();
        model
    }

    /// Lets follow what follows, until nothing does.
    fn settle(&mut self) {
        loop {
            let mut changed = false;
            for arrow in &mut self.arrows {
                let parent = self.states[arrow.parent];
                if arrow.met.is_none() && parent.is_terminal() {
                    let done = parent == JobState::Done;
                    arrow.met = Some(match arrow.policy {
                        Policy::Success => done,
                        Policy::AnyEnd => true,
                        Policy::Artifact => done && self.left[arrow.parent],
                    });
                    changed = true;
                }
            }
            for node in 0..NODES {
                if self.states[node] != JobState::Blocked {
                    continue;
                }
                let mut outcomes = self
                    .arrows
                    .iter()
                    .filter(|a| a.child == node)
                    .map(|a| a.met);
                if outcomes.clone().any(|met| met == Some(false)) {
                    self.states[node] = JobState::Skipped;
                    changed = true;
                } else if outcomes.all(|met| met == Some(true)) {
                    self.states[node] = JobState::Queued;
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }

    fn end(&mut self, node: usize, state: JobState) {
        self.states[node] = state;
        self.settle();
    }

    fn retry(&mut self, node: usize) {
        self.states[node] = JobState::Queued;
        let mut live = vec![node];
        let mut place = 0;
        while place < NODES {
            let mut unmet = self
                .arrows
                .iter()
                .filter(|a| a.child == place && a.met == Some(false))
                .peekable();
            let is_skipped = self.states[place] == JobState::Skipped;
            if is_skipped && unmet.peek().is_some() && unmet.all(|a| live.contains(&a.parent)) {
                self.states[place] = JobState::Blocked;
                live.push(place);
                // One before it may have waited for it alone.
                place = 0;
                continue;
            }
            place += 1;
        }
        for arrow in &mut self.arrows {
            let has_not_begun = matches!(
                self.states[arrow.child],
                JobState::Blocked | JobState::Skipped
            );
            if live.contains(&arrow.parent) && has_not_begun {
                arrow.met = None;
            }
        }
        self.settle();
    }

    fn pick(&self, dice: &mut Dice, suits: impl Fn(JobState) -> bool) -> Option<usize> {
        let found: Vec<usize> = (0..NODES).filter(|n| suits(self.states[*n])).collect();
        (!found.is_empty()).then(|| found[dice.below(found.len())])
    }
}

struct Dice(SeededEntropy);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % u64::try_from(limit).unwrap_or(1)).unwrap_or(0)
    }
}

fn name(node: usize) -> String {
    format!("n{node}")
}

async fn histories(store: TestStore, seed: u64) -> anyhow::Result<()> {
    let mut dice = Dice(SeededEntropy::new(seed));
    let mut garden = Garden::open_with_ids(&store, seed).await?;
    for _ in 0..GRAPHS {
        let mut model = Model::random(&mut dice);
        plant(&mut garden, &model).await?;
        for step in 0..STEPS {
            compare(&mut garden, &mut model, seed, step).await?;
            let story = act(&mut garden, &mut model, &mut dice).await?;
            if story.is_none() {
                break;
            }
        }
        // Let everything that lives end: nothing may be left waiting.
        while let Some(node) = model.pick(&mut dice, |state| state == JobState::Running) {
            garden.end(&name(node), JobState::Done).await?;
            model.end(node, JobState::Done);
            compare(&mut garden, &mut model, seed, STEPS).await?;
        }
        assert!(
            model.states.iter().all(|state| state.is_terminal()),
            "{:?}",
            model.states
        );
    }
    Ok(())
}

async fn plant(garden: &mut Garden, model: &Model) -> anyhow::Result<()> {
    let mut nodes = Vec::new();
    for child in 0..NODES {
        let after: Vec<String> = model
            .arrows
            .iter()
            .filter(|arrow| arrow.child == child)
            .map(|arrow| match arrow.policy {
                Policy::Success => name(arrow.parent),
                Policy::AnyEnd => format!("{}?", name(arrow.parent)),
                Policy::Artifact => format!("{}:x", name(arrow.parent)),
            })
            .collect();
        let after: Vec<&str> = after.iter().map(String::as_str).collect();
        nodes.push(garden.graph_node(&name(child), &after));
    }
    // The order in which they are named is not that in which they run.
    nodes.reverse();
    garden.enqueue(nodes).await?;
    Ok(())
}

async fn compare(
    garden: &mut Garden,
    model: &mut Model,
    seed: u64,
    step: usize,
) -> anyhow::Result<()> {
    for node in 0..NODES {
        let found = garden.state(&name(node)).await?;
        assert_eq!(
            found, model.states[node],
            "seed {seed}, step {step}, node {node}"
        );
    }
    garden.claim_all().await?;
    for state in &mut model.states {
        if *state == JobState::Queued {
            *state = JobState::Running;
        }
    }
    Ok(())
}

/// One thing that happens; nothing when nothing more can.
async fn act(
    garden: &mut Garden,
    model: &mut Model,
    dice: &mut Dice,
) -> anyhow::Result<Option<()>> {
    let chance = dice.below(10);
    if chance < 2 {
        let retried = |state| {
            matches!(
                state,
                JobState::Failed | JobState::Cancelled | JobState::Skipped | JobState::Quarantined
            )
        };
        if let Some(node) = model.pick(dice, retried) {
            garden.hive.retry(garden.id(&name(node)), 0).await?;
            model.retry(node);
            return Ok(Some(()));
        }
    }
    if chance == 2
        && let Some(node) = model.pick(dice, |state| !state.is_terminal())
    {
        garden.hive.cancel(garden.id(&name(node))).await?;
        model.end(node, JobState::Cancelled);
        return Ok(Some(()));
    }
    let Some(node) = model.pick(dice, |state| state == JobState::Running) else {
        return Ok(None);
    };
    model.left[node] = dice.below(2) == 0;
    let artifact = if model.left[node] { "x" } else { "y" };
    garden.leave(&name(node), artifact).await?;
    let state = [
        JobState::Done,
        JobState::Done,
        JobState::Failed,
        JobState::Quarantined,
    ];
    let state = state[dice.below(4)];
    garden.end(&name(node), state).await?;
    model.end(node, state);
    Ok(Some(()))
}
