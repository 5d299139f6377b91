//! Links that come and go, over and over, while there is always work: for less than a lease, and
//! for longer. More cuts, and those that take a real lease, with `SKEP_NODES_CUTS`, as
//! `cargo xtask chaos nodes` asks for.

use super::link::{WORKER, at_work, on};
use super::site::{Site, WAIT_S};
use anyhow::Context as _;
use skep_api::EventStream;
use skep_stdx::{Entropy as _, OsEntropy, SeededEntropy};
use skep_types::JobId;
use std::time::Duration;

/// The variable that says how many cuts; for more than the suite makes there is time.
const CUTS_VARIABLE: &str = "SKEP_NODES_CUTS";
/// Cuts where nothing is asked for.
const CUTS: u32 = 2;
/// Jobs that are submitted before each cut.
const JOBS_A_CUT: u32 = 2;
/// Events that are waited for at most before a cut, and while it lasts: most of a job's.
const EVENTS_MAX: u64 = 12;
/// How long the next event is waited for, in milliseconds: where none comes, nobody can work.
const EVENT_MS: u64 = 1_000;
/// The variable that repeats a run.
const SEED_VARIABLE: &str = "SKEP_TEST_SEED";

fn cuts() -> anyhow::Result<Option<u32>> {
    let cuts = std::env::var(CUTS_VARIABLE).ok();
    let cuts = cuts.map(|text| text.parse()).transpose();
    cuts.with_context(|| format!("{CUTS_VARIABLE} is not a number"))
}

struct Dice(SeededEntropy);

impl Dice {
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

/// Lets some events happen, fewer where nobody can work.
async fn some(events: &mut EventStream, count: u64) -> anyhow::Result<()> {
    for _ in 0..count {
        match tokio::time::timeout(Duration::from_millis(EVENT_MS), events.next()).await {
            Ok(next) => drop(next?.context("the stream ended")?),
            Err(_) => break,
        }
    }
    Ok(())
}

/// Waits until another node has taken back what the one that is cut off held.
async fn taken_back(events: &mut EventStream, mut held: u64) -> anyhow::Result<()> {
    while held > 0 {
        let next = tokio::time::timeout(Duration::from_secs(WAIT_S), events.next()).await;
        let event = next.with_context(|| format!("{held} claims were not taken back"))??;
        let event = event.context("the stream ended")?;
        held -= u64::from(event.kind == "lease_lost");
    }
    Ok(())
}

#[test]
fn a_link_that_comes_and_goes_loses_no_work() {
    on(&["elm", "oak", "ash"], async |site| {
        let (seed, cuts) = (seed()?, cuts()?.unwrap_or(CUTS));
        println!("{SEED_VARIABLE}={seed}");
        let (lost, lapsed) = flap(site, &Dice(SeededEntropy::new(seed)), cuts)
            .await
            .with_context(|| format!("{SEED_VARIABLE}={seed}"))?;
        let jobs = cuts * JOBS_A_CUT;
        let note = format!(
            "{lapsed} longer than a lease, over {jobs} jobs; {lost} attempts lost and made again; \
             {SEED_VARIABLE}={seed}"
        );
        let name = "cuts of one of two workers";
        crate::figure::tell(name, (f64::from(cuts), "cuts"), None, &note)
    });
}

/// Cuts one of two workers off, `cuts` times; the answer is how many attempts were lost, and how
/// many cuts lasted for longer than a lease.
async fn flap(site: &Site, dice: &Dice, cuts: u32) -> anyhow::Result<(usize, u32)> {
    let elm = site.up("elm", &["--role", "engine"]).await?;
    let workers = [site.up("oak", WORKER).await?, site.up("ash", WORKER).await?];
    let mut events = elm.client().event_stream(0, None).await?;
    let mut jobs: Vec<JobId> = Vec::new();
    let mut lapsed = 0;
    for cut in 0..cuts {
        for number in 1..=JOBS_A_CUT {
            let number = cut * JOBS_A_CUT + number;
            jobs.push(site.submit(&elm, "noter", number).await?);
        }
        let name = ["oak", "ash"][usize::from(dice.upto(1) == 1)];
        some(&mut events, dice.upto(EVENTS_MAX)).await?;
        site.cut(name)?;
        some(&mut events, dice.upto(EVENTS_MAX)).await?;
        if dice.upto(1) == 1 {
            let held = site.let_leases_lapse(name).await?;
            taken_back(&mut events, held).await?;
            lapsed += 1;
            some(&mut events, dice.upto(EVENTS_MAX)).await?;
        }
        site.join(name)?;
    }
    let views = site.finish(&elm, &jobs).await?;
    for engine in workers {
        engine.stop().await?;
    }
    elm.stop().await?;
    let lost = views.iter().map(|view| view.attempts.len() - 1).sum();
    Ok((lost, lapsed))
}

/// Takes a real lease, so only where there is time: nobody tells a node that is cut off that its
/// claims are over, and it ends what it runs all the same, at about the time when others may begin.
#[test]
fn a_machine_that_stays_cut_off_ends_what_it_runs() {
    on(&["elm", "oak"], async |site| {
        if cuts()?.is_none_or(|cuts| cuts <= CUTS) {
            return Ok(());
        }
        let elm = site.up("elm", &["--role", "engine"]).await?;
        let oak = site.up("oak", WORKER).await?;
        let door = site.close("oak", "work-1")?;
        let jobs = [site.submit(&elm, "noter", 1).await?];
        let held = at_work(&elm, &door, &jobs[0]).await?;
        site.cut("oak")?;
        oak.says("what runs here is ended").await?;
        site.assert_no_process().await?;
        drop(held);
        // Nobody else works, so the machine itself does it when it can.
        site.join("oak")?;
        let again = door.visitor().await?;
        drop(again);
        let views = site.finish(&elm, &jobs).await?;
        anyhow::ensure!(views[0].attempts.len() == 2, "{views:#?}");
        oak.stop().await?;
        elm.stop().await
    });
}
