//! The part that restarts, starves and loads a PostgreSQL server under the queue and under whole
//! engines: tests of the suite, made longer. Each leaves what it measured in a file.

use super::suite::{BINARY_VARIABLE, POSTGRES_VARIABLE};
use crate::machine::Workspace;
use crate::options::Options;
use crate::process;
use crate::report::{Report, Row, number};
use crate::stopwatch::Stopwatch;
use crate::test::cluster::{Cluster, server_programs};
use anyhow::{Context as _, Result};
use serde_json::Value;

/// The tests; what makes them longer; and where they leave what they measured.
const TESTS: &str = "crash::postgres::";
const SCALE_VARIABLE: &str = "SKEP_TEST_CHAOS_SCALE";
const OUTCOMES_VARIABLE: &str = "SKEP_TEST_CHAOS_OUTCOMES";
const OUTCOMES: &str = "chaos-postgres.jsonl";

/// How many times as many jobs as in the tests.
const TIMES: u64 = 20;
/// How much of an error stands in the table; the whole is in the document and above.
const ERROR_CHARACTERS: usize = 50;

/// Nine scenarios, five of them under whole engines too.
pub(super) fn run(options: &Options) -> Result<Report> {
    let workspace = Workspace::find()?;
    if !process::succeeds(&mut workspace.build_binary())? {
        anyhow::bail!("failed to build skep");
    }
    let times = if options.quick { 1 } else { TIMES };
    let times = options.number("times")?.unwrap_or(times).max(1);
    let programs = server_programs()?;
    let cluster = match std::env::var_os(POSTGRES_VARIABLE) {
        Some(_) => None,
        None => Some(Cluster::start(&programs)?),
    };
    let outcomes = workspace.target.join(OUTCOMES);
    // A run that dies early must not be judged by the outcomes of the one before.
    if outcomes.exists() {
        std::fs::remove_file(&outcomes)?;
    }
    let mut tests = workspace.cargo();
    tests
        .args(["test", "--package", "skep-tests", "--test", "suite", TESTS])
        .args(["--", "--test-threads=1"])
        .env(SCALE_VARIABLE, times.to_string())
        .env(OUTCOMES_VARIABLE, &outcomes)
        .env(BINARY_VARIABLE, workspace.binary());
    if let Some(cluster) = &cluster {
        tests.env(POSTGRES_VARIABLE, cluster.url());
    }
    let watch = Stopwatch::start();
    let passed = process::succeeds(&mut tests)?;
    let mut rows = Vec::new();
    for line in std::fs::read_to_string(&outcomes)
        .unwrap_or_default()
        .lines()
    {
        rows.push(row(line)?);
    }
    let outcome = match (passed, rows.is_empty()) {
        (true, false) => Ok(format!("{} scenarios", rows.len())),
        (true, true) => Err("no scenario was run".to_owned()),
        (false, _) => Err("see above".to_owned()),
    };
    rows.push(Row::step("all", watch.seconds(), outcome));
    Ok(Report::of(rows))
}

/// The row of one scenario. Its value is the time that it took to recover from the last fault.
fn row(line: &str) -> Result<Row> {
    let outcome: Value = serde_json::from_str(line)?;
    let figure = |name: &str| outcome[name].as_f64().unwrap_or_default();
    let name = outcome["name"].as_str().context("it has a name")?;
    let error = outcome["error"].as_str();
    let note = match error {
        Some(error) => error.chars().take(ERROR_CHARACTERS).collect(),
        None => format!(
            "{} jobs, {} faults, {:.2} of {}/s, stop {} s",
            figure("jobs"),
            figure("faults"),
            figure("ratio"),
            number(figure("undisturbed_per_s")),
            number(figure("stop_s")),
        ),
    };
    let verdict = if error.is_none() { Ok(note) } else { Err(note) };
    let row = Row::step(name, 0.0, verdict);
    let (value, ratio) = (outcome["recovery_s"].as_f64(), outcome["ratio"].as_f64());
    let figures = Some(outcome);
    Ok(Row {
        value,
        ratio,
        figures,
        ..row
    })
}

#[cfg(test)]
mod tests {
    use super::row;
    use crate::report::table;

    #[test]
    fn a_scenario_is_one_narrow_line() {
        let well = r#"{"name":"queue: idle in transaction","ok":true,"error":null,"jobs":24012,
            "faults":1,"recovery_s":12.25,"undisturbed_per_s":1204.5,"disturbed_per_s":602.2,
            "ratio":0.5,"stop_s":0.25,"refused":0}"#;
        let ill = format!(
            r#"{{"name":"engine: restart","ok":false,"error":"{}"}}"#,
            "lost ".repeat(40)
        );
        let (well, ill) = (row(well).unwrap(), row(&ill).unwrap());
        assert_eq!((well.ok, ill.ok), (true, false));
        assert_eq!(well.figures.as_ref().unwrap()["jobs"], 24_012);
        let table = table(&[well, ill]);
        assert!(
            table.lines().all(|line| line.chars().count() <= 100),
            "{table}"
        );
        assert!(
            table.contains("12.2 s    24012 jobs, 1 faults, 0.50 of 1204/s"),
            "{table}"
        );
    }
}
