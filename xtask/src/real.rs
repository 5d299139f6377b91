//! `cargo xtask real`: the main job on other people's code.
//!
//! A crate of the Rust registry and a package of PyPI, each with its own test suite and a bug that
//! it really had, are repaired under `skep run` by a scripted model through the whole path: queue,
//! fence, loop, gateway, contract, verification, landing, ledger. A second scripted model claims
//! the repair without making it, and must be caught. Nothing of theirs is in this repository: the
//! source is fetched into the target folder, the bug is made from `xtask/real/NAME.toml`, and the
//! models speak from `xtask/real/NAME.script.toml`.

pub(crate) mod bounded;
mod case;
mod job;
mod repository;
mod source;
mod suite;
mod tools;

use crate::machine::Workspace;
use crate::options::Options;
use crate::process;
use crate::report::{Report, Row, say};
use crate::stopwatch::Stopwatch;
use anyhow::{Context as _, Result, bail};
use case::Case;
use job::{Outcome, Worker, Workshop};
use repository::Broken;
use std::path::{Path, PathBuf};
use suite::{Counts, Suite};
use tools::Tools;

/// The `skep` to try instead of the workspace's own.
const BINARY_VARIABLE: &str = "SKEP_BIN";

/// The command.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let workspace = Workspace::find()?;
    let binary = binary(&workspace)?;
    let mut rows = Vec::new();
    // The Rust case alone fits in a minute.
    for case in Case::all()?
        .iter()
        .take(if options.quick { 1 } else { usize::MAX })
    {
        say(&format!(
            "== {} {}: {}",
            case.package, case.version, case.past_bug
        ));
        let mut trial = Trial::new(&workspace, case);
        if let Err(error) = trial.run(&binary) {
            trial.row("stopped", None, "", Err(format!("{error:#}")));
        }
        rows.append(&mut trial.rows);
    }
    Ok(Report::of(rows))
}

fn binary(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(given) = std::env::var_os(BINARY_VARIABLE) {
        return Ok(PathBuf::from(given));
    }
    if !process::succeeds(&mut workspace.build_binary())? {
        bail!("`skep` does not build");
    }
    Ok(workspace.binary())
}

/// One package on its way through everything.
struct Trial<'a> {
    workspace: &'a Workspace,
    case: &'a Case,
    rows: Vec<Row>,
}

impl<'a> Trial<'a> {
    const fn new(workspace: &'a Workspace, case: &'a Case) -> Self {
        Self {
            workspace,
            case,
            rows: Vec::new(),
        }
    }

    /// Adds a row; its note says what was seen, or why it is not well.
    fn row(
        &mut self,
        name: &str,
        value: Option<f64>,
        unit: &'static str,
        outcome: Result<String, String>,
    ) {
        let name = format!("{}: {name}", self.case.ecosystem);
        let row = Row::step(&name, 0.0, outcome);
        self.rows.push(Row { value, unit, ..row });
    }

    /// Every step in order; an error says why there are no further ones.
    fn run(&mut self, binary: &Path) -> Result<()> {
        let watch = Stopwatch::start();
        let place = self.workspace.target.join("real");
        let tools = Tools::find(self.case.ecosystem, &place)?;
        let source = source::fetch(self.workspace, self.case, &place)?;
        let folder = fresh(place.join("jobs").join(&self.case.package))?;
        let broken = Broken::make(self.case, &source, &folder)?;
        let suite = Suite::new(self.case, &tools, &broken, &place, &folder)?;
        let whole = self.suites(&suite, &broken)?;
        let shop = Workshop::open(self.workspace, self.case, &tools, binary, &folder)?;
        let repaired = self.repair(&shop, &broken, &suite, whole)?;
        let claimed = self.false_claim(&shop, &broken)?;
        let ledger = shop.verify_ledger();
        self.row("ledger verified", None, "", ledger);
        let cost = repaired.cost_micro_usd + claimed.cost_micro_usd;
        let tokens = repaired.tokens.all() + claimed.tokens.all();
        let note = format!("{tokens} tokens in two jobs, at the list price of the configuration");
        // Amounts of a dollar are far below 2^52.
        let usd = cost as f64 / 1e6;
        self.row("cost", Some(usd), "USD", Ok(note));
        self.row("all", Some(milliseconds(watch)), "ms", Ok(String::new()));
        Ok(())
    }

    /// The package's own tests: green as it was published, red with its past bug.
    fn suites(&mut self, suite: &Suite<'_>, broken: &Broken) -> Result<Counts> {
        let whole = suite.run(&broken.published)?;
        let green = whole.failed == 0 && whole.passed > 0;
        let note = format!("{} {}", self.case.package, self.case.version);
        let shown = whole.to_string();
        let outcome = if green { Ok(note) } else { Err(shown) };
        self.row(
            "suite as published",
            Some(whole.passed.into()),
            "passed",
            outcome,
        );
        let red = suite.run(&broken.tip)?;
        let outcome = match red.failed {
            0 => Err("no test of the package notices the bug".to_owned()),
            _ => Ok(self.case.past_bug.clone()),
        };
        let noticed = red.failed > 0;
        self.row(
            "past bug made again",
            Some(red.failed.into()),
            "failed",
            outcome,
        );
        if green && noticed {
            Ok(whole)
        } else {
            bail!("without a green suite that the bug turns red there is nothing to repair")
        }
    }

    /// The honest model: the repair lands, and the whole suite passes on what landed.
    fn repair(
        &mut self,
        shop: &Workshop<'_>,
        broken: &Broken,
        suite: &Suite<'_>,
        whole: Counts,
    ) -> Result<Outcome> {
        let repo = broken.copy("repair")?;
        let watch = Stopwatch::start();
        let outcome = shop.run(Worker::Repairer, &repo.path)?;
        let landed = outcome.landed().and_then(|commit| {
            let tip = repo.tip().map_err(|error| format!("{error:#}"))?;
            match (tip == commit, repo.is_clean().unwrap_or(false)) {
                (false, _) => Err(format!("landed {commit}, but the branch is at {tip}")),
                (true, false) => {
                    Err("landed, but the work tree differs from its branch".to_owned())
                }
                (true, true) => Ok(format!("{} at {:.10}", outcome.fence(), tip)),
            }
        });
        let is_landed = landed.is_ok();
        self.row("repaired: landed", Some(milliseconds(watch)), "ms", landed);
        if !is_landed {
            bail!("the repair did not land");
        }
        let after = suite.run_from(&repo)?;
        let outcome_after = if after == whole {
            Ok("as many as published, none failed".to_owned())
        } else {
            Err(format!("{after}; as published: {whole}"))
        };
        self.row(
            "suite after landing",
            Some(after.passed.into()),
            "passed",
            outcome_after,
        );
        Ok(outcome)
    }

    /// The model that claims: INVALID every time, and the branch stays where it was.
    fn false_claim(&mut self, shop: &Workshop<'_>, broken: &Broken) -> Result<Outcome> {
        let repo = broken.copy("false-claim")?;
        let watch = Stopwatch::start();
        let outcome = shop.run(Worker::Pretender, &repo.path)?;
        let caught = outcome.caught().and_then(|note| {
            let tip = repo.tip().map_err(|error| format!("{error:#}"))?;
            if tip == broken.tip {
                Ok(note)
            } else {
                Err(format!("the branch moved from {} to {tip}", broken.tip))
            }
        });
        self.row(
            "false claim caught",
            Some(milliseconds(watch)),
            "ms",
            caught,
        );
        Ok(outcome)
    }
}

/// The folder, empty: what an earlier run left is gone.
fn fresh(folder: PathBuf) -> Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("failed to clear {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    Ok(folder)
}

fn milliseconds(watch: Stopwatch) -> f64 {
    (watch.seconds() * 1_000.0).round()
}
