//! Every crash point, once: the engine dies there, and the next one finishes the job.

use super::site::Site;
use skep_testkit::{Backend, TestStore, on_both_engines};
use skep_types::{AttemptState, MicroUsd};
use std::collections::BTreeSet;

/// The list that people read; the build holds it against the sources.
const LISTED: &str = include_str!("../../../../docs/reference/crash-points.md");

/// How many attempts a job has whose engine died while its worker was at it.
const LOST: usize = 2;
/// How many it has when the worker had ended.
const KEPT: usize = 1;

macro_rules! points {
    ($($name:ident: $point:literal, $worker:literal, $attempts:ident;)+) => {
        $(async fn $name(store: TestStore) -> anyhow::Result<()> {
            survives(&store, $point, $worker, $attempts).await
        })+
        on_both_engines!($($name),+);
        const TRIED: &[&str] = &[$($point),+];
    };
}

points! {
    attempt_prepared: "attempt.prepared", "noter", LOST;
    attempt_started: "attempt.started", "noter", LOST;
    attempt_imported: "attempt.imported", "noter", LOST;
    artifact_kept: "artifact.kept", "noter", LOST;
    attempt_recorded: "attempt.recorded", "noter", KEPT;
    verify_gathered: "verify.gathered", "noter", KEPT;
    verify_concluded: "verify.concluded", "noter", KEPT;
    landing_intended: "landing.intended", "noter", KEPT;
    landing_swapped: "landing.swapped", "noter", KEPT;
    landing_synced: "landing.synced", "noter", KEPT;
    landing_recorded: "landing.recorded", "noter", KEPT;
    delivery_begun: "delivery.begun", "noter", KEPT;
    delivery_written: "delivery.written", "noter", KEPT;
    call_admitted: "call.admitted", "call", LOST;
    call_answered: "call.answered", "call", LOST;
    call_recorded: "call.recorded", "call", KEPT;
    shell_prepared: "shell.prepared", "shell", LOST;
    shell_started: "shell.started", "shell", LOST;
    shell_ended: "shell.ended", "shell", LOST;
    shell_recorded: "shell.recorded", "shell", KEPT;
    gateway_admitted: "gateway.admitted", "loop", LOST;
    gateway_admitted_later: "gateway.admitted:2", "loop", LOST;
    gateway_settling: "gateway.settling", "loop", LOST;
    gateway_settling_later: "gateway.settling:2", "loop", LOST;
}

async fn survives(
    store: &TestStore,
    point: &str,
    worker: &str,
    attempts: usize,
) -> anyhow::Result<()> {
    let site = Site::new(store)?;
    let job = site.submit(worker, 1).await?;
    site.die_at(point).await?;
    let view = site.finish(&[job]).await?.remove(0);
    assert_eq!(view.attempts.len(), attempts, "{:#?}", view.attempts);
    let mut states: Vec<_> = view.attempts.iter().map(|attempt| attempt.state).collect();
    assert_eq!(states.pop(), Some(AttemptState::Succeeded));
    assert!(
        states.iter().all(|state| *state == AttemptState::Lost),
        "{states:?}"
    );
    if worker == "shell" {
        assert_eq!(view.budget_micro_usd, None, "a command pays nobody");
        return Ok(());
    }
    // What a call that nobody saw the end of may have cost is held, not forgotten.
    let sums = site.sums(&view.id).await?;
    let held = sums.reserved.saturating_add(sums.unconfirmed);
    let is_held = held > MicroUsd::ZERO;
    let is_unseen =
        point.starts_with("gateway.") || ["call.admitted", "call.answered"].contains(&point);
    assert_eq!(is_held, is_unseen, "{sums:?}");
    assert!(Some(sums.total()) <= view.budget_micro_usd, "{sums:?}");
    if store.backend == Backend::Sqlite {
        // Nobody else can have made the call, so that its end is known to be unknown.
        assert_eq!(sums.unconfirmed, held);
        assert_eq!(view.unconfirmed_micro_usd, held);
    }
    Ok(())
}

mod every {
    use super::*;

    on_both_engines!(one_job_outlives_a_death_at_each);

    /// The engine of one job dies at every point, one after another.
    async fn one_job_outlives_a_death_at_each(store: TestStore) -> anyhow::Result<()> {
        let site = Site::new(&store)?;
        let job = site.submit("noter", 1).await?;
        let deaths: Vec<_> = TRIED
            .iter()
            .filter(|p| {
                !["gateway.", "call.", "shell."]
                    .iter()
                    .any(|of| p.starts_with(of))
            })
            .collect();
        for point in &deaths {
            site.die_at(point).await?;
        }
        let view = site.finish(&[job]).await?.remove(0);
        // Four of the deaths came while a worker was at it.
        assert_eq!(view.attempts.len(), 5, "{:#?}", view.attempts);
        assert_eq!(view.verdicts.len(), 1, "{:#?}", view.verdicts);
        Ok(())
    }
}

/// Points that no job passes: the suites of `data` and of topics die there.
const TRIED_ELSEWHERE: &[&str] = &["archive.loaded", "effect.started", "effect.performed"];

#[test]
fn every_listed_point_is_tried() {
    let rows = LISTED.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<_> = rows.filter_map(|row| row.split('`').next()).collect();
    let tried: BTreeSet<_> = TRIED
        .iter()
        .chain(super::schedule::TRIED)
        .chain(super::plan::TRIED)
        .chain(TRIED_ELSEWHERE)
        .filter_map(|point| point.split(':').next())
        .collect();
    assert_eq!(listed, tried);
}
