//! Pre-checks: a command that says, before a model is called, whether there is anything to do. It
//! runs where checks run: inside the fence, without network, on the commit that the job would
//! start from. What it prints is kept as evidence and read by nobody.

use super::fire::{Ready, is_refusal, prepared, put_own, refusal, snapshot};
use crate::check::{LoneCommand, run_alone};
use crate::context::Context;
use crate::error::{DirectorError, describe};
use crate::limits::PRECHECK_MARGIN_MS;
use crate::record::{self, Precheck, Template};
use crate::running::Signal;
use skep_db::Tx;
use skep_queue::schedule::{self, Checked, Firing, Start};
use skep_stdx::Stopwatch;
use skep_types::{FailureClass, FiringState, ScheduleId};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The pre-checks of this process.
pub(super) struct Prechecks {
    places: Arc<Semaphore>,
    count: u32,
    signal: watch::Sender<Signal>,
}

impl Prechecks {
    pub(super) fn new(count: u32) -> Self {
        Self {
            places: Arc::new(Semaphore::new(count as usize)),
            count,
            signal: watch::channel(Signal::Go).0,
        }
    }

    /// Tells every pre-check, and waits for them up to `limit`.
    pub(super) async fn end(&self, signal: Signal, limit: Duration) {
        self.signal.send_replace(signal);
        let all = self.places.acquire_many(self.count);
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::error!("some pre-checks did not end in time; the next start runs them again");
        }
    }
}

/// One claimed pre-check.
struct Claimed {
    schedule: ScheduleId,
    slot_ms: i64,
    fence: i64,
    template: Template,
    precheck: Precheck,
    signal: watch::Receiver<Signal>,
    /// Given back when the pre-check has ended, however it does.
    _place: OwnedSemaphorePermit,
}

/// Runs the pre-check of `firing` if there is room and nobody else does.
pub(super) async fn begin(
    context: &Arc<Context>,
    prechecks: &Prechecks,
    firing: &Firing,
    now_ms: i64,
) -> Result<(), DirectorError> {
    if firing.lease_until_ms.is_some_and(|until| until > now_ms) {
        return Ok(());
    }
    let Ok(place) = Arc::clone(&prechecks.places).try_acquire_owned() else {
        return Ok(());
    };
    let found = snapshot(context, &firing.schedule).await?;
    let Some(template) = found.and_then(|found| found.template) else {
        return Ok(());
    };
    let Some(precheck) = template.precheck.clone() else {
        return Ok(());
    };
    let (id, slot_ms, node) = (
        firing.schedule.clone(),
        firing.slot_ms,
        context.node.clone(),
    );
    let lease_ms = precheck.seconds_max * 1_000 + PRECHECK_MARGIN_MS;
    let fence = context
        .db
        .write("claim a pre-check", async move |tx: &mut Tx<'_>| {
            if record::is_draining(tx, &node).await? {
                return Ok(None);
            }
            schedule::claim_check(tx, &id, slot_ms, &node, lease_ms).await
        })
        .await?;
    let Some(fence) = fence else {
        return Ok(());
    };
    skep_stdx::crash::point("schedule.check_claimed");
    let claimed = Claimed {
        schedule: firing.schedule.clone(),
        slot_ms,
        fence,
        template,
        precheck,
        signal: prechecks.signal.subscribe(),
        _place: place,
    };
    let context = Arc::clone(context);
    // The task ends by itself and reports through the database; nobody waits for its handle.
    drop(skep_stdx::spawn("precheck", async move {
        if let Err(error) = check(&context, &claimed).await {
            let schedule = &claimed.schedule;
            tracing::error!(%schedule, error = describe(&error), "a pre-check was left");
        }
        drop(claimed);
        context.db.wake(schedule::TOPIC);
    }));
    Ok(())
}

async fn check(context: &Context, claimed: &Claimed) -> Result<(), DirectorError> {
    let ready = prepared(context, &claimed.template).await?;
    let watch = Stopwatch::start();
    let log = context
        .home
        .logs()
        .join(claimed.schedule.as_str())
        .join(format!("{}-{}.log", claimed.slot_ms, claimed.fence));
    let (ready, exit_code, log) = match &ready.job {
        None => (Some(ready), None, None),
        Some(_) => {
            let ended = command(context, claimed, &ready, &log).await;
            if *claimed.signal.borrow() != Signal::Go {
                // The next start runs it again.
                return Ok(());
            }
            let shown = log.strip_prefix(context.home.shared()).unwrap_or(&log);
            let shown = shown.to_string_lossy().into_owned();
            match ended {
                Ok(exit_code) => (judge(claimed, ready, exit_code), exit_code, Some(shown)),
                Err(error) => (Some(refused(&error)), None, None),
            }
        }
    };
    skep_stdx::crash::point("schedule.checked");
    let ended = Checked {
        start: ready.as_ref().map(|ready| ready.start.clone()),
        exit_code,
        log,
        duration_ms: watch.elapsed_ms(),
    };
    match conclude(context, claimed, ended.clone(), ready).await {
        Err(error) if is_refusal(&error) => {
            let ready = refused(&error);
            let ended = Checked {
                start: Some(ready.start.clone()),
                ..ended
            };
            conclude(context, claimed, ended, Some(ready)).await
        }
        other => other,
    }
}

async fn command(
    context: &Context,
    claimed: &Claimed,
    ready: &Ready,
    log: &Path,
) -> Result<Option<i64>, DirectorError> {
    let record = ready.job.as_ref().map(|job| job.record.common());
    let record = record.as_ref();
    let vault = record.and_then(|record| record.vault.as_deref());
    let commit = record.and_then(|record| record.base_commit.as_deref());
    let seconds = u64::try_from(claimed.precheck.seconds_max).unwrap_or(0);
    let place = format!("{}-{}-{}", claimed.schedule, claimed.slot_ms, claimed.fence);
    let lone = LoneCommand {
        source: vault.map(Path::new).zip(commit),
        command: &claimed.precheck.command,
        place: context.home.attempts().join(place),
        log,
        limit: Duration::from_secs(seconds),
        signal: claimed.signal.clone(),
    };
    run_alone(context, &lone).await
}

/// What follows from the exit code.
fn judge(claimed: &Claimed, ready: Ready, exit_code: Option<i64>) -> Option<Ready> {
    let failed = |reason: String| {
        Some(Ready {
            start: Start::Refused {
                state: FiringState::Failed,
                failure: Some(FailureClass::ToolFailure),
                reason,
            },
            job: None,
        })
    };
    match exit_code {
        Some(0) => Some(ready),
        Some(code) if code == claimed.precheck.nothing_to_do => None,
        Some(code) => failed(format!("the pre-check ended with exit code {code}")),
        None => failed(format!(
            "the pre-check took longer than {} s",
            claimed.precheck.seconds_max
        )),
    }
}

fn refused(error: &DirectorError) -> Ready {
    Ready {
        start: refusal(error),
        job: None,
    }
}

/// Writes down how the pre-check ended, with the job that follows from it.
async fn conclude(
    context: &Context,
    claimed: &Claimed,
    ended: Checked,
    ready: Option<Ready>,
) -> Result<(), DirectorError> {
    let (id, slot_ms, fence) = (claimed.schedule.clone(), claimed.slot_ms, claimed.fence);
    let _turn = context.scopes.lock().await;
    context
        .db
        .write("end of a pre-check", async move |tx: &mut Tx<'_>| {
            let is_ours = schedule::checked(tx, &id, slot_ms, fence, &ended).await?;
            let job = ready.as_ref().and_then(|ready| ready.job.as_ref());
            if let Some(job) = job.filter(|_| is_ours) {
                put_own(tx, job).await?;
            }
            Ok::<_, DirectorError>(())
        })
        .await
}
