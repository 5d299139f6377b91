//! Generated files: what the binary prints about itself and what is committed are the same.
//!
//! The only rule that needs the product built, so it runs last and only where the binary has the
//! hidden command that does the comparing.

use super::tree::Tree;
use crate::machine::Workspace;
use crate::process;
use crate::report::Row;
use crate::stopwatch::Stopwatch;
use anyhow::Result;
use std::process::Command;

const BINARY_SOURCES: &str = "crates/skep/src/";
/// The hidden command that writes the reference, or with `--check` compares it.
const COMMAND: &str = "__docs";

/// One row, or none while the binary cannot print its own reference.
pub(super) fn fresh(workspace: &Workspace, tree: &Tree) -> Result<Option<Row>> {
    if !binary_prints_its_reference(tree) {
        return Ok(None);
    }
    let watch = Stopwatch::start();
    let mut compare = Command::new(workspace.binary());
    compare
        .args([COMMAND, "--check", "--root"])
        .arg(&workspace.root);
    let outcome = if !process::succeeds(&mut workspace.build_binary())? {
        Err("the product does not build".to_owned())
    } else if !process::succeeds(&mut compare)? {
        Err(format!("write them again: cargo run -p skep -- {COMMAND}"))
    } else {
        Ok(String::new())
    };
    Ok(Some(Row::step("generated_files", watch.seconds(), outcome)))
}

fn binary_prints_its_reference(tree: &Tree) -> bool {
    tree.rust()
        .filter(|(path, _, _)| path.starts_with(BINARY_SOURCES))
        .any(|(_, _, rust)| {
            rust.product_literals()
                .any(|literal| literal.text == COMMAND)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_runs_once_the_binary_has_the_command() {
        let has = |path, text| binary_prints_its_reference(&Tree::of(&[(path, text)]));
        assert!(has(
            "crates/skep/src/cli.rs",
            "#[command(name = \"__docs\", hide = true)]"
        ));
        assert!(!has("crates/skep/src/cli.rs", "// `__docs` is for later"));
        assert!(!has("crates/skep-http/src/lib.rs", "\"__docs\""));
    }
}
