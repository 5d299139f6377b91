//! What the gateway is told: providers, models with their prices, budgets.
//!
//! Plain values; `tables` holds their shape in `skep.toml`. Invariant of a [`GatewayConfig`] made
//! by its `new`: every model names a provider that exists, and every provider can be addressed.

use crate::price::{Price, price_book};
use http::Uri;
use skep_stdx::Secret;
use skep_types::{JobId, KeyId, MicroUsd};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Everything the gateway is told.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    pub(crate) providers: BTreeMap<String, ProviderConfig>,
    pub(crate) models: BTreeMap<String, ModelConfig>,
    pub(crate) budgets: Vec<BudgetConfig>,
    pub(crate) price_book: String,
}

/// The wire format that a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderApi {
    /// The Messages API.
    Anthropic,
    /// Chat Completions.
    OpenaiChat,
    /// Responses.
    OpenaiResponses,
    /// generateContent.
    Gemini,
    /// A script, replayed in the Messages format; see `docs/reference/replay-script.md`.
    Replay,
}

impl ProviderApi {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenaiChat => "openai-chat",
            Self::OpenaiResponses => "openai-responses",
            Self::Gemini => "gemini",
            Self::Replay => "replay",
        }
    }

    /// Whether requests in the Messages format can go there as they are.
    pub const fn speaks_messages(self) -> bool {
        match self {
            Self::Anthropic | Self::Replay => true,
            Self::OpenaiChat | Self::OpenaiResponses | Self::Gemini => false,
        }
    }
}

/// Where a provider's computers stand, which decides which tier of data may go there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Locality {
    /// The user's own machines.
    Local,
    /// Somebody else's.
    Remote,
}

impl Locality {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }
}

/// One model provider.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// Its name in the configuration.
    pub name: String,
    /// Its wire format.
    pub api: ProviderApi,
    /// Where it is, without the version for the Messages format; `None` for a script.
    pub base_url: Option<Uri>,
    /// The credential that is put in the place of the virtual key.
    pub api_key: Option<Secret>,
    /// Which tier of data may go there.
    pub locality: Locality,
    /// The recorded consent that sensitive data may go there although it is remote.
    pub allow_sensitive: bool,
    /// The script to replay.
    pub script: Option<PathBuf>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelConfig {
    /// The name that requests use.
    pub name: String,
    /// The provider that serves it.
    pub provider: String,
    /// The name that is sent to the provider.
    pub upstream: String,
    /// Reviewers come from another family.
    pub family: String,
    /// The context window, in tokens.
    pub context_tokens: Option<i64>,
    /// The longest answer, in tokens; bounds requests without a cap of their own.
    pub output_tokens_max: Option<i64>,
    /// The list price; without one no call is made.
    pub price: Option<Price>,
}

/// One limit on spending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetConfig {
    /// Its name in the configuration.
    pub name: String,
    /// What it applies to.
    pub scope: BudgetScope,
    /// No window's sums pass this.
    pub limit: MicroUsd,
    /// When it starts again.
    pub period: Period,
    /// What happens to work that reaches it.
    pub on_exhaust: OnExhaust,
}

/// What a budget applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BudgetScope {
    /// Every call.
    All,
    /// The calls of one project.
    Project(String),
    /// The calls of one worker.
    Worker(String),
    /// Every job by itself; a key without a job counts as one.
    EachJob,
    /// One job.
    Job(JobId),
    /// One virtual key.
    Key(KeyId),
}

impl fmt::Display for BudgetScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Project(name) => write!(f, "project:{name}"),
            Self::Worker(name) => write!(f, "worker:{name}"),
            Self::EachJob => f.write_str("job"),
            Self::Job(id) => write!(f, "job:{id}"),
            Self::Key(id) => write!(f, "key:{id}"),
        }
    }
}

impl std::str::FromStr for BudgetScope {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let unknown = || ConfigError::UnknownScope {
            scope: text.to_owned(),
        };
        match text.split_once(':') {
            None if text == "all" => Ok(Self::All),
            None if text == "job" => Ok(Self::EachJob),
            Some(("project", name)) if !name.is_empty() => Ok(Self::Project(name.to_owned())),
            Some(("worker", name)) if !name.is_empty() => Ok(Self::Worker(name.to_owned())),
            Some(("job", id)) => id.parse().map(Self::Job).map_err(|_| unknown()),
            Some(("key", id)) => id.parse().map(Self::Key).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

/// How long one window of a budget lasts; all windows are in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// The life of a job; it never renews.
    Job,
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first of a month to the next.
    Month,
}

impl Period {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

impl std::str::FromStr for Period {
    type Err = ConfigError;

    fn from_str(word: &str) -> Result<Self, ConfigError> {
        [Self::Job, Self::Hour, Self::Day, Self::Week, Self::Month]
            .into_iter()
            .find(|period| period.as_str() == word)
            .ok_or_else(|| ConfigError::UnknownPeriod {
                period: word.to_owned(),
            })
    }
}

/// What happens to work that reaches a budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExhaust {
    /// It waits for the budget to renew or to be raised.
    #[default]
    Pause,
    /// It fails.
    Refuse,
}

impl OnExhaust {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Refuse => "refuse",
        }
    }
}

impl std::str::FromStr for OnExhaust {
    type Err = ConfigError;

    fn from_str(word: &str) -> Result<Self, ConfigError> {
        match word {
            "pause" => Ok(Self::Pause),
            "refuse" => Ok(Self::Refuse),
            _ => Err(ConfigError::UnknownOnExhaust {
                word: word.to_owned(),
            }),
        }
    }
}

/// What is wrong with a configuration. Completes "failed to read the configuration: …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A model names a provider that is not there.
    #[error("model `{model}` names provider `{provider}`, which is not configured")]
    UnknownProvider {
        /// The model.
        model: String,
        /// The provider it names.
        provider: String,
    },
    /// A provider has no address.
    #[error("provider `{provider}` has no `base_url`")]
    NoBaseUrl {
        /// The provider.
        provider: String,
    },
    /// A provider's address is not one. The address itself may hold a password and is not shown.
    #[error(
        "`base_url` of provider `{provider}` is not of the form http://… or https://…, without user, query or fragment"
    )]
    BaseUrl {
        /// The provider.
        provider: String,
    },
    /// A replay provider has no script.
    #[error("provider `{provider}` replays a script and has no `script`")]
    NoScript {
        /// The provider.
        provider: String,
    },
    /// A secret could not be had.
    #[error("`api_key` of provider `{provider}`: {reason}")]
    Secret {
        /// The provider.
        provider: String,
        /// Why, without the secret.
        reason: String,
    },
    /// A limit in tokens is not positive.
    #[error("`{field}` of model `{model}` is not above zero")]
    Tokens {
        /// The model.
        model: String,
        /// The field.
        field: &'static str,
    },
    /// A budget's scope is not one.
    #[error("unknown budget scope `{scope}` (known: all, project:NAME, worker:NAME, job)")]
    UnknownScope {
        /// What was found.
        scope: String,
    },
    /// A budget's period is not one.
    #[error("unknown budget period `{period}` (known: job, hour, day, week, month)")]
    UnknownPeriod {
        /// What was found.
        period: String,
    },
    /// A word that says neither pause nor refuse.
    #[error("unknown `on_exhaust` `{word}` (known: pause, refuse)")]
    UnknownOnExhaust {
        /// What was found.
        word: String,
    },
}

impl ConfigError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Secret { .. } => "secret_unavailable",
            Self::UnknownProvider { .. }
            | Self::NoBaseUrl { .. }
            | Self::BaseUrl { .. }
            | Self::NoScript { .. }
            | Self::Tokens { .. }
            | Self::UnknownScope { .. }
            | Self::UnknownPeriod { .. }
            | Self::UnknownOnExhaust { .. } => "configuration_invalid",
        }
    }
}

impl GatewayConfig {
    /// Checks and joins the parts.
    ///
    /// # Errors
    /// A model without its provider, a provider without its address or script, a limit of zero.
    pub fn new(
        providers: Vec<ProviderConfig>,
        models: Vec<ModelConfig>,
        budgets: Vec<BudgetConfig>,
    ) -> Result<Self, ConfigError> {
        for provider in &providers {
            check_provider(provider)?;
        }
        let providers: BTreeMap<_, _> =
            providers.into_iter().map(|p| (p.name.clone(), p)).collect();
        for model in &models {
            check_model(model, &providers)?;
        }
        let models: BTreeMap<_, _> = models.into_iter().map(|m| (m.name.clone(), m)).collect();
        let price_book = price_book(&models);
        Ok(Self {
            providers,
            models,
            budgets,
            price_book,
        })
    }

    /// The model called `name`, with its provider.
    pub fn model(&self, name: &str) -> Option<(&ModelConfig, &ProviderConfig)> {
        let model = self.models.get(name)?;
        Some((model, self.providers.get(&model.provider)?))
    }

    /// Every model, by name.
    pub fn models(&self) -> impl Iterator<Item = &ModelConfig> {
        self.models.values()
    }

    /// The budgets of the configuration.
    pub fn budgets(&self) -> &[BudgetConfig] {
        &self.budgets
    }

    /// The version of all prices together; stored with every call.
    pub fn price_book(&self) -> &str {
        &self.price_book
    }
}

fn check_provider(provider: &ProviderConfig) -> Result<(), ConfigError> {
    let name = || provider.name.clone();
    if provider.api == ProviderApi::Replay {
        return match provider.script {
            Some(_) => Ok(()),
            None => Err(ConfigError::NoScript { provider: name() }),
        };
    }
    let Some(url) = &provider.base_url else {
        return Err(ConfigError::NoBaseUrl { provider: name() });
    };
    let scheme_known = matches!(url.scheme_str(), Some("http" | "https"));
    let has_user = url.authority().is_some_and(|a| a.as_str().contains('@'));
    if !scheme_known || url.host().is_none_or(str::is_empty) || has_user || url.query().is_some() {
        return Err(ConfigError::BaseUrl { provider: name() });
    }
    Ok(())
}

fn check_model(
    model: &ModelConfig,
    providers: &BTreeMap<String, ProviderConfig>,
) -> Result<(), ConfigError> {
    if !providers.contains_key(&model.provider) {
        return Err(ConfigError::UnknownProvider {
            model: model.name.clone(),
            provider: model.provider.clone(),
        });
    }
    for (field, tokens) in [
        ("context_tokens", model.context_tokens),
        ("output_tokens_max", model.output_tokens_max),
    ] {
        if tokens.is_some_and(|tokens| tokens <= 0) {
            return Err(ConfigError::Tokens {
                model: model.name.clone(),
                field,
            });
        }
    }
    Ok(())
}
