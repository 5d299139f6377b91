//! A machine's clock that is set while an engine runs, and one that goes through a change to or
//! from daylight saving time: whole engines, under a clock of their own.

use super::fake_clock::FakeClock;
use super::site::Site;
use anyhow::Context as _;
use skep_api::EventStream;
use skep_testkit::{Backend, run_on};
use skep_types::JobId;

const HOUR_S: i64 = 3_600;

/// What the clock is set to against the right time, one after the other, and the event of the last
/// job that is waited for before.
const JUMPS: [(i64, &str); 4] = [
    (-HOUR_S, "attempt_started"),
    (0, "job_claimed"),
    (HOUR_S, "attempt_ended"),
    (-2 * HOUR_S, "attempt_started"),
];

/// Waits for an event of a job; the answer is when it happened, by the engine's clock.
async fn happens(events: &mut EventStream, kind: &str, job: &JobId) -> anyhow::Result<i64> {
    loop {
        let event = events.next().await?.context("the stream ended")?;
        if event.kind == kind && event.subject == job.as_str() {
            return Ok(event.at);
        }
    }
}

/// An hour back and forth under work: nothing is lost, and no attempt is taken for dead.
#[test]
fn a_clock_that_is_set_under_work() {
    run_on(Backend::Sqlite, async |store| {
        let clock = FakeClock::new(store.folder())?;
        let site = Site::new(&store)?.under(&clock);
        let engine = site.up().await?;
        let mut events = engine.events().await?;
        let (mut jobs, mut times) = (Vec::new(), Vec::new());
        for (number, (offset_s, kind)) in (1..).zip(JUMPS) {
            let job = site.submit("noter", number).await?;
            times.push(happens(&mut events, kind, &job).await?);
            clock.set(offset_s)?;
            jobs.push(job);
        }
        let last = site.submit("noter", 9).await?;
        times.push(happens(&mut events, "job_queued", &last).await?);
        jobs.push(last);
        for (jump, pair) in JUMPS.iter().zip(times.windows(2)) {
            let shown_s = (pair[1] - times[0]) / 1_000 - jump.0;
            anyhow::ensure!((0..HOUR_S / 2).contains(&shown_s), "{jump:?}: {times:?}");
        }
        let views = site.finish_with(&engine, &jobs).await;
        let views = views.map_err(|error| site.explained(error))?;
        for view in &views {
            anyhow::ensure!(view.attempts.len() == 1, "{view:#?}");
        }
        engine.stop().await?;
        site.assert_no_process().await
    });
}

/// Three seconds before the hour that is left out, and before the one that comes twice.
#[test]
fn a_change_to_or_from_daylight_saving_time() {
    // In seconds since 1970: 29 March 2026 00:59:57 UTC, then 25 October 2026 00:59:57 UTC.
    for (start_s, cron, fired) in [
        (1_774_745_997, "0 3 * * *", 1),
        (1_792_889_997, "0 2 * * *", 0),
    ] {
        run_on(Backend::Sqlite, async move |store| {
            let clock = FakeClock::new(store.folder())?;
            clock.start_at(start_s)?;
            let site = Site::new(&store)?.under(&clock);
            site.schedule_shell(cron, "Europe/Berlin").await?;
            let engine = site.up().await?;
            let job = site.submit("noter", 1).await?;
            clock.reaches(start_s + 5).await?;
            let after = site.submit("noter", 2).await?;
            let views = site.finish_with(&engine, &[job, after]).await;
            let views = views.map_err(|error| site.explained(error))?;
            anyhow::ensure!(views.iter().all(|view| view.attempts.len() == 1));
            let firings = engine.client().firings("noting", None, None).await?.items;
            anyhow::ensure!(firings.len() == fired, "{cron}: {firings:#?}");
            engine.stop().await?;
            site.assert_no_process().await
        });
    }
}
