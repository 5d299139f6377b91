//! `kill -9` at random instants, over and over, while there is always work under way.

use super::site::Site;
use anyhow::Context as _;
use skep_stdx::{Entropy as _, OsEntropy, SeededEntropy};
use skep_testkit::{TestStore, on_both_engines};
use std::time::Duration;

on_both_engines!(an_engine_that_is_killed_over_and_over);

/// Jobs of one home, and engines that are killed over them.
const ROUNDS: u32 = 10;

/// How many kills in all; `cargo xtask chaos kills` asks for hundreds.
const KILLS_VARIABLE: &str = "SKEP_TEST_KILLS";

/// A job that goes straight through has this many events.
const EVENTS_MAX: u64 = 20;

/// The longest time between the last event that is waited for and the kill, in milliseconds:
/// about that between two events.
const DELAY_MS_MAX: u64 = 60;

/// The variable that repeats a run.
const SEED_VARIABLE: &str = "SKEP_TEST_SEED";

struct Dice(SeededEntropy);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    fn upto(&self, max: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % (max + 1)
    }
}

fn seed() -> anyhow::Result<u64> {
    if let Ok(text) = std::env::var(SEED_VARIABLE) {
        return text
            .parse()
            .with_context(|| format!("{SEED_VARIABLE} is not a number"));
    }
    let mut bytes = [0; 8];
    OsEntropy.fill(&mut bytes);
    Ok(u64::from_le_bytes(bytes))
}

#[expect(
    clippy::print_stdout,
    reason = "a run that failed is repeated with its seed"
)]
async fn an_engine_that_is_killed_over_and_over(store: TestStore) -> anyhow::Result<()> {
    let seed = seed()?;
    println!("{SEED_VARIABLE}={seed}");
    let dice = Dice::new(seed);
    let kills = super::long::number(KILLS_VARIABLE, ROUNDS)?;
    let (mut done, mut lost) = (0, 0);
    while done < kills {
        // A home of its own for each few, so that its history stays short.
        let fresh = TestStore::new(store.backend).await?;
        lost += kill_rounds(&fresh, &dice, ROUNDS)
            .await
            .with_context(|| format!("{SEED_VARIABLE}={seed}, after {done} kills"))?;
        done += ROUNDS;
    }
    let name = format!("kills at random instants, {}", store.backend);
    let note =
        format!("over {done} jobs; {lost} attempts lost and made again; {SEED_VARIABLE}={seed}");
    crate::figure::tell(&name, (f64::from(done), "kills"), None, &note)
}

/// Submits a job and kills an engine, `rounds` times, and then lets one finish; the answer is how
/// many attempts were lost.
async fn kill_rounds(store: &TestStore, dice: &Dice, rounds: u32) -> anyhow::Result<usize> {
    let site = Site::new(store)?;
    let mut jobs = Vec::new();
    for number in 1..=rounds {
        jobs.push(site.submit("noter", number).await?);
        let engine = site.up().await?;
        let mut events = engine.events().await?;
        // What there is already is read at once; the rest comes as it happens.
        let known = u64::from(number - 1) * EVENTS_MAX;
        let count = dice.upto(known + EVENTS_MAX);
        let some = async {
            for _ in 0..count {
                if events.next().await?.is_none() {
                    break;
                }
            }
            anyhow::Ok(())
        };
        // Where fewer events come than were thrown, the engine has nothing to do any more.
        if let Ok(read) = tokio::time::timeout(Duration::from_secs(2), some).await {
            read?;
        }
        tokio::time::sleep(Duration::from_millis(dice.upto(DELAY_MS_MAX))).await;
        engine.kill().await?;
        site.assert_no_process().await?;
    }
    let views = site.finish(&jobs).await?;
    Ok(views.iter().map(|view| view.attempts.len() - 1).sum())
}
