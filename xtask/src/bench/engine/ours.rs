//! Our side: the benchmark `engine` of `skep-tests`, built once, a part to a run.

use crate::machine::Workspace;
use crate::process;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// Builds the benchmark; the answer is its program.
pub(super) fn build_benchmark(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "-p", "skep-tests"]);
    cargo.args(["--bench", "engine", "--message-format", "json"]);
    let text = process::output(&mut cargo).context("failed to build the benchmark `engine`")?;
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line.pointer("/target/name").and_then(Value::as_str) == Some("engine"))
        .find_map(|line| Some(PathBuf::from(line.get("executable")?.as_str()?)))
        .context("cargo named no program for the benchmark `engine`")
}

/// Builds the product; the answer is its program.
pub(super) fn build_product(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "-p", "skep"]);
    process::output(&mut cargo).context("failed to build the product")?;
    Ok(workspace.target.join("release/skep"))
}

/// One part of the benchmark: its words as they stand on its command line.
pub(super) fn command(benchmark: &PathBuf, postgres: &str, words: &str) -> Command {
    let mut command = Command::new(benchmark);
    command.args(words.split_whitespace());
    command.env("SKEP_TEST_POSTGRES", postgres);
    command
}
