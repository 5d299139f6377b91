//! Pick-up latency: from the acknowledgement of an enqueue to the start of the job's step, with
//! arrivals at a fixed rate that wait for nobody.
//!
//! The claiming loop is the director's: it claims for its free slots, and then waits for a wake-up
//! of the queue, a freed slot or its own clock. Jobs that end while others are being finished are
//! finished together next, without waiting for more, as a worker of short jobs does.

use crate::input::Input;
use crate::lifecycle::{Caller, new_job};
use crate::spread::{Spread, float};
use crate::stand::Stand;
use serde_json::{Value, json};
use skep_db::Db;
use skep_queue::{Claim, NewJob};
use skep_stdx::Stopwatch;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// As in the director: how often the loop looks when nothing wakes it.
const POLL: Duration = Duration::from_millis(1_000);
/// Arrivals before this are not counted.
const WARM_UP: Duration = Duration::from_secs(2);
/// The most jobs that are finished in one transaction.
const FINISH_MAX: usize = 256;
/// How long jobs may take to start after the last arrival.
const DRAIN: Duration = Duration::from_secs(10);

/// When each job was asked for, acknowledged and started, in milliseconds of one stopwatch.
struct Times {
    watch: Stopwatch,
    jobs: Mutex<HashMap<String, Life>>,
}

#[derive(Default, Clone, Copy)]
struct Life {
    sent: Option<f64>,
    acknowledged: Option<f64>,
    started: Option<f64>,
}

impl Times {
    fn note(&self, job: &str, set: impl FnOnce(&mut Life, f64)) {
        let now = self.watch.elapsed().as_secs_f64() * 1e3;
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        set(jobs.entry(job.to_owned()).or_default(), now);
    }

    fn unstarted(&self) -> usize {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.values().filter(|life| life.started.is_none()).count()
    }
}

/// The part `pickup`.
pub(crate) async fn run(input: &Input) -> anyhow::Result<Value> {
    let stand = Stand::open(input.backend).await?;
    let commit_ms = stand.commit_ms().await?;
    let times = Arc::new(Times {
        watch: Stopwatch::start(),
        jobs: Mutex::default(),
    });
    let stop = Arc::new(AtomicBool::new(false));
    let engine = skep_stdx::spawn(
        "engine",
        claim_and_run(
            stand.db.clone(),
            stand.caller(input.bare),
            input.slots,
            Arc::clone(&times),
            Arc::clone(&stop),
        ),
    );
    let late_ms = arrivals(&stand.caller(input.bare), input, &times).await?;
    let waited = Stopwatch::start();
    while times.unstarted() > 0 && waited.elapsed() < DRAIN {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::Relaxed);
    stand.db.wake(skep_queue::TOPIC);
    engine.await??;
    stand.close().await?;

    let (mut after_ack, mut after_call, mut unstarted) = (Spread::default(), Spread::default(), 0);
    let warm_ms = WARM_UP.as_secs_f64() * 1e3;
    let jobs = times.jobs.lock().unwrap_or_else(PoisonError::into_inner);
    for life in jobs.values().filter(|life| life.sent >= Some(warm_ms)) {
        match (life.sent, life.acknowledged, life.started) {
            (Some(sent), Some(acknowledged), Some(started)) => {
                // A claimer may see the job before its caller is told of the commit.
                after_ack.push_ms((started - acknowledged).max(0.0));
                after_call.push_ms(started - sent);
            }
            _ => unstarted += 1,
        }
    }
    Ok(json!({
        "engine": input.engine(), "rate": input.rate, "slots": input.slots,
        "commit_ms": commit_ms, "after_ack_ms": after_ack.document(),
        "after_call_ms": after_call.document(), "unstarted": unstarted, "late_ms": late_ms,
    }))
}

/// Puts in one job after another, each in a task of its own; the answer is by how much the last
/// arrivals were late, which is the generator's own fault.
async fn arrivals(caller: &Caller, input: &Input, times: &Arc<Times>) -> anyhow::Result<f64> {
    let length = WARM_UP + Duration::from_secs(input.seconds);
    let (watch, mut sent, mut tasks) = (Stopwatch::start(), 0, JoinSet::new());
    let mut late_ms: f64 = 0.0;
    while watch.elapsed() < length {
        let due = watch.elapsed().as_secs_f64() * float(input.rate);
        while float(sent) < due {
            late_ms = late_ms.max((due - float(sent)) / float(input.rate) * 1e3);
            sent += 1;
            tasks.spawn(arrival(caller.clone(), new_job(0), Arc::clone(times)));
        }
        while let Some(ended) = tasks.try_join_next() {
            ended??;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(late_ms)
}

async fn arrival(caller: Caller, job: NewJob, times: Arc<Times>) -> anyhow::Result<()> {
    let id = job.id.as_str().to_owned();
    times.note(&id, |life, now| life.sent = Some(now));
    caller.enqueue(vec![job]).await?;
    times.note(&id, |life, now| life.acknowledged = Some(now));
    Ok(())
}

async fn claim_and_run(
    db: Db,
    caller: Caller,
    slots: i64,
    times: Arc<Times>,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let running = Arc::new(AtomicI64::new(0));
    let (free, mut freed) = watch::channel(());
    let (ended, to_finish) = mpsc::unbounded_channel();
    let finisher = skep_stdx::spawn(
        "finisher",
        finish(caller.clone(), to_finish, Arc::clone(&running), free),
    );
    let mut queue = db.listen(skep_queue::TOPIC);
    while !stop.load(Ordering::Relaxed) {
        let open = slots - running.load(Ordering::Relaxed);
        let claims = if open > 0 {
            caller.claim(open).await?
        } else {
            Vec::new()
        };
        for claim in claims {
            running.fetch_add(1, Ordering::Relaxed);
            times.note(claim.job.id.as_str(), |life, now| life.started = Some(now));
            ended.send(claim)?;
        }
        let all_taken = open > 0 && caller.left_nothing();
        tokio::select! {
            _ = queue.changed() => {}
            _ = freed.changed(), if !all_taken => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
    drop(ended);
    finisher.await?
}

/// Finishes what has ended, all of it at once, until nothing more can come.
async fn finish(
    caller: Caller,
    mut ended: mpsc::UnboundedReceiver<Claim>,
    running: Arc<AtomicI64>,
    free: watch::Sender<()>,
) -> anyhow::Result<()> {
    let mut claims = Vec::new();
    while ended.recv_many(&mut claims, FINISH_MAX).await > 0 {
        let count = i64::try_from(claims.len())?;
        caller.finish(std::mem::take(&mut claims)).await?;
        running.fetch_sub(count, Ordering::Relaxed);
        free.send_replace(());
    }
    Ok(())
}
