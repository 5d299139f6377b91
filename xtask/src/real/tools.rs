//! The tools that run a package's tests, as a fence shows them: the system's folders, and before
//! them read-only roots where a tool does not come from the system.

use super::case::Ecosystem;
use crate::machine;
use crate::process;
use crate::report::say;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The system's part of `PATH` inside a fence.
const SYSTEM_PATH: &[&str] = &[
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Where the tools of one ecosystem are.
pub(super) struct Tools {
    /// What the fence shows besides the system, first come first found.
    pub(super) roots: Vec<PathBuf>,
}

impl Tools {
    /// Finds them; a Python without pytest gets an environment below `place`.
    pub(super) fn find(ecosystem: Ecosystem, place: &Path) -> Result<Self> {
        let roots = match ecosystem {
            Ecosystem::Rust => {
                let sysroot = process::output(Command::new("rustc").args(["--print", "sysroot"]))?;
                vec![PathBuf::from(sysroot.trim())]
            }
            Ecosystem::Python => python_roots(&python_with("pytest", place)?)?,
        };
        let roots = roots.into_iter().filter(|root| !root.starts_with("/usr"));
        Ok(Self {
            roots: roots.collect(),
        })
    }

    /// The `PATH` under which the tests find the same tools outside a fence as inside.
    pub(super) fn path(&self) -> String {
        let own = self.roots.iter().map(|root| root.join("bin"));
        let all = own.chain(SYSTEM_PATH.iter().map(PathBuf::from));
        let all: Vec<String> = all
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        all.join(":")
    }
}

/// A Python 3 that has the module; the system's own first, because every fence shows it.
pub(super) fn python_with(module: &str, place: &Path) -> Result<PathBuf> {
    let has =
        |python: &Path| process::works(&python.to_string_lossy(), &["-m", module, "--version"]);
    // Only the first one in the system's folders is what a check finds under the name.
    let mut system = SYSTEM_PATH
        .iter()
        .map(|folder| Path::new(folder).join("python3"));
    let system = system.find(|python| python.is_file());
    let pythons: Vec<PathBuf> = system
        .into_iter()
        .chain(machine::program("python3"))
        .collect();
    if let Some(found) = pythons.iter().find(|python| has(python)) {
        return Ok(found.clone());
    }
    let folder = place.join("python");
    let own = folder.join("bin/python3");
    if has(&own) {
        return Ok(own);
    }
    say(&format!(
        "no Python has `{module}`; making an environment in {}",
        folder.display()
    ));
    for python in &pythons {
        let mut make = Command::new(python);
        if process::succeeds(make.args(["-m", "venv", "--clear"]).arg(&folder))? {
            let mut pip = Command::new(&own);
            pip.args(["-m", "pip", "install", "--quiet", "pytest"]);
            process::output(&mut pip).context("failed to install pytest")?;
            return Ok(own);
        }
    }
    bail!("install Python 3 with `{module}`, or with `venv` so that it can be set up here")
}

/// The folders that an interpreter lives in: its environment's, and that of the Python below it.
fn python_roots(python: &Path) -> Result<Vec<PathBuf>> {
    let script = "import sys; print(sys.prefix); print(sys.base_prefix)";
    let text = process::output(Command::new(python).args(["-c", script]))?;
    let mut roots: Vec<PathBuf> = text.lines().map(PathBuf::from).collect();
    roots.dedup();
    Ok(roots)
}
