//! `skep job`: look at jobs, cancel them, try them again.

use super::{Session, amount};
use crate::account;
use crate::cli::{Job, JobList, JobRetry};
use crate::failure::{Exit, Failure};
use crate::output::table_columns;
use crate::reach::Reach;
use crate::table::{Align, Cell, Table};
use skep_api::{JobSubmitted, JobSummary, Page, RetryRequest};
use skep_director::JobQuery;
use skep_stdx::{Clock as _, SystemClock};
use skep_types::JobState;

/// Runs one of the commands.
pub(crate) async fn job(session: &Session, command: &Job) -> Result<Exit, Failure> {
    match command {
        Job::List(arguments) => list(session, arguments).await?,
        Job::Show(arguments) => {
            let job = session.reach().await?.job(&arguments.job).await?;
            if session.printer.json() {
                session.printer.document(&job)?;
            } else {
                account::print(&session.printer, &job)?;
            }
        }
        Job::Result(arguments) => return result(session, &arguments.job).await,
        Job::Log(arguments) => {
            let reach = session.reach().await?;
            let log = reach
                .job_log(&arguments.job, arguments.attempt.as_deref())
                .await?;
            if session.printer.json() {
                session.printer.document(&log)?;
            } else {
                if log.cut {
                    session.printer.note("(the beginning was cut)");
                }
                session.printer.foreign(&log.text)?;
            }
        }
        Job::Diff(arguments) => {
            let diff = session.reach().await?.job_diff(&arguments.job).await?;
            if session.printer.json() {
                session.printer.document(&diff)?;
            } else {
                session.printer.foreign(&diff.diff)?;
                if !diff.diff.is_empty() && !diff.diff.ends_with('\n') {
                    // A patch that ends in the middle of a line is none.
                    session.printer.line("")?;
                }
            }
        }
        Job::Cancel(arguments) => {
            let reach = session.reach().await?;
            let job = if arguments.tree {
                reach.cancel_tree(&arguments.job).await?
            } else {
                reach.cancel(&arguments.job).await?
            };
            print_changed(session, &reach, &job)?;
        }
        Job::Retry(arguments) => retry(session, arguments).await?,
    }
    Ok(Exit::Done)
}

/// What came of a job and nothing else; the exit code says whether it is done.
async fn result(session: &Session, job: &str) -> Result<Exit, Failure> {
    let job = session.reach().await?.job(job).await?;
    let answer = job.call.as_ref().and_then(|call| call.answer.as_ref());
    let run = job.shell.as_ref().and_then(|shell| shell.run.as_ref());
    let none = || {
        Failure::not_found(
            "result_missing",
            format!(
                "job {} has no result: it {}",
                job.number,
                account::outcome(&job)
            ),
            format!("`skep job show {}` says where it stands", job.number),
        )
    };
    match (answer, run, &job.contract) {
        (Some(answer), _, _) if session.printer.json() => session.printer.document(answer)?,
        (Some(answer), _, _) => account::print_answer(&session.printer, answer)?,
        (None, Some(run), _) if session.printer.json() => session.printer.document(run)?,
        (None, Some(run), _) => account::print_run(&session.printer, &job, run)?,
        (None, None, Some(contract)) => session.printer.document(contract)?,
        (None, None, None) => return Err(none()),
    }
    Ok(if job.state == JobState::Done {
        Exit::Done
    } else {
        Exit::Unsuccessful
    })
}

async fn retry(session: &Session, arguments: &JobRetry) -> Result<(), Failure> {
    let request = RetryRequest {
        budget_micro_usd: amount(arguments.budget_usd)?,
    };
    let reach = session.reach().await?;
    let job = reach.retry(&arguments.job, request).await?;
    print_changed(session, &reach, &job)
}

/// Says where a job is that was changed.
pub(super) fn print_changed(
    session: &Session,
    reach: &Reach,
    job: &JobSubmitted,
) -> Result<(), Failure> {
    if session.printer.json() {
        return session.printer.document(job);
    }
    session
        .printer
        .line(&format!("job {} is {}", job.number, job.state))?;
    if !reach.has_holder() && !job.state.is_terminal() {
        session
            .printer
            .note("nobody runs this home: it waits for the next `skep up` or `skep run`");
    }
    Ok(())
}

async fn list(session: &Session, arguments: &JobList) -> Result<(), Failure> {
    let query = JobQuery {
        states: arguments.state.clone(),
        project: arguments.project.clone(),
        cursor: arguments.page.cursor.clone(),
        limit: arguments.page.limit,
    };
    let page = match session.reach().await {
        Ok(reach) => reach.jobs(query).await?,
        // A home that nobody has made holds no jobs, which is what a list says best.
        Err(Failure::Shown(body)) if body.code == "home_not_found" => Page {
            items: Vec::new(),
            next_cursor: None,
        },
        Err(failure) => return Err(failure),
    };
    if session.printer.json() {
        return session.printer.document(&page);
    }
    if page.items.is_empty() {
        session.printer.note("no jobs");
        return Ok(());
    }
    let table = table(&page.items, SystemClock.now_ms());
    for line in table.lines(&session.printer, table_columns()) {
        session.printer.line(&line)?;
    }
    if let Some(cursor) = &page.next_cursor {
        session
            .printer
            .note(&format!("more with `--cursor {cursor}`"));
    }
    Ok(())
}

fn table(jobs: &[JobSummary], now_ms: i64) -> Table<'static> {
    let mut table = Table::new(&[
        ("JOB", Align::Right),
        ("STATE", Align::Left),
        ("AGE", Align::Right),
        ("COST", Align::Right),
        ("WORKER", Align::Left),
        ("TASK", Align::Flexible),
    ]);
    for job in jobs {
        table.row(vec![
            job.number.to_string().into(),
            Cell::toned(job.state.as_str(), account::tone_of(job.state)),
            age(now_ms - job.created_at).into(),
            job.cost_micro_usd.to_string().into(),
            crate::output::cut(&job.worker, WORKER_COLUMNS_MAX).into(),
            task(job).into(),
        ]);
    }
    table
}

/// What a job is to do; before that why it does not do it, where it waits for others.
fn task(job: &JobSummary) -> String {
    let waits = matches!(job.state, JobState::Blocked | JobState::Skipped);
    match job.state_reason.as_deref().filter(|_| waits) {
        Some(reason) => format!("[{reason}] {}", job.title),
        None => job.title.clone(),
    }
}

/// The widest name of a worker in the list, in columns: the task needs the room.
const WORKER_COLUMNS_MAX: usize = 20;

/// How long ago, in one unit.
pub(super) fn age(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let ages = [-5, 59_999, 60_000, 7_200_000, 86_400_000 * 3].map(age);
        assert_eq!(ages, ["0s", "59s", "1m", "2h", "3d"]);
    }
}
