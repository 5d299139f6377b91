//! Scopes of live builders: two of one repository that may run at the same time never overlap.

use crate::error::DirectorError;
use crate::limits::PAGE_MAX;
use crate::record::Dispatch;
use skep_db::Tx;
use skep_queue::{Job, JobFilter};
use skep_types::{JobId, JobKind, JobState, Role, Scope};
use std::collections::{BTreeSet, HashMap};

/// Refuses `records`, which were just queued, if one of them could write where another live
/// builder writes at the same time. Jobs that wait for one another may share a scope; so may
/// `records` among themselves, whoever made them has looked.
pub(crate) async fn refuse_overlap(
    tx: &mut Tx<'_>,
    records: &[&Dispatch],
) -> Result<(), DirectorError> {
    let mut builders = Vec::new();
    for record in records.iter().filter(|r| r.role == Role::Builder) {
        builders.push((*record, scope_of(record)?));
    }
    if builders.is_empty() {
        return Ok(());
    }
    // Two transactions would not see each other's job; the second waits here for the first.
    tx.query_one("SELECT one FROM scope_gate WHERE one = 1 /*lock*/", &[])
        .await?;
    let own: BTreeSet<&JobId> = records.iter().map(|record| &record.job).collect();
    let mut ordered: HashMap<&JobId, BTreeSet<JobId>> = HashMap::new();
    for job in live_jobs(tx).await? {
        // Only an agent's job holds a scope; every other kind changes nothing.
        if own.contains(&job.id) || job.kind != JobKind::Agent {
            continue;
        }
        let other = crate::record::dispatch(tx, &job.id).await?;
        if other.role != Role::Builder {
            continue;
        }
        let theirs = scope_of(&other)?;
        for (record, scope) in &builders {
            if other.vault != record.vault || !theirs.overlaps(scope) {
                continue;
            }
            if !ordered.contains_key(&record.job) {
                let with = skep_queue::graph::ordered_with(tx, &record.job).await?;
                ordered.insert(&record.job, with);
            }
            if !ordered[&record.job].contains(&job.id) {
                return Err(overlaps(&job, &other));
            }
        }
    }
    Ok(())
}

fn overlaps(job: &Job, other: &Dispatch) -> DirectorError {
    DirectorError::policy(
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
    )
}

async fn live_jobs(tx: &mut Tx<'_>) -> Result<Vec<Job>, DirectorError> {
    let live = JobState::ALL.iter().copied().filter(|s| !s.is_terminal());
    let filter = JobFilter {
        states: live.collect(),
        ..JobFilter::default()
    };
    let mut cursor = None;
    let mut jobs = Vec::new();
    loop {
        let page = skep_queue::jobs(tx, &filter, cursor, PAGE_MAX).await?;
        jobs.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(jobs);
        }
    }
}

/// Where a record lets its worker write.
pub(crate) fn scope_of(record: &Dispatch) -> Result<Scope, DirectorError> {
    parse_scope(&record.scope)
}

/// The scope that globs describe.
pub(super) fn parse_scope(globs: &[String]) -> Result<Scope, DirectorError> {
    Scope::parse(globs).map_err(|error| {
        DirectorError::usage(
            "bad_scope",
            error.to_string(),
            error.hint().unwrap_or_default(),
        )
    })
}
