//! `skep run` on a package, in a home of its own, and what its account says.

use super::bounded::{self, Reach};
use super::case::Case;
use super::tools::Tools;
use crate::machine::Workspace;
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The longest that one `skep run` may take, in seconds.
const RUN_SECONDS_MAX: f64 = 240.0;
/// The longest that one attempt and one check may take, in seconds; below the run's own limit, so
/// that the engine ends them and says why.
const STEP_SECONDS_MAX: u32 = 100;

/// What a developer's shell may hold and a job must not see.
const FOREIGN_VARIABLES: &[&str] = &["SKEP_HOME", "SKEP_CRASH_AT"];

/// Who does the job.
#[derive(Debug, Clone, Copy)]
pub(super) enum Worker {
    /// Makes the repair.
    Repairer,
    /// Says that it did.
    Pretender,
}

/// A home with its configuration, and the binary that works in it.
pub(super) struct Workshop<'a> {
    case: &'a Case,
    binary: &'a Path,
    folder: &'a Path,
    home: PathBuf,
}

/// What `skep run --json` prints, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Outcome {
    state: String,
    state_reason: Option<String>,
    landing: Landing,
    verdict: Option<Verdict>,
    verdicts: Vec<Verdict>,
    attempts: Vec<Attempt>,
    pub(super) cost_micro_usd: i64,
    pub(super) tokens: Tokens,
}

#[derive(Debug, Deserialize)]
struct Landing {
    state: String,
    commit: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Verdict {
    result: String,
    findings: Vec<Finding>,
}

#[derive(Debug, Clone, Deserialize)]
struct Finding {
    #[serde(default)]
    rule: String,
    claim: String,
    evidence: String,
    outcome: String,
}

#[derive(Debug, Deserialize)]
struct Attempt {
    isolation: Option<String>,
}

/// What the calls used.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Tokens {
    input: i64,
    cache_read: i64,
    cache_write: i64,
    output: i64,
}

#[derive(Debug, Deserialize)]
struct LedgerAccount {
    ok: bool,
    events: i64,
    reason: Option<String>,
}

impl Worker {
    const fn name(self) -> &'static str {
        match self {
            Self::Repairer => "repairer",
            Self::Pretender => "pretender",
        }
    }
}

impl<'a> Workshop<'a> {
    /// Makes the home below `folder`, with the case's scripted models in its configuration.
    pub(super) fn open(
        workspace: &Workspace,
        case: &'a Case,
        tools: &Tools,
        binary: &'a Path,
        folder: &'a Path,
    ) -> Result<Self> {
        let home = folder.join("home");
        std::fs::create_dir(&home)?;
        let script = workspace
            .root
            .join(format!("xtask/real/{}.script.toml", case.package));
        std::fs::write(home.join("skep.toml"), configuration(&script, &tools.roots))?;
        Ok(Self {
            case,
            binary,
            folder,
            home,
        })
    }

    /// Has the worker do the job in `repo`.
    pub(super) fn run(&self, worker: Worker, repo: &Path) -> Result<Outcome> {
        let mut run = self.skep();
        run.args([
            "run",
            &self.case.instruction,
            "--worker",
            worker.name(),
            "--gate",
            "G1",
        ])
        .args(["--check", &self.case.check, "--repo"])
        .arg(repo);
        for glob in &self.case.scope {
            run.args(["--scope", glob]);
        }
        let account = self.folder.join(format!("{}.json", worker.name()));
        bounded::run(&mut run, &account, RUN_SECONDS_MAX, Reach::Program)?;
        let text = std::fs::read_to_string(&account)?;
        serde_json::from_str(&text)
            .with_context(|| format!("`skep run` gave no account of the job: {}", text.trim()))
    }

    /// Recomputes the chain over everything that both jobs recorded.
    pub(super) fn verify_ledger(&self) -> Result<String, String> {
        let account = self.folder.join("ledger.json");
        let mut verify = self.skep();
        bounded::run(
            verify.args(["ledger", "verify"]),
            &account,
            RUN_SECONDS_MAX,
            Reach::Program,
        )
        .and_then(|_| Ok(std::fs::read_to_string(&account)?))
        .and_then(|text| Ok(serde_json::from_str(&text)?))
        .map_err(|error| format!("{error:#}"))
        .and_then(|found: LedgerAccount| match found.ok {
            true => Ok(format!("{} events", found.events)),
            false => Err(found.reason.unwrap_or_default()),
        })
    }

    fn skep(&self) -> Command {
        let mut skep = Command::new(self.binary);
        skep.arg("--home").arg(&self.home).arg("--json");
        for name in FOREIGN_VARIABLES {
            skep.env_remove(name);
        }
        skep
    }
}

/// The two models, their workers, and one round of rework for the one that insists.
fn configuration(script: &Path, roots: &[PathBuf]) -> String {
    let text = |path: &Path| toml::Value::from(path.to_string_lossy().into_owned()).to_string();
    let roots: Vec<String> = roots.iter().map(|root| text(root)).collect();
    let mut file = format!(
        "[provider.script]\napi = \"replay\"\nscript = {}\n",
        text(script)
    );
    for worker in [Worker::Repairer, Worker::Pretender] {
        let name = worker.name();
        // Writing to a String cannot fail.
        let _ = write!(
            file,
            "\n[model.{name}]\nprovider = \"script\"\ncontext_tokens = 200000\noutput_tokens_max = 8192\n\
             price = {{ input = 3.0, output = 15.0, cache_read = 0.3, cache_write_5m = 3.75, cache_write_1h = 6.0 }}\n\
             \n[worker.{name}]\nharness = \"skep\"\nmodel = \"{name}\"\n"
        );
    }
    let _ = write!(
        file,
        "\n[toolchain]\nread_only = [{}]\n\n[engine]\nattempt_seconds_max = {STEP_SECONDS_MAX}\n\
         check_seconds_max = {STEP_SECONDS_MAX}\nrework_rounds_max = 1\n",
        roots.join(", ")
    );
    file
}

impl Outcome {
    /// The commit that landed, or why none did.
    pub(super) fn landed(&self) -> Result<String, String> {
        let verdict = self.verdict.as_ref().map(|verdict| verdict.result.as_str());
        match (
            &*self.state,
            verdict,
            &*self.landing.state,
            &self.landing.commit,
        ) {
            ("done", Some("VALID"), "landed", Some(commit)) => Ok(commit.clone()),
            _ => Err(self.shown()),
        }
    }

    /// That the claim was found false every time and landed nowhere, or what happened instead.
    pub(super) fn caught(&self) -> Result<String, String> {
        let caught = |rule: &str| {
            self.verdicts.iter().all(|verdict| {
                verdict.result == "INVALID"
                    && verdict.contradicted().any(|found| found.rule == rule)
            })
        };
        let lands = self.landing.state == "landed" || self.landing.state == "landing";
        // The suite is red, and the claim that it was green is a finding of its own.
        let is_caught = caught("check") && caught("tests_run") && !self.verdicts.is_empty();
        if self.state == "failed" && is_caught && !lands {
            let rounds = self.verdicts.len();
            Ok(format!(
                "INVALID in {rounds} of {rounds} rounds; {}",
                self.reason()
            ))
        } else {
            Err(self.shown())
        }
    }

    /// How the attempts were fenced.
    pub(super) fn fence(&self) -> String {
        let levels: Vec<&str> = self
            .attempts
            .iter()
            .map(|attempt| attempt.isolation.as_deref().unwrap_or("no fence"))
            .collect();
        levels.join(", ")
    }

    fn reason(&self) -> &str {
        self.state_reason.as_deref().unwrap_or("no reason is given")
    }

    /// State, landing and the last verdict's contradictions, for a row that is not well.
    fn shown(&self) -> String {
        let mut text = format!(
            "{}, landing {}: {}",
            self.state,
            self.landing.state,
            self.reason()
        );
        for found in self.verdict.iter().flat_map(Verdict::contradicted) {
            // Writing to a String cannot fail.
            let _ = write!(text, "; {} -> {}", found.claim, found.evidence);
        }
        text
    }
}

impl Verdict {
    fn contradicted(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|found| found.outcome == "contradicted")
    }
}

impl Tokens {
    /// All kinds together.
    pub(super) const fn all(&self) -> i64 {
        self.input + self.cache_read + self.cache_write + self.output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(state: &str, landing: &str, verdict: &str, rules: &[&str]) -> Outcome {
        let finding = |rule| serde_json::json!({"rule": rule, "claim": "c", "evidence": "e", "outcome": "contradicted"});
        let findings: Vec<_> = rules.iter().map(finding).collect();
        let verdict = serde_json::json!({"result": verdict, "findings": findings});
        let tokens =
            serde_json::json!({"input": 1, "cache_read": 0, "cache_write": 0, "output": 1});
        let text = serde_json::json!({
            "state": state, "state_reason": null, "landing": {"state": landing, "commit": "abc"},
            "verdict": verdict, "verdicts": [verdict], "attempts": [], "cost_micro_usd": 1, "tokens": tokens,
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn landed_and_caught_need_every_part() {
        assert_eq!(
            outcome("done", "landed", "VALID", &[]).landed().unwrap(),
            "abc"
        );
        for (state, landing, verdict) in [
            ("failed", "landed", "VALID"),
            ("done", "none", "VALID"),
            ("done", "landed", "INVALID"),
        ] {
            assert!(outcome(state, landing, verdict, &[]).landed().is_err());
        }
        let both = &["check", "tests_run"];
        assert!(outcome("failed", "none", "INVALID", both).caught().is_ok());
        for (state, landing, verdict, rules) in [
            ("done", "none", "INVALID", &both[..]),
            ("failed", "landed", "INVALID", both),
            ("failed", "none", "VALID", both),
            ("failed", "none", "INVALID", &both[..1]),
            ("failed", "none", "INVALID", &[]),
        ] {
            assert!(outcome(state, landing, verdict, rules).caught().is_err());
        }
        let mut silent = outcome("failed", "none", "INVALID", both);
        silent.verdicts.clear();
        assert!(silent.caught().is_err());
    }

    #[test]
    fn the_configuration_is_toml_whatever_the_paths_are() {
        let script = Path::new("/a \"b\"/script.toml");
        let file: toml::Table = configuration(script, &[PathBuf::from("/x")])
            .parse()
            .unwrap();
        assert_eq!(
            file["provider"]["script"]["script"].as_str(),
            script.to_str()
        );
        assert_eq!(file["toolchain"]["read_only"][0].as_str(), Some("/x"));
    }
}
