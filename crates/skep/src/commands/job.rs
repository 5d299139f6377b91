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
            let job = reach.cancel(&arguments.job).await?;
            print_changed(session, &reach, &job)?;
        }
        Job::Retry(arguments) => retry(session, arguments).await?,
    }
    Ok(Exit::Done)
}

async fn retry(session: &Session, arguments: &JobRetry) -> Result<(), Failure> {
    let request = RetryRequest {
        budget_micro_usd: amount(arguments.budget_usd)?,
    };
    let reach = session.reach().await?;
    let job = reach.retry(&arguments.job, request).await?;
    print_changed(session, &reach, &job)
}

fn print_changed(session: &Session, reach: &Reach, job: &JobSubmitted) -> Result<(), Failure> {
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
            job.title.as_str().into(),
        ]);
    }
    table
}

/// The widest name of a worker in the list, in columns: the task needs the room.
const WORKER_COLUMNS_MAX: usize = 20;

/// How long ago, in one unit.
fn age(ms: i64) -> String {
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
