//! A month simulated: 5,079 jobs of the published mix, replayed twice through the queue on a real
//! store. Prints one JSON document, with the month as a table and a row for each thing that was
//! compared; `cargo xtask chaos month` shows it.
//!
//! Usage: `month [--seed N] [--jobs N --days N] [--engine sqlite|postgres]`.
#![expect(clippy::print_stdout, reason = "a report goes to standard output")]

#[path = "../suite/month/scenario.rs"]
mod scenario;

use scenario::{Month, Outcome};
use skep_stdx::Stopwatch;
use skep_testkit::{Backend, TestStore};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let number = |name: &str, default: i64| value(name).map_or(Ok(default), |text| text.parse());
    let month = Month {
        seed: value("--seed").map_or(Ok(Month::WHOLE.seed), |text| text.parse())?,
        jobs: number("--jobs", Month::WHOLE.jobs)?,
        days: number("--days", Month::WHOLE.days)?,
    };
    let backend = match value("--engine").as_deref() {
        Some("postgres") => Backend::Postgres,
        _ => Backend::Sqlite,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(measure(backend, &month))?;
    println!("{report}");
    Ok(())
}

async fn measure(backend: Backend, month: &Month) -> anyhow::Result<serde_json::Value> {
    let watch = Stopwatch::start();
    let first = scenario::run(&TestStore::new(backend).await?, month).await?;
    let seconds = watch.elapsed().as_secs_f64();
    let second = scenario::run(&TestStore::new(backend).await?, month).await?;
    let plan = scenario::plan(month, 0);
    let planned: i64 = scenario::counts(&plan).iter().map(|(_, count)| count).sum();
    let differs = differences(&first);
    let same_head = (&first.head, first.events) == (&second.head, second.events);
    let reproduced = match differs.first() {
        None => format!("{} figures equal", first.stored.len()),
        Some(difference) => format!("{} differ, first {difference}", differs.len()),
    };
    let (seed, jobs, days) = (month.seed, month.jobs, month.days);
    let rows = [
        row(
            "jobs replayed",
            planned == jobs,
            &format!("{planned} of {days} days in {seconds:.0} s, seed {seed}"),
        ),
        row("statistics reproduced", differs.is_empty(), &reproduced),
        row(
            "the same ledger again",
            same_head,
            &format!("{} events, head {}", first.events, &first.head[..16]),
        ),
    ];
    Ok(serde_json::json!({ "head": first.head, "table": first.table(), "rows": rows }))
}

/// The figures that the plan and the store do not agree about.
fn differences(outcome: &Outcome) -> Vec<String> {
    let names = outcome.planned.keys().chain(outcome.stored.keys());
    let mut names: Vec<&String> = names
        .filter(|name| outcome.planned.get(*name) != outcome.stored.get(*name))
        .collect();
    names.sort();
    names.dedup();
    let shown = names.iter().map(|name| {
        let (planned, stored) = (outcome.planned.get(*name), outcome.stored.get(*name));
        format!("{name}: planned {planned:?}, stored {stored:?}")
    });
    shown.collect()
}

fn row(name: &str, ok: bool, note: &str) -> serde_json::Value {
    serde_json::json!({ "name": name, "ok": ok, "note": note })
}
