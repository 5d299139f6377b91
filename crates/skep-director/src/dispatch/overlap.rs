//! Scopes of live builders: two of one repository never overlap.

use crate::error::DirectorError;
use crate::limits::PAGE_MAX;
use crate::record::Dispatch;
use skep_db::Tx;
use skep_queue::JobFilter;
use skep_types::{JobKind, JobState, Role, Scope};

/// Two live builders never hold overlapping scopes of one repository.
pub(crate) async fn refuse_overlap(
    tx: &mut Tx<'_>,
    record: &Dispatch,
) -> Result<(), DirectorError> {
    if record.role != Role::Builder {
        return Ok(());
    }
    // Two transactions would not see each other's job; the second waits here for the first.
    tx.query_one("SELECT one FROM scope_gate WHERE one = 1 /*lock*/", &[])
        .await?;
    let scope = scope_of(record)?;
    let live: Vec<JobState> = JobState::ALL
        .iter()
        .copied()
        .filter(|s| !s.is_terminal())
        .collect();
    let filter = JobFilter {
        states: live,
        ..JobFilter::default()
    };
    let mut cursor = None;
    let mut jobs = Vec::new();
    loop {
        let page = skep_queue::jobs(tx, &filter, cursor, PAGE_MAX).await?;
        jobs.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    for job in jobs {
        // Only an agent's job holds a scope; every other kind changes nothing.
        if job.id == record.job || job.kind != JobKind::Agent {
            continue;
        }
        let other = crate::record::dispatch(tx, &job.id).await?;
        if other.vault != record.vault || other.role != Role::Builder {
            continue;
        }
        if scope_of(&other)?.overlaps(&scope) {
            return Err(DirectorError::policy(
                "scope_overlap",
                format!(
                    "job {} already works inside {} of this repository",
                    job.number,
                    other.scope.join(", ")
                ),
                format!(
                    "wait for it (`skep job show {}`), cancel it, or give a --scope apart from it",
                    job.number
                ),
            ));
        }
    }
    Ok(())
}

fn scope_of(record: &Dispatch) -> Result<Scope, DirectorError> {
    Scope::parse(&record.scope).map_err(|error| {
        DirectorError::usage(
            "bad_scope",
            error.to_string(),
            error.hint().unwrap_or_default(),
        )
    })
}
