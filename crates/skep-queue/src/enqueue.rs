//! Asking for a job, once.

use crate::error::EnqueueError;
use crate::event::{JobPutOff, JobQueued, record};
use crate::flow::{self, Debounce, Flow};
use crate::graph;
use crate::limits::{ATTEMPTS_MAX, BATCH_JOBS_MAX, DIGEST_BYTES_MAX, NAME_BYTES_MAX, PRIORITY_MAX};
use crate::line::Line;
use skep_db::{DbError, Kind, Row, Rows, Tx, Value, params};
use skep_types::{JobId, JobKind, JobState, Purpose, Tier};
use std::collections::HashMap;

/// A job to be enqueued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// A fresh id.
    pub id: JobId,
    /// What kind of work it is.
    pub kind: JobKind,
    /// Why it is done.
    pub purpose: Purpose,
    /// Who asks for it.
    pub owner: String,
    /// What it belongs to.
    pub project: String,
    /// What its data is.
    pub tier: Tier,
    /// The greater number goes first: a point is worth
    /// [`AGEING_MS_PER_POINT`](crate::limits::AGEING_MS_PER_POINT) of waiting.
    pub priority: i64,
    /// Not claimed before this time, in milliseconds since 1970; `None` for at once.
    pub run_at_ms: Option<i64>,
    /// How many attempts may count, from 1 to [`ATTEMPTS_MAX`].
    pub attempts_max: i64,
    /// The job it is a part of.
    pub parent: Option<JobId>,
    /// What the owner calls this request, so that sending it twice makes one job.
    pub idempotency_key: Option<String>,
    /// A digest of the whole request: one key stands for one request.
    pub idempotency_digest: Vec<u8>,
    /// How it takes its turn.
    pub flow: Flow,
}

/// What became of a request for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    /// The job.
    pub id: JobId,
    /// Its number for people.
    pub number: i64,
    /// Where it stands.
    pub state: JobState,
    /// Whether this request made it; otherwise an earlier one did.
    pub created: bool,
}

/// Enqueues a job, or finds the one that an earlier request with the same key made, that is the
/// only one of its name, or that was put off by this request.
pub async fn enqueue(tx: &mut Tx<'_>, new: &NewJob) -> Result<Enqueued, EnqueueError> {
    validate(new)?;
    if let Some(key) = &new.idempotency_key
        && let Some(earlier) = earlier_job(tx, new, key).await?
    {
        return Ok(earlier);
    }
    if new.flow.singleton.is_some() || new.flow.debounce.is_some() {
        let answer = enqueue_only_one(tx, new).await?;
        if !answer.created && new.idempotency_key.is_some() {
            let sql = "UPDATE job_key SET job_id = ?3 WHERE owner = ?1 AND idempotency_key = ?2";
            let key = new.idempotency_key.as_ref();
            tx.execute_later(sql, params![&new.owner, key, answer.id.as_str()])
                .await?;
        }
        return Ok(answer);
    }
    let mut made = insert(tx, &[new]).await?;
    made.pop().ok_or_else(|| no_number().into())
}

/// Enqueues up to [`BATCH_JOBS_MAX`] jobs as [`enqueue`] would one after the other, with a few
/// statements for all that have no key and no name of their own. Answers in the same order; if
/// one is refused, none is made.
pub async fn enqueue_all(tx: &mut Tx<'_>, new: &[NewJob]) -> Result<Vec<Enqueued>, EnqueueError> {
    if new.len() > BATCH_JOBS_MAX {
        let (field, reason) = ("jobs", "must not be more than 1000 at a time");
        return Err(EnqueueError::Invalid { field, reason });
    }
    let is_plain = |job: &&NewJob| {
        job.idempotency_key.is_none() && job.flow.singleton.is_none() && job.flow.debounce.is_none()
    };
    let plain: Vec<&NewJob> = new.iter().filter(is_plain).collect();
    for job in &plain {
        validate(job)?;
    }
    let mut made = insert(tx, &plain).await?.into_iter();
    let mut answers = Vec::with_capacity(new.len());
    for job in new {
        let answer = if is_plain(&job) {
            made.next().ok_or_else(no_number)?
        } else {
            enqueue(tx, job).await?
        };
        answers.push(answer);
    }
    Ok(answers)
}

/// Writes jobs that are known to be new, with their events.
async fn insert(tx: &mut Tx<'_>, new: &[&NewJob]) -> Result<Vec<Enqueued>, EnqueueError> {
    let now = tx.now_ms().await?;
    let sql = format!("{INSERT} RETURNING id, number");
    let rows = Rows::new(&KINDS, new.iter().map(|job| values(job, now)));
    let numbers = numbers(&tx.query_rows(&sql, &rows).await?)?;
    let mut made = Vec::with_capacity(new.len());
    for job in new {
        let number = *numbers.get(job.id.as_str()).ok_or_else(no_number)?;
        made.push(queued(tx, job, number, now).await?);
    }
    graph::join(tx, new).await?;
    Ok(made)
}

/// An engine answers the rows of one statement in any order.
fn numbers(answer: &[Row]) -> Result<HashMap<String, i64>, DbError> {
    answer
        .iter()
        .map(|row| Ok((row.get("id")?, row.get("number")?)))
        .collect()
}

/// No id for a job that has ended: its id is as taken as that of a live one, and a request that
/// arrives once more after the end must not bring the job back. (Not `EXISTS`: PostgreSQL would read
/// the whole history into a hash table for that.)
const INSERT: &str = "WITH r (id, kind, purpose, owner, project, tier, priority, state, run_at_ms,
        attempts_used, attempts_max, losses, parent, created_at_ms, changed_at_ms, queue, backend,
        flow_key, flow_key_max, singleton, debounce, fence, attempt_open, lane, order_ms, line)
        AS (/*rows*/)
    INSERT INTO job (id, kind, purpose, owner, project, tier, priority, state, run_at_ms,
        attempts_used, attempts_max, losses, parent, created_at_ms, changed_at_ms, queue, backend,
        flow_key, flow_key_max, singleton, debounce, fence, attempt_open, lane, order_ms, line)
    SELECT CASE WHEN (SELECT 1 FROM job_history h WHERE h.id = r.id) IS NULL THEN id END,
        kind, purpose, owner, project, tier, priority, state, run_at_ms, attempts_used, attempts_max,
        losses, parent, created_at_ms, changed_at_ms, queue, backend, flow_key, flow_key_max,
        singleton, debounce, fence, attempt_open, lane, order_ms, line FROM r WHERE true";

const KINDS: [Kind; 26] = {
    use Kind::{Int, Text};
    [
        Text, Text, Text, Text, Text, Text, Int, Text, Int, Int, Int, Int, Text, Int, Int, Text,
        Text, Text, Int, Text, Text, Int, Int, Text, Int, Int,
    ]
};

fn values(job: &NewJob, now: i64) -> [Value; 26] {
    let run_at_ms = run_at_ms(job, now);
    let flow = &job.flow;
    [
        job.id.as_str().into(),
        job.kind.as_str().into(),
        job.purpose.as_str().into(),
        (&job.owner).into(),
        (&job.project).into(),
        job.tier.as_str().into(),
        job.priority.into(),
        JobState::Queued.as_str().into(),
        run_at_ms.into(),
        0.into(),
        job.attempts_max.into(),
        0.into(),
        job.parent.as_ref().map(JobId::as_str).into(),
        now.into(),
        now.into(),
        (&flow.queue).into(),
        flow.backend.as_ref().into(),
        flow.key.as_ref().map(|key| &key.name).into(),
        flow.key.as_ref().map(|key| key.running_max).into(),
        flow.singleton.as_ref().into(),
        flow.debounce.as_ref().map(|debounce| &debounce.name).into(),
        0.into(),
        0.into(),
        flow::lane(flow, &job.project).into(),
        flow::order_ms(run_at_ms, job.priority).into(),
        Line::of_due(run_at_ms, now).into(),
    ]
}

pub(crate) fn run_at_ms(job: &NewJob, now: i64) -> i64 {
    let asked = job.run_at_ms.unwrap_or(now);
    match &job.flow.debounce {
        Some(debounce) => asked.max(now.saturating_add(debounce.quiet_ms)),
        None => asked,
    }
}

async fn queued(tx: &mut Tx<'_>, new: &NewJob, number: i64, now: i64) -> Result<Enqueued, DbError> {
    let event = JobQueued::of(new, number, run_at_ms(new, now));
    record(tx, &new.id, &event).await?;
    Ok(Enqueued {
        id: new.id.clone(),
        number,
        state: JobState::Queued,
        created: true,
    })
}

fn no_number() -> DbError {
    DbError::Column {
        column: "number".to_owned(),
        found: "no row",
    }
}

/// Makes the job, or finds the one of its name that has not ended. Of two requests at once, the
/// second waits at the name's index for the first to commit.
async fn enqueue_only_one(tx: &mut Tx<'_>, new: &NewJob) -> Result<Enqueued, EnqueueError> {
    let now = tx.now_ms().await?;
    let row = Rows::new(&KINDS, [values(new, now)]);
    let (column, has_name, name) = match (&new.flow.singleton, &new.flow.debounce) {
        (Some(name), _) => ("singleton", "singleton IS NOT NULL", name),
        (None, Some(d)) => ("debounce", "debounce IS NOT NULL AND fence = 0", &d.name),
        (None, None) => return Err(no_number().into()),
    };
    // Only the name may be taken: an id that is must be refused, as it is everywhere else.
    let sql = format!(
        "{INSERT} ON CONFLICT (owner, {column}) WHERE {has_name} DO NOTHING RETURNING id, number"
    );
    let find = format!(
        "SELECT id, number, state, created_at_ms, run_at_ms, priority, line FROM job
        WHERE owner = ?1 AND {column} = ?2 AND {has_name} /*lock*/"
    );
    // The one that was in the way may end or start between the two statements, once or twice.
    for _ in 0..3 {
        if let Some(row) = tx.query_rows(&sql, &row).await?.pop() {
            let made = queued(tx, new, row.get("number")?, now).await?;
            graph::join(tx, &[new]).await?;
            return Ok(made);
        }
        let Some(row) = tx.query_opt(&find, params![&new.owner, name]).await? else {
            continue;
        };
        if let Some(debounce) = &new.flow.debounce {
            put_off(tx, &row, run_at_ms(new, now), debounce).await?;
        }
        return Ok(Enqueued {
            id: row.parse("id")?,
            number: row.get("number")?,
            state: row.parse("state")?,
            created: false,
        });
    }
    Err(EnqueueError::Db(DbError::Conflict {
        operation: "enqueue",
        tries: 3,
    }))
}

/// Moves the start of a debounced job to the one that was asked for now, but not beyond its longest
/// wait, and never forward: an earlier request may have asked for a later time or a longer quiet, and
/// a job that has waited its longest keeps its place in the line.
async fn put_off(
    tx: &mut Tx<'_>,
    row: &Row,
    asked_ms: i64,
    debounce: &Debounce,
) -> Result<(), DbError> {
    let id: JobId = row.parse("id")?;
    let latest = row
        .get::<i64>("created_at_ms")?
        .saturating_add(debounce.wait_max_ms);
    let run_at_ms = asked_ms.min(latest);
    let has_later = row.get::<i64>("run_at_ms")? >= run_at_ms;
    if has_later || row.get::<i64>("line")? == i64::from(Line::None) {
        return Ok(());
    }
    let now = tx.now_ms().await?;
    let sql = "UPDATE job SET run_at_ms = ?2, order_ms = ?3, line = ?4, changed_at_ms = ?5
        WHERE id = ?1";
    let order_ms = flow::order_ms(run_at_ms, row.get("priority")?);
    let line = Line::of_due(run_at_ms, now);
    tx.execute_later(sql, params![id.as_str(), run_at_ms, order_ms, line, now])
        .await?;
    record(tx, &id, &JobPutOff { run_at_ms }).await
}

/// Takes the key for this request, or finds the job that holds it. Of two requests at once, the
/// second waits here for the first to commit.
async fn earlier_job(
    tx: &mut Tx<'_>,
    new: &NewJob,
    key: &str,
) -> Result<Option<Enqueued>, EnqueueError> {
    let sql = "INSERT INTO job_key (owner, idempotency_key, digest, job_id)
        VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    let digest = &new.idempotency_digest[..];
    let taken = tx
        .execute(sql, params![&new.owner, key, digest, new.id.as_str()])
        .await?;
    if taken == 1 {
        return Ok(None);
    }
    let sql = "SELECT k.digest, k.job_id, j.number, j.state
        FROM job_key k JOIN job_all j ON j.id = k.job_id
        WHERE k.owner = ?1 AND k.idempotency_key = ?2";
    let row = tx.query_one(sql, params![&new.owner, key]).await?;
    let existing: JobId = row.parse("job_id")?;
    if row.get::<Vec<u8>>("digest")? != digest {
        return Err(EnqueueError::Conflict { existing });
    }
    Ok(Some(Enqueued {
        id: existing,
        number: row.get("number")?,
        state: row.parse("state")?,
        created: false,
    }))
}

pub(crate) fn validate(new: &NewJob) -> Result<(), EnqueueError> {
    let refuse = |field, reason| Err(EnqueueError::Invalid { field, reason });
    for (field, text) in [
        ("owner", Some(&new.owner)),
        ("project", Some(&new.project)),
        ("idempotency_key", new.idempotency_key.as_ref()),
    ] {
        let Some(text) = text else { continue };
        if text.is_empty() || text.len() > NAME_BYTES_MAX || text.contains(['\0', '\u{1f}']) {
            return refuse(field, "must hold 1 to 200 bytes of text");
        }
    }
    if !(1..=ATTEMPTS_MAX).contains(&new.attempts_max) {
        return refuse("attempts_max", "must be from 1 to 1000");
    }
    if !(-PRIORITY_MAX..=PRIORITY_MAX).contains(&new.priority) {
        return refuse("priority", "must be from -10000 to 10000");
    }
    if new.idempotency_digest.len() > DIGEST_BYTES_MAX {
        return refuse("idempotency_digest", "must not be longer than 64 bytes");
    }
    flow::validate(&new.flow)
}
