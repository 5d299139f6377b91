//! Our side: the benchmark `engine` of `skep-tests`, built once, a part to a run.

use crate::machine::Workspace;
use crate::process;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs that are measured.
#[derive(Debug)]
pub(super) struct Programs {
    /// The benchmark.
    pub(super) benchmark: PathBuf,
    /// The product.
    pub(super) product: PathBuf,
}

/// Builds both, in one call so that they share what they are made of.
pub(super) fn build(workspace: &Workspace) -> Result<Programs> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "--message-format", "json"]);
    cargo.args([
        "-p",
        "skep-tests",
        "--bench",
        "engine",
        "-p",
        "skep",
        "--bin",
        "skep",
    ]);
    let text = process::output(&mut cargo).context("failed to build what is measured")?;
    let made: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let program = |name: &str| {
        made.iter()
            .filter(|line| line.pointer("/target/name").and_then(Value::as_str) == Some(name))
            .find_map(|line| Some(PathBuf::from(line.get("executable")?.as_str()?)))
            .with_context(|| format!("cargo named no program `{name}`"))
    };
    Ok(Programs {
        benchmark: program("engine")?,
        product: program("skep")?,
    })
}

/// One part of the benchmark: its words as they stand on its command line.
pub(super) fn command(benchmark: &Path, postgres: &str, words: &str) -> Command {
    let mut command = Command::new(benchmark);
    command.args(words.split_whitespace());
    command.env("SKEP_TEST_POSTGRES", postgres);
    command
}
