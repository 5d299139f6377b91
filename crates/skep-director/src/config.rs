//! What the director takes from the configuration file.

use serde::Deserialize;
use skep_sandbox::IsolationLevel;
use skep_types::Role;

/// One configured worker: `[worker.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// Which harness drives it: `skep` or `exec`.
    pub harness: String,
    /// The model it asks for; optional with `exec`.
    #[serde(default)]
    pub model: Option<String>,
    /// What it may do.
    #[serde(default = "builder")]
    pub role: Role,
    /// The command, with `exec`.
    #[serde(default)]
    pub command: Vec<String>,
    /// `gateway`: every model call goes through Skep. The only login there is so far.
    #[serde(default = "gateway_login")]
    pub login: String,
}

impl WorkerConfig {
    /// The worker that `--harness` and `--model` describe when none is configured.
    pub(crate) fn ad_hoc(harness: &str, model: &str) -> Self {
        Self {
            harness: harness.to_owned(),
            model: Some(model.to_owned()),
            role: Role::Builder,
            command: Vec::new(),
            login: gateway_login(),
        }
    }
}

const fn builder() -> Role {
    Role::Builder
}

fn gateway_login() -> String {
    "gateway".to_owned()
}

/// What agents may read besides the system: `[toolchain]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToolchainConfig {
    /// Folders, with `~` for the user's home; those that do not exist are passed over.
    pub read_only: Vec<String>,
    /// Command lines run by the engine in the fresh repository before the fence closes.
    pub prepare: Vec<String>,
}

/// How the engine runs: `[engine]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Jobs that run at the same time.
    pub slots: i64,
    /// The isolation of attempts and checks; a level that cannot be had stops the run.
    #[serde(deserialize_with = "isolation_word")]
    pub isolation: IsolationLevel,
    /// The longest an attempt may take, in seconds.
    pub attempt_seconds_max: u64,
    /// The longest a worker may show no sign of life, in seconds; a tool call or a model call
    /// that is under way with a limit of its own is one.
    pub progress_seconds_max: u64,
    /// How long a worker that was asked to end may take for it, in seconds.
    pub interrupt_grace_seconds: u64,
    /// The longest one check may take, in seconds.
    pub check_seconds_max: u64,
    /// How often a result goes back for rework before the job fails.
    pub rework_rounds_max: i64,
    /// The budget of a job that names none, in US dollars.
    pub job_budget_usd: f64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            slots: 4,
            isolation: IsolationLevel::Namespaces,
            attempt_seconds_max: 3_600,
            progress_seconds_max: 720,
            interrupt_grace_seconds: 10,
            check_seconds_max: 1_200,
            rework_rounds_max: 2,
            job_budget_usd: 1.0,
        }
    }
}

fn isolation_word<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<IsolationLevel, D::Error> {
    let word = String::deserialize(deserializer)?;
    word.parse().map_err(serde::de::Error::custom)
}

/// What the director knows of a model: enough to choose a reviewer and to keep a tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFacts {
    /// Reviewers come from another family.
    pub family: String,
    /// Whether its provider is on this machine or network.
    pub local: bool,
    /// Whether consent to send it sensitive data is on record in the configuration.
    pub sensitive_allowed: bool,
    /// The largest conversation it reads, in tokens.
    pub context_tokens: i64,
    /// The longest answer it gives, in tokens.
    pub output_tokens_max: Option<i64>,
}
