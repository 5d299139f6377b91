//! Asking for a job, once.

use crate::error::EnqueueError;
use crate::event::{JobQueued, record};
use crate::limits::{ATTEMPTS_MAX, DIGEST_BYTES_MAX, NAME_BYTES_MAX};
use skep_db::{Tx, params};
use skep_types::{JobId, JobKind, JobState, Purpose, Tier};

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
    /// The greater number goes first.
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

/// Enqueues a job, or finds the one that an earlier request with the same key made.
pub async fn enqueue(tx: &mut Tx<'_>, new: &NewJob) -> Result<Enqueued, EnqueueError> {
    validate(new)?;
    if let Some(key) = &new.idempotency_key
        && let Some(earlier) = earlier_job(tx, new, key).await?
    {
        return Ok(earlier);
    }
    let now = tx.now_ms().await?;
    let run_at_ms = new.run_at_ms.unwrap_or(now);
    let sql = "INSERT INTO job (id, kind, purpose, owner, project, tier, priority, state,
            run_at_ms, attempts_used, attempts_max, losses, parent, created_at_ms, changed_at_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, ?10, 0, ?11, ?12, ?12)
        RETURNING number";
    let state = JobState::Queued;
    let row = tx
        .query_one(
            sql,
            params![
                new.id.as_str(),
                new.kind.as_str(),
                new.purpose.as_str(),
                &new.owner,
                &new.project,
                new.tier.as_str(),
                new.priority,
                state.as_str(),
                run_at_ms,
                new.attempts_max,
                new.parent.as_ref().map(JobId::as_str),
                now,
            ],
        )
        .await?;
    let number = row.get("number")?;
    let event = JobQueued {
        number,
        kind: new.kind,
        purpose: new.purpose,
        tier: new.tier,
        priority: new.priority,
        run_at_ms,
        attempts_max: new.attempts_max,
        parent: new.parent.clone(),
    };
    record(tx, &new.id, &event).await?;
    Ok(Enqueued {
        id: new.id.clone(),
        number,
        state,
        created: true,
    })
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

fn validate(new: &NewJob) -> Result<(), EnqueueError> {
    let refuse = |field, reason| Err(EnqueueError::Invalid { field, reason });
    for (field, text) in [
        ("owner", Some(&new.owner)),
        ("project", Some(&new.project)),
        ("idempotency_key", new.idempotency_key.as_ref()),
    ] {
        let Some(text) = text else { continue };
        if text.is_empty() || text.len() > NAME_BYTES_MAX || text.contains('\0') {
            return refuse(field, "must hold 1 to 200 bytes of text");
        }
    }
    if !(1..=ATTEMPTS_MAX).contains(&new.attempts_max) {
        return refuse("attempts_max", "must be from 1 to 1000");
    }
    if new.idempotency_digest.len() > DIGEST_BYTES_MAX {
        return refuse("idempotency_digest", "must not be longer than 64 bytes");
    }
    Ok(())
}
