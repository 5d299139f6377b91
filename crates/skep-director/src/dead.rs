//! Jobs that ended without success: kept with their evidence, looked at, replayed in order,
//! dismissed. What fails the same way again and again is quarantined.
//!
//! A dead letter has the job's own identity. However often a job is replayed, what it has failed
//! with before counts, so no number of replays runs a poison job for ever.

use crate::context::Context;
use crate::error::DirectorError;
use crate::event::{self, DeadLetterDismissed, DeadLetterReplayed, DeadLetterWritten};
use crate::limits::{
    DEAD_DRAIN, DEAD_DRAIN_MAX, DEAD_EVENTS, PAGE_DEFAULT, PAGE_MAX, POISON_ATTEMPTS, REPLAYS_MAX,
};
use crate::record::{self, DeadQuery, DeadRow, DeadState};
use crate::reference::{resolve, start_over};
use crate::{account, ledger};
use skep_api::{
    ClassCount, DeadClasses, DeadLetter, DeadListQuery, DeadView, DrainRequest, Drained, EventView,
    JobSubmitted, Page,
};
use skep_db::{DbError, Tx};
use skep_queue::Job;
use skep_types::{FailureClass, JobId, JobState};

/// Where a job that cannot go on ends: `failed`, or `quarantined` when its last attempts, or its
/// last ends before this one, failed with the same class.
pub(crate) async fn last_state(
    tx: &mut Tx<'_>,
    job: &JobId,
    class: FailureClass,
) -> Result<JobState, DbError> {
    let died = record::dead(tx, job).await?;
    let same_deaths = died
        .filter(|row| row.class == class)
        .map_or(0, |row| row.in_a_row);
    let attempts = skep_queue::attempts(tx, job).await?;
    let mut counted = attempts.iter().rev().filter(|attempt| attempt.counted);
    let same_attempts = counted
        .by_ref()
        .take_while(|attempt| attempt.failure == Some(class))
        .count();
    let same_attempts = i64::try_from(same_attempts).unwrap_or(i64::MAX);
    Ok(if (same_deaths + 1).max(same_attempts) >= POISON_ATTEMPTS {
        JobState::Quarantined
    } else {
        JobState::Failed
    })
}

/// Writes the dead letter of a job that has just ended in `state`.
pub(crate) async fn write(
    tx: &mut Tx<'_>,
    job: &JobId,
    class: FailureClass,
    state: JobState,
) -> Result<(), DirectorError> {
    let Some(job) = skep_queue::job(tx, job).await? else {
        return Ok(());
    };
    let quarantined = state == JobState::Quarantined;
    let row = record::put_death(tx, &job, class, quarantined).await?;
    let written = DeadLetterWritten {
        job: row.job.clone(),
        class: class.as_str(),
        quarantined,
        deaths: row.deaths,
        in_a_row: row.in_a_row,
    };
    event::append(tx, row.job.as_str(), &written).await
}

/// Open dead letters, the newest job first.
pub(crate) async fn list(
    context: &Context,
    query: &DeadListQuery,
) -> Result<Page<DeadLetter>, DirectorError> {
    let cursor = match query.cursor.as_deref().map(str::parse::<i64>) {
        None => None,
        Some(Ok(cursor)) => Some(cursor),
        Some(Err(_)) => {
            return Err(DirectorError::usage(
                "bad_cursor",
                "the cursor is not one that a list gave out",
                "pass `next_cursor` of the page before",
            ));
        }
    };
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let query = DeadQuery {
        class: query.class,
        cursor,
        limit: limit + 1,
        oldest_first: false,
    };
    context
        .db
        .read("dead letters", async move |tx: &mut Tx<'_>| {
            let mut rows = record::dead_letters(tx, &query).await?;
            let shown = usize::try_from(limit).unwrap_or(1);
            let more = rows.len() > shown;
            rows.truncate(shown);
            let next_cursor = rows
                .last()
                .filter(|_| more)
                .map(|row| row.number.to_string());
            let mut items = Vec::with_capacity(rows.len());
            for row in rows {
                items.push(letter(tx, row).await?);
            }
            Ok(Page { items, next_cursor })
        })
        .await
}

/// How many open dead letters there are of each class, and how many have none that is understood.
pub(crate) async fn classes(context: &Context) -> Result<DeadClasses, DirectorError> {
    let counts = context
        .db
        .read("dead classes", async |tx: &mut Tx<'_>| {
            record::dead_classes(tx).await
        })
        .await?;
    let letters = counts.iter().map(|(_, letters)| letters).sum();
    let unknown = counts
        .iter()
        .find(|(class, _)| *class == FailureClass::Unknown)
        .map_or(0, |(_, letters)| *letters);
    Ok(DeadClasses {
        letters,
        unknown,
        unknown_percent: (unknown * 100).checked_div(letters).unwrap_or(0),
        classes: counts
            .into_iter()
            .map(|(class, letters)| ClassCount { class, letters })
            .collect(),
    })
}

/// One dead letter with its evidence.
pub(crate) async fn show(context: &Context, name: &str) -> Result<DeadView, DirectorError> {
    let wanted = name.to_owned();
    let letter = context
        .db
        .read("dead letter", async move |tx: &mut Tx<'_>| {
            let job = resolve(tx, &wanted).await?;
            let row = found(tx, &job).await?;
            letter(tx, row).await
        })
        .await?;
    let id = letter.job.clone();
    Ok(DeadView {
        job: account::job(context, id.as_str()).await?,
        events: last_events(context, &id).await?,
        letter,
    })
}

/// The last events about a job.
async fn last_events(context: &Context, job: &JobId) -> Result<Vec<EventView>, DirectorError> {
    let mut last: Vec<EventView> = Vec::new();
    let mut after = 0;
    loop {
        let page = ledger::events(context, after, Some(job.as_str()), PAGE_MAX).await?;
        let Some(newest) = page.last() else {
            return Ok(last);
        };
        after = newest.seq;
        last.extend(page);
        let surplus = last.len().saturating_sub(DEAD_EVENTS);
        last.drain(..surplus);
    }
}

/// Starts one dead job again.
pub(crate) async fn replay(context: &Context, name: &str) -> Result<JobSubmitted, DirectorError> {
    let name = name.to_owned();
    let _turn = context.scopes.lock().await;
    context
        .db
        .write("replay", async move |tx: &mut Tx<'_>| {
            let job = resolve(tx, &name).await?;
            let row = found(tx, &job).await?;
            may_replay(&row)?;
            replay_one(tx, &job).await
        })
        .await
}

/// Starts dead jobs again in the order in which they were asked for, up to a limit. Those that may
/// not be replayed, or whose scope is taken, are passed over and named.
pub(crate) async fn drain(
    context: &Context,
    request: DrainRequest,
) -> Result<Drained, DirectorError> {
    let limit = request.limit.unwrap_or(DEAD_DRAIN).clamp(1, DEAD_DRAIN_MAX);
    let mut query = DeadQuery {
        class: request.class,
        cursor: None,
        limit,
        oldest_first: true,
    };
    let mut drained = Drained::default();
    let room = |drained: &Drained| {
        limit.saturating_sub(i64::try_from(drained.replayed.len()).unwrap_or(i64::MAX))
    };
    while room(&drained) > 0 && drained.passed_over.len() < DEAD_PASSED_OVER_MAX {
        let rows = context
            .db
            .read("dead letters", async move |tx: &mut Tx<'_>| {
                record::dead_letters(tx, &query).await
            })
            .await?;
        let Some(last) = rows.last() else { break };
        query.cursor = Some(last.number);
        for row in rows {
            if room(&drained) == 0 {
                break;
            }
            match replay(context, row.job.as_str()).await {
                Ok(job) => drained.replayed.push(job),
                Err(DirectorError::Db(error)) => return Err(error.into()),
                Err(error) => {
                    tracing::info!(job = %row.job, reason = error.body().message, "not replayed");
                    drained.passed_over.push(row.number);
                }
            }
        }
    }
    Ok(drained)
}

/// Dead letters that one drain looks at and does not replay: a few pages of them.
const DEAD_PASSED_OVER_MAX: usize = 1_000;

/// Says that nobody needs to look at a dead job any more; the job stays as it is.
pub(crate) async fn dismiss(context: &Context, name: &str) -> Result<JobSubmitted, DirectorError> {
    let name = name.to_owned();
    context
        .db
        .write("dismiss", async move |tx: &mut Tx<'_>| {
            let job = resolve(tx, &name).await?;
            let row = found(tx, &job).await?;
            record::set_dead(tx, &row.job, DeadState::Dismissed).await?;
            let dismissed = DeadLetterDismissed {
                job: row.job.clone(),
            };
            event::append(tx, row.job.as_str(), &dismissed).await?;
            Ok(submitted(&job))
        })
        .await
}

async fn replay_one(tx: &mut Tx<'_>, job: &Job) -> Result<JobSubmitted, DirectorError> {
    start_over(tx, job).await?;
    Ok(submitted(&resolve(tx, job.id.as_str()).await?))
}

/// Counts that `job` is started again, if it is a dead one; whoever asked for it.
pub(crate) async fn replayed(tx: &mut Tx<'_>, job: &JobId) -> Result<(), DirectorError> {
    let Some(row) = record::dead(tx, job).await? else {
        return Ok(());
    };
    record::set_dead(tx, job, DeadState::Replayed).await?;
    let replayed = DeadLetterReplayed {
        job: job.clone(),
        replays: row.replays + 1,
    };
    event::append(tx, job.as_str(), &replayed).await
}

/// A job that was quarantined, or replayed often enough, is started again by a person who names it
/// and means it, and by no drain.
fn may_replay(row: &DeadRow) -> Result<(), DirectorError> {
    let number = row.number;
    let hint = format!(
        "`skep dead show {number}` has the evidence; `skep job retry {number}` starts it all the same"
    );
    if row.state == DeadState::Quarantined {
        return Err(DirectorError::policy(
            "job_quarantined",
            format!(
                "job {number} failed {} times in a row as {}",
                row.in_a_row, row.class
            ),
            hint,
        ));
    }
    if row.replays >= REPLAYS_MAX {
        return Err(DirectorError::policy(
            "replays_used_up",
            format!("job {number} was replayed {} times", row.replays),
            hint,
        ));
    }
    Ok(())
}

async fn found(tx: &mut Tx<'_>, job: &Job) -> Result<DeadRow, DirectorError> {
    record::dead(tx, &job.id)
        .await?
        .filter(|row| row.state.is_open())
        .ok_or_else(|| DirectorError::NotFound {
            noun: "dead letter",
            reference: format!("of job {}", job.number),
        })
}

async fn letter(tx: &mut Tx<'_>, row: DeadRow) -> Result<DeadLetter, DirectorError> {
    let reason = record::reason(tx, &row.job).await?;
    let job = resolve(tx, row.job.as_str()).await?;
    let instruction = record::asked(tx, &job).await?.instruction();
    let title = instruction.lines().next().unwrap_or_default();
    Ok(DeadLetter {
        job: row.job,
        number: row.number,
        kind: row.kind,
        state: job.state,
        class: row.class,
        title: title.chars().take(120).collect(),
        reason,
        deaths: row.deaths,
        in_a_row: row.in_a_row,
        replays: row.replays,
        died_at: row.died_at,
    })
}

fn submitted(job: &Job) -> JobSubmitted {
    JobSubmitted {
        id: job.id.clone(),
        number: job.number,
        state: job.state,
        warnings: Vec::new(),
    }
}
