//! The commands: each asks one use case and prints its answer.

pub(crate) mod alarm;
pub(crate) mod call;
pub(crate) mod completions;
pub(crate) mod data;
pub(crate) mod dead;
pub(crate) mod demo;
pub(crate) mod docs;
pub(crate) mod doctor;
pub(crate) mod job;
pub(crate) mod ledger;
pub(crate) mod node;
pub(crate) mod order;
pub(crate) mod plan;
pub(crate) mod queue;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod shell;
pub(crate) mod topic;
pub(crate) mod turn;
pub(crate) mod up;

use crate::cli::Global;
use crate::config::Config;
use crate::failure::Failure;
use crate::output::{KnownSecrets, Printer};
use crate::reach::Reach;
use crate::signals::Signals;
use skep_director::Home;
use skep_stdx::Redactor;
use skep_types::MicroUsd;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// What every command works with.
pub(crate) struct Session {
    pub(crate) global: Global,
    pub(crate) printer: Printer,
    pub(crate) secrets: KnownSecrets,
    pub(crate) signals: Signals,
}

impl Session {
    /// The home that was chosen; nothing is made there.
    pub(crate) fn home(&self) -> Result<Home, Failure> {
        let chosen = self
            .global
            .home
            .clone()
            .filter(|home| !home.as_os_str().is_empty());
        let root = match chosen.or_else(data_folder) {
            Some(root) => root,
            None => {
                return Err(Failure::usage(
                    "home_unknown",
                    "this user has no home folder, so there is no default place for Skep's",
                    "choose a folder with `--home` or SKEP_HOME",
                ));
            }
        };
        match std::path::absolute(&root) {
            Ok(root) => Ok(Home::at(root)),
            Err(error) => Err(Failure::usage(
                "home_unknown",
                format!("the home {} has no absolute path: {error}", root.display()),
                "give `--home` an absolute path",
            )),
        }
    }

    /// The configuration that applies to `home`. From here on nothing prints its secrets.
    pub(crate) fn config(&self, home: &Home) -> Result<Config, Failure> {
        let config = Config::load(self.global.config.as_deref(), home.root())?;
        let known = Redactor::new(config.known_secrets());
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(config)
    }

    /// Says which configuration applies if nobody asked for it: one in the current folder may
    /// have come with a repository, and it names commands that the engine runs.
    pub(crate) fn announce(&self, config: &Config, home: &Home) {
        let unasked = config
            .file
            .as_deref()
            .filter(|_| self.global.config.is_none());
        if let Some(file) = unasked.filter(|file| file.parent() != Some(home.root())) {
            self.printer
                .warning(&format!("the configuration is {}", file.display()));
        }
    }

    /// A way to the home, which has to be there already.
    pub(crate) async fn reach(&self) -> Result<Reach, Failure> {
        let home = self.home()?;
        let config = self.config(&home)?;
        Reach::existing(&home, &config).await
    }
}

/// The platform's folder for a program's data: the XDG base directory specification on Linux,
/// Apple's file system guide on macOS.
fn data_folder() -> Option<PathBuf> {
    if cfg!(target_os = "macos") {
        return Some(std::env::home_dir()?.join("Library/Application Support/skep"));
    }
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let data = data.filter(|folder| folder.is_absolute());
    Some(
        data.or_else(|| Some(std::env::home_dir()?.join(".local/share")))?
            .join("skep"),
    )
}

/// An amount of dollars from the command line.
pub(crate) fn amount(usd: Option<f64>) -> Result<Option<MicroUsd>, Failure> {
    usd.map(|usd| {
        MicroUsd::from_usd(usd).ok_or_else(|| {
            Failure::usage(
                "amount_invalid",
                format!("{usd} is not an amount of dollars"),
                "give a number from 0 up, as in `--budget-usd 2.50`",
            )
        })
    })
    .transpose()
}

/// The server may have another current folder.
pub(crate) fn absolute(path: &Path) -> Result<String, Failure> {
    let unusable = |reason: &str| {
        Failure::usage(
            "repo_unusable",
            format!("the repository {} cannot be used: {reason}", path.display()),
            "give `--repo` the folder of a git repository",
        )
    };
    let path = std::path::absolute(path).map_err(|error| unusable(&error.to_string()))?;
    path.into_os_string()
        .into_string()
        .map_err(|_| unusable("its path is not UTF-8"))
}
