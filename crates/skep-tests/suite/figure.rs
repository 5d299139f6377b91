//! What a long test found out, for the page of `cargo xtask chaos`: a line of JSON for each figure.

use serde::Serialize;
use std::io::Write as _;

/// The file that figures are added to.
pub(crate) const FILE_VARIABLE: &str = "SKEP_TEST_FIGURES";

#[derive(Serialize)]
struct Figure<'a> {
    name: &'a str,
    value: f64,
    unit: &'a str,
    target: Option<f64>,
    note: &'a str,
}

/// Tells of a figure, what it may be at most, and what to know about it.
#[expect(clippy::print_stdout, reason = "the figures are what the run is for")]
pub(crate) fn tell(
    name: &str,
    (value, unit): (f64, &str),
    target: Option<f64>,
    note: &str,
) -> anyhow::Result<()> {
    println!("{name}: {value} {unit} {note}");
    let Some(file) = std::env::var_os(FILE_VARIABLE) else {
        return Ok(());
    };
    let figure = Figure {
        name,
        value,
        unit,
        target,
        note,
    };
    let line = serde_json::to_string(&figure)?;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).append(true).open(file)?;
    Ok(writeln!(file, "{line}")?)
}
