//! A Python with pytest. Tests run other people's suites inside the fence, so the system's own
//! interpreter is preferred: it lies where every fence may read.

use super::cluster::install_debian_package;
use crate::machine;
use crate::process;
use crate::report::say;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const SYSTEM_PYTHON: &str = "/usr/bin/python3";

/// The interpreter to use; `scratch` is a folder below which one may be set up.
pub(super) fn find_or_install(scratch: &Path) -> Result<PathBuf> {
    if let Some(found) = find() {
        return Ok(found);
    }
    let Some(python) = candidates().into_iter().next() else {
        bail!("no `python3` on this machine: install Python 3");
    };
    let root = machine::current_user()?.uid == 0;
    if root && machine::program("apt-get").is_some() {
        install_debian_package("python3-pytest")?;
        return find().context("the package `python3-pytest` brought no pytest");
    }
    virtual_environment(&python, scratch)
}

fn candidates() -> Vec<PathBuf> {
    let system = Some(PathBuf::from(SYSTEM_PYTHON)).filter(|path| path.is_file());
    system
        .into_iter()
        .chain(machine::program("python3"))
        .collect()
}

fn find() -> Option<PathBuf> {
    candidates().into_iter().find(|python| has_pytest(python))
}

fn has_pytest(python: &Path) -> bool {
    process::works(&python.to_string_lossy(), &["-m", "pytest", "--version"])
}

/// An environment that holds pytest and nothing else, below the build folder.
fn virtual_environment(python: &Path, scratch: &Path) -> Result<PathBuf> {
    let folder = scratch.join("xtask/python");
    let inside = folder.join("bin/python3");
    if has_pytest(&inside) {
        return Ok(inside);
    }
    say(&format!(
        "pytest is needed and missing; installing it into {}",
        folder.display()
    ));
    let made = process::succeeds(Command::new(python).args(["-m", "venv"]).arg(&folder))?
        && process::succeeds(
            Command::new(&inside).args(["-m", "pip", "install", "--quiet", "pytest"]),
        )?;
    if made {
        Ok(inside)
    } else {
        bail!(
            "failed to set up pytest in {}: install it yourself",
            folder.display()
        )
    }
}
