//! The peers' packages, installed once into a cache folder outside the checkout.
//!
//! `bench/peers/package.json` and `requirements.txt` pin them; a changed manifest installs anew.
//! The drivers are copied beside the packages at every run, because that is where Node and Python
//! look for what they import.

use crate::machine;
use crate::process;
use crate::report::say;
use crate::test::cluster::install_debian_package;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the drivers and the manifests lie.
const SOURCES: &str = "bench/peers";
/// The manifests: a change of one of them installs anew.
const MANIFESTS: [&str; 2] = ["package.json", "requirements.txt"];
/// Holds what was installed.
const STAMP: &str = "installed";

/// The installed peers.
#[derive(Debug)]
pub(super) struct Installed {
    folder: PathBuf,
}

impl Installed {
    /// Installs what is missing.
    pub(super) fn find_or_install(root: &Path) -> Result<Self> {
        let folder = cache_folder()?;
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("failed to make {}", folder.display()))?;
        let wanted = MANIFESTS
            .iter()
            .map(|name| std::fs::read_to_string(root.join(SOURCES).join(name)))
            .collect::<Result<String, _>>()
            .context("failed to read the peers' manifests")?;
        copy_drivers(&root.join(SOURCES), &folder)?;
        let installed = Self { folder };
        let stamp = installed.folder.join(STAMP);
        if std::fs::read_to_string(&stamp).ok().as_deref() != Some(&wanted) {
            installed.install()?;
            std::fs::write(&stamp, wanted).context("failed to note what was installed")?;
        }
        Ok(installed)
    }

    /// A command that runs a driver, by the ending of its name.
    pub(super) fn driver(&self, name: &str) -> Command {
        let program = if name.ends_with(".py") {
            "python/bin/python"
        } else {
            "node_modules/.bin/node"
        };
        let mut command = Command::new(self.folder.join(program));
        command.arg(name).current_dir(&self.folder);
        command
    }

    fn install(&self) -> Result<()> {
        say(&format!(
            "the peers are needed and missing; installing them into {}",
            self.folder.display()
        ));
        for (program, package) in [("npm", "npm"), ("python3", "python3-venv")] {
            if machine::program(program).is_none() {
                install_debian_package(package)?;
            }
        }
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-package-lock", "--no-audit", "--no-fund"]);
        let mut environment = Command::new("python3");
        environment.args(["-m", "venv", "--clear", "python"]);
        let mut pip = Command::new(self.folder.join("python/bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "-r", "requirements.txt"]);
        for command in [&mut npm, &mut environment, &mut pip] {
            if !process::succeeds(command.current_dir(&self.folder))? {
                bail!("the peers could not be installed: see above");
            }
        }
        Ok(())
    }
}

/// `$XDG_CACHE_HOME/skep/bench-peers`, or its usual place.
fn cache_folder() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set, so there is no place for the peers")?;
    Ok(base.join("skep/bench-peers"))
}

fn copy_drivers(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from).with_context(|| format!("failed to list {SOURCES}"))? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            std::fs::copy(&path, to.join(name))
                .with_context(|| format!("failed to copy {}", path.display()))?;
        }
    }
    Ok(())
}
