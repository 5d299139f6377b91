//! Giving work to free slots.

use crate::event::{JobAdvanced, JobClaimed, record};
use crate::lease::{Lease, lease_end};
use crate::limits::CLAIM_JOBS_MAX;
use crate::row::{Held, Job, live_job_columns};
use skep_db::{DbError, Tx, params};
use skep_types::{AttemptId, AttemptState, Fence, JobState, NodeId};

/// What a node has to offer.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// The node.
    pub node: NodeId,
    /// How many slots are free.
    pub slots: i64,
    /// How long each lease lasts without a heartbeat, in milliseconds.
    pub lease_ms: i64,
    /// Fresh ids for the attempts, one for each slot; no more jobs are claimed than there are.
    pub attempt_ids: Vec<AttemptId>,
}

/// One claimed job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The job as it is now.
    pub job: Job,
    /// The claim's fence.
    pub fence: Fence,
    /// The attempt, if the claim starts a worker.
    pub attempt: Option<AttemptId>,
    /// The state it was found in; a backoff that is over counts as queued.
    pub found: JobState,
}

impl Claim {
    /// What to show with every change.
    pub fn lease(&self) -> Lease {
        Lease {
            job: self.job.id.clone(),
            fence: self.fence,
        }
    }
}

/// Claims the jobs that come first: the highest priority, then the longest due, then the lowest
/// number.
///
/// A queued job or one up for rework becomes `running` with an attempt of its own; one that was
/// left in `verifying` or `landing` keeps its state and gets a lease only.
pub async fn claim(tx: &mut Tx<'_>, request: &ClaimRequest) -> Result<Vec<Claim>, DbError> {
    let ids = i64::try_from(request.attempt_ids.len()).unwrap_or(i64::MAX);
    let limit = request.slots.min(ids).clamp(0, CLAIM_JOBS_MAX);
    if limit == 0 {
        return Ok(Vec::new());
    }
    let now = tx.now_ms().await?;
    let rows = tx.query(CLAIMABLE, params![now, limit]).await?;
    let mut claims = Vec::with_capacity(rows.len());
    for (row, attempt) in rows.iter().zip(&request.attempt_ids) {
        claims.push(claim_one(tx, Job::from_row(row)?, request, attempt).await?);
    }
    Ok(claims)
}

/// Finds what comes first: `?1` is the time, `?2` how many. Its conditions are those of the index
/// `job_claimable`, word for word, so that it is used; a test looks at its plan.
pub const CLAIMABLE: &str = concat!(
    "SELECT ",
    live_job_columns!(),
    " FROM job WHERE lease_node IS NULL
    AND state IN ('queued', 'rework', 'backoff', 'verifying', 'landing')
    AND run_at_ms <= ?1 ORDER BY priority DESC, run_at_ms, number LIMIT ?2 /*skip locked*/"
);

async fn claim_one(
    tx: &mut Tx<'_>,
    mut job: Job,
    request: &ClaimRequest,
    attempt: &AttemptId,
) -> Result<Claim, DbError> {
    let now = tx.now_ms().await?;
    if job.state == JobState::Backoff {
        let event = JobAdvanced {
            from: JobState::Backoff,
            to: JobState::Queued,
            failure: job.failure,
            run_at_ms: job.run_at_ms,
            fence: None,
            lease_kept: false,
        };
        record(tx, &job.id, &event).await?;
        job.state = JobState::Queued;
    }
    let found = job.state;
    let fence = skep_authority::raise(tx, &job.id, request.node.as_str()).await?;
    let starts_attempt = found.claim_starts_attempt();
    if starts_attempt {
        job.state = JobState::Running;
    }
    let until_ms = lease_end(now, request.lease_ms);
    let sql = "UPDATE job SET state = ?2, lease_node = ?3, lease_until_ms = ?4, changed_at_ms = ?5
        WHERE id = ?1";
    let node = request.node.as_str();
    tx.execute(
        sql,
        params![job.id.as_str(), job.state.as_str(), node, until_ms, now],
    )
    .await?;
    if starts_attempt {
        let sql = "INSERT INTO attempt (id, job_id, fence, node, state, counted, leased_at_ms)
            VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)";
        let state = AttemptState::Leased.as_str();
        tx.execute(
            sql,
            params![attempt.as_str(), job.id.as_str(), fence.0, node, state, now],
        )
        .await?;
    }
    let attempt = starts_attempt.then(|| attempt.clone());
    let event = JobClaimed {
        fence,
        node: request.node.clone(),
        from: found,
        to: job.state,
        attempt: attempt.clone(),
    };
    record(tx, &job.id, &event).await?;
    job.changed_at_ms = now;
    job.held = Some(Held {
        node: request.node.clone(),
        until_ms,
    });
    Ok(Claim {
        job,
        fence,
        attempt,
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_names_every_claimable_state() {
        let named: Vec<_> = JobState::ALL
            .iter()
            .filter(|state| CLAIMABLE.contains(&format!("'{state}'")))
            .collect();
        let claimable: Vec<_> = JobState::ALL
            .iter()
            .filter(|state| state.is_claimable() || **state == JobState::Backoff)
            .collect();
        assert_eq!(named, claimable);
    }
}
