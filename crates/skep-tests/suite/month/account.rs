//! The month in figures: what the plan and the replay's own watch say, and what the store says
//! when it is asked in SQL. They are to be equal, name by name.

use super::mix::SORTS;
use super::plan::{Ends, Plan, PlannedJob};
use super::replay::SeenJob;
use skep_db::{Db, DbError, Tx};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One kind of job.
pub(super) struct Row {
    name: &'static str,
    jobs: i64,
    done: i64,
    retries: i64,
    median_wait_ms: i64,
}

type Figures = BTreeMap<String, i64>;

fn add(figures: &mut Figures, name: String, value: i64) {
    *figures.entry(name).or_default() += value;
}

/// What the plan says, with what only the replay could see: waits and lost runs.
pub(super) fn planned(plan: &Plan, seen: &[SeenJob]) -> Figures {
    let mut figures = Figures::new();
    for (job, seen) in plan.jobs.iter().zip(seen) {
        let sort = &SORTS[job.sort];
        let state = if job.succeeds() { "done" } else { "failed" };
        let kind = sort.kind.as_str();
        add(&mut figures, format!("{} {kind} {state}", sort.backend), 1);
        add(
            &mut figures,
            format!("hour {:02}", job.at_ms / 3_600_000 % 24),
            1,
        );
        let wait = seen.waited_ms.unwrap_or(-1);
        add(&mut figures, format!("{} waited ms", sort.backend), wait);
        add_runs(&mut figures, sort.backend, job, seen);
    }
    for (place, sort) in SORTS.iter().enumerate() {
        let name = format!("{} median wait ms", sort.backend);
        if let Some(median) = median(waits(plan, seen, place)) {
            figures.insert(name, median);
        }
    }
    figures
}

fn add_runs(figures: &mut Figures, backend: &str, job: &PlannedJob, seen: &SeenJob) {
    let mut run = |state: &str, failure: &str, length: i64, counts: bool| {
        add(figures, format!("{backend} runs {state} {failure}"), 1);
        add(figures, format!("{backend} ms {state} {failure}"), length);
        add(
            figures,
            format!("{backend} attempts used"),
            i64::from(counts),
        );
    };
    for tried in &job.tries {
        match tried.ends {
            Ends::Well => run("succeeded", "-", tried.run_ms, true),
            Ends::Passing(class) | Ends::Lasting(class) => {
                run("failed", class.as_str(), tried.run_ms, true);
            }
            Ends::Limited { .. } => run("failed", "rate_limit", tried.run_ms, false),
        }
    }
    for length in &seen.lost_ms {
        run("lost", "lease_lost", *length, false);
    }
}

fn waits(plan: &Plan, seen: &[SeenJob], sort: usize) -> Vec<i64> {
    let of_sort = plan
        .jobs
        .iter()
        .zip(seen)
        .filter(|(job, _)| job.sort == sort);
    of_sort.filter_map(|(_, seen)| seen.waited_ms).collect()
}

/// The lower of the two in the middle.
fn median(mut values: Vec<i64>) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

/// What the store says.
pub(super) async fn stored(db: &Db) -> anyhow::Result<Figures> {
    let figures = db
        .read("account", async |tx: &mut Tx<'_>| {
            let mut figures = Figures::new();
            for sql in FIGURES {
                for row in tx.query(sql, &[]).await? {
                    let name: String = row.get("name")?;
                    add(&mut figures, name, row.get("value")?);
                }
            }
            Ok::<_, DbError>(figures)
        })
        .await?;
    Ok(figures)
}

const FIGURES: [&str; 7] = [
    "SELECT backend || ' ' || kind || ' ' || state AS name, COUNT(*) AS value
        FROM job_all GROUP BY backend, kind, state",
    "SELECT 'hour ' || CASE WHEN created_at_ms / 3600000 % 24 < 10 THEN '0' ELSE '' END
            || CAST(created_at_ms / 3600000 % 24 AS TEXT) AS name, COUNT(*) AS value
        FROM job_all GROUP BY created_at_ms / 3600000 % 24",
    "SELECT j.backend || ' runs ' || a.state || ' ' || COALESCE(a.failure, '-') AS name,
            COUNT(*) AS value
        FROM attempt a JOIN job_all j ON j.id = a.job_id GROUP BY j.backend, a.state, a.failure",
    "SELECT j.backend || ' ms ' || a.state || ' ' || COALESCE(a.failure, '-') AS name,
            CAST(SUM(a.ended_at_ms - a.started_at_ms) AS BIGINT) AS value
        FROM attempt a JOIN job_all j ON j.id = a.job_id GROUP BY j.backend, a.state, a.failure",
    "SELECT backend || ' attempts used' AS name, CAST(SUM(attempts_used) AS BIGINT) AS value
        FROM job_all GROUP BY backend",
    "SELECT j.backend || ' waited ms' AS name,
            CAST(SUM(f.started_at_ms - j.created_at_ms) AS BIGINT) AS value
        FROM job_all j JOIN (SELECT job_id, MIN(started_at_ms) AS started_at_ms FROM attempt
            GROUP BY job_id) f ON f.job_id = j.id
        GROUP BY j.backend",
    "SELECT backend || ' median wait ms' AS name, wait AS value FROM (
            SELECT j.backend AS backend, f.started_at_ms - j.created_at_ms AS wait,
                ROW_NUMBER() OVER (PARTITION BY j.backend
                    ORDER BY f.started_at_ms - j.created_at_ms) AS place,
                COUNT(*) OVER (PARTITION BY j.backend) AS among
            FROM job_all j JOIN (SELECT job_id, MIN(started_at_ms) AS started_at_ms FROM attempt
                GROUP BY job_id) f ON f.job_id = j.id) AS waits
        WHERE place = (among + 1) / 2",
];

/// A row for each kind of job.
pub(super) fn rows(plan: &Plan, seen: &[SeenJob]) -> Vec<Row> {
    let of_sort = |place| {
        plan.jobs
            .iter()
            .zip(seen)
            .filter(move |(job, _)| job.sort == place)
    };
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    SORTS
        .iter()
        .enumerate()
        .map(|(place, sort)| {
            let runs = of_sort(place).map(|(job, seen)| job.tries.len() + seen.lost_ms.len() - 1);
            Row {
                name: sort.name,
                jobs: count(of_sort(place).count()),
                done: count(of_sort(place).filter(|(job, _)| job.succeeds()).count()),
                retries: count(runs.sum()),
                median_wait_ms: median(waits(plan, seen, place)).unwrap_or(0),
            }
        })
        .collect()
}

/// The rows and their sum.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<16}{:>8}{:>8}{:>8}{:>9}{:>17}\n",
        "KIND", "JOBS", "DONE", "FAILED", "RETRIES", "MEDIAN WAIT (s)"
    );
    let mut line = |name: &str, jobs: i64, done: i64, retries: i64, wait: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{name:<16}{jobs:>8}{done:>8}{:>8}{retries:>9}{wait:>17}",
            jobs - done
        );
    };
    for row in rows {
        let (seconds, tenths) = (row.median_wait_ms / 1_000, row.median_wait_ms % 1_000 / 100);
        let wait = format!("{seconds}.{tenths}");
        line(row.name, row.jobs, row.done, row.retries, wait);
    }
    let sum = |of: fn(&Row) -> i64| rows.iter().map(of).sum();
    line(
        "all",
        sum(|r| r.jobs),
        sum(|r| r.done),
        sum(|r| r.retries),
        String::new(),
    );
    text
}
