//! The gateway's tables of `skep.toml`: `[provider.NAME]`, `[model.NAME]`, `[budget.NAME]`.
//!
//! Exactly the shape of the file; [`GatewayTables::resolve`] makes the [`GatewayConfig`] of it.
//! Secrets stand in the file by reference only, and a literal one is refused without repeating it.

use crate::config::{
    BudgetConfig, ConfigError, GatewayConfig, Locality, ModelConfig, OnExhaust, Period,
    ProviderApi, ProviderConfig,
};
use crate::decimal::ExactUsd;
use crate::price::Price;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use skep_stdx::Secret;
use skep_types::MicroUsd;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The three kinds of table together. A file with other tables holds these maps side by side.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayTables {
    /// `[provider.NAME]`
    pub provider: BTreeMap<String, ProviderTable>,
    /// `[model.NAME]`
    pub model: BTreeMap<String, ModelTable>,
    /// `[budget.NAME]`
    pub budget: BTreeMap<String, BudgetTable>,
}

/// `[provider.NAME]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderTable {
    /// The wire format.
    pub api: ProviderApi,
    /// Up to and including the version for OpenAI formats, without it for anthropic and gemini.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Where the credential is.
    #[serde(default)]
    pub api_key: Option<SecretSource>,
    /// Left out: `remote`, or `local` for a script.
    #[serde(default)]
    pub locality: Option<Locality>,
    /// The recorded consent that sensitive data may go to this remote provider.
    #[serde(default)]
    pub allow_sensitive: bool,
    /// The script to replay.
    #[serde(default)]
    pub script: Option<PathBuf>,
}

/// Where a secret is: `{ env = "NAME" }`, `{ file = "path" }` or `{ keychain = "name" }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// The whole text of a file, without its last line end.
    File(PathBuf),
    /// An entry of the system's keychain.
    Keychain(String),
}

/// `[model.NAME]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelTable {
    /// The provider that serves it.
    pub provider: String,
    /// The name sent to the provider; left out: the table's own name.
    #[serde(default)]
    pub upstream: Option<String>,
    /// Left out: the table's own name, so that no other model is of its family.
    #[serde(default)]
    pub family: Option<String>,
    /// The context window.
    #[serde(default)]
    pub context_tokens: Option<i64>,
    /// The longest answer.
    #[serde(default)]
    pub output_tokens_max: Option<i64>,
    /// US dollars per million tokens.
    #[serde(default)]
    pub price: Option<PriceTable>,
}

/// `price = { … }`: US dollars per million tokens.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceTable {
    input: ExactUsd,
    output: ExactUsd,
    #[serde(default)]
    cache_read: Option<ExactUsd>,
    #[serde(default)]
    cache_write_5m: Option<ExactUsd>,
    #[serde(default)]
    cache_write_1h: Option<ExactUsd>,
}

/// `[budget.NAME]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetTable {
    scope: String,
    limit_usd: ExactUsd,
    period: Period,
    #[serde(default)]
    on_exhaust: OnExhaust,
}

impl GatewayTables {
    /// The configuration, with every secret fetched by `fetch`, whose error is a reason without
    /// the secret.
    ///
    /// # Errors
    /// See [`ConfigError`]; nothing is contacted.
    pub fn resolve(
        self,
        mut fetch: impl FnMut(&SecretSource) -> Result<Secret, String>,
    ) -> Result<GatewayConfig, ConfigError> {
        let providers = self
            .provider
            .into_iter()
            .map(|(name, table)| table.resolve(name, &mut fetch))
            .collect::<Result<_, _>>()?;
        let models = self.model.into_iter().map(ModelTable::resolve).collect();
        let budgets = self
            .budget
            .into_iter()
            .map(|(name, table)| table.resolve(name))
            .collect::<Result<_, _>>()?;
        GatewayConfig::new(providers, models, budgets)
    }
}

impl ProviderTable {
    fn resolve(
        self,
        name: String,
        fetch: &mut impl FnMut(&SecretSource) -> Result<Secret, String>,
    ) -> Result<ProviderConfig, ConfigError> {
        let base_url = self.base_url.map(|url| {
            let text = url.trim_end_matches('/');
            let whole = !text.contains('#');
            text.parse().ok().filter(|_| whole)
        });
        let base_url = match base_url {
            Some(None) => return Err(ConfigError::BaseUrl { provider: name }),
            Some(url) => url,
            None => None,
        };
        let api_key = self.api_key.map(|source| fetch(&source)).transpose();
        let api_key = api_key.map_err(|reason| ConfigError::Secret {
            provider: name.clone(),
            reason,
        })?;
        let default_locality = match self.api {
            ProviderApi::Replay => Locality::Local,
            ProviderApi::Anthropic
            | ProviderApi::OpenaiChat
            | ProviderApi::OpenaiResponses
            | ProviderApi::Gemini => Locality::Remote,
        };
        Ok(ProviderConfig {
            name,
            api: self.api,
            base_url,
            api_key,
            locality: self.locality.unwrap_or(default_locality),
            allow_sensitive: self.allow_sensitive,
            script: self.script,
        })
    }
}

impl ModelTable {
    fn resolve((name, table): (String, Self)) -> ModelConfig {
        ModelConfig {
            upstream: table.upstream.unwrap_or_else(|| name.clone()),
            family: table.family.unwrap_or_else(|| name.clone()),
            name,
            provider: table.provider,
            context_tokens: table.context_tokens,
            output_tokens_max: table.output_tokens_max,
            price: table.price.map(PriceTable::resolve),
        }
    }
}

impl PriceTable {
    /// Cache prices that are left out follow the multiples that the Messages API's vendor
    /// publishes for its own models: writes at 1.25 and 2 times the input; reads count as input,
    /// which is never too little.
    fn resolve(self) -> Price {
        let input = self.input.0;
        let or = |price: Option<ExactUsd>, default: i64| price.map_or(default, |price| price.0);
        Price {
            input,
            output: self.output.0,
            cache_read: or(self.cache_read, input),
            cache_write_5m: or(self.cache_write_5m, input + (input + 3) / 4),
            cache_write_1h: or(self.cache_write_1h, input * 2),
        }
    }
}

impl BudgetTable {
    fn resolve(self, name: String) -> Result<BudgetConfig, ConfigError> {
        Ok(BudgetConfig {
            name,
            scope: self.scope.parse()?,
            limit: MicroUsd(self.limit_usd.0),
            period: self.period,
            on_exhaust: self.on_exhaust,
        })
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

const SECRET_FORMS: &str =
    r#"a reference: { env = "NAME" }, { file = "path" } or { keychain = "name" }"#;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SECRET_FORMS)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<SecretSource, E> {
        Err(E::custom(format!(
            "a secret is never written literally, but as {SECRET_FORMS}"
        )))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
        let wrong = || A::Error::custom(format!("a secret is {SECRET_FORMS}"));
        let (kind, place) = map.next_entry::<String, String>()?.ok_or_else(wrong)?;
        let source = match kind.as_str() {
            "env" => SecretSource::Env(place),
            "file" => SecretSource::File(place.into()),
            "keychain" => SecretSource::Keychain(place),
            _ => return Err(wrong()),
        };
        match map.next_key::<String>()? {
            None => Ok(source),
            Some(_) => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BudgetScope;

    const FILE: &str = r#"
        [provider.local]
        api = "anthropic"
        base_url = "http://127.0.0.1:9999/"
        api_key = { env = "LOCAL_KEY" }
        locality = "local"
        [provider.demo]
        api = "replay"
        script = "demo.toml"
        [model.stub-large]
        provider = "local"
        upstream = "stub-large-1"
        family = "stub"
        context_tokens = 200000
        price = { input = 3.0, output = 15.0, cache_read = 0.3, cache_write_5m = 3.75, cache_write_1h = 6.0 }
        [model.plain]
        provider = "demo"
        price = { input = 0.1, output = 1 }
        [budget.daily]
        scope = "project:bees"
        limit_usd = 5.0
        period = "day"
        on_exhaust = "refuse"
    "#;

    fn read(text: &str) -> Result<GatewayConfig, String> {
        let tables: GatewayTables =
            toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let fetch = |source: &SecretSource| match source {
            SecretSource::Env(name) if name == "LOCAL_KEY" => Ok(Secret::new("the-real-key")),
            SecretSource::Env(_) | SecretSource::File(_) | SecretSource::Keychain(_) => {
                Err("not set".to_owned())
            }
        };
        tables.resolve(fetch).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_reads_exactly() {
        let config = read(FILE).unwrap();
        let (model, provider) = config.model("stub-large").unwrap();
        assert_eq!(
            model.price,
            Some(Price {
                input: 3_000_000,
                output: 15_000_000,
                cache_read: 300_000,
                cache_write_5m: 3_750_000,
                cache_write_1h: 6_000_000,
            })
        );
        assert_eq!(provider.api_key, Some(Secret::new("the-real-key")));
        assert_eq!(
            provider.base_url.as_ref().unwrap().to_string(),
            "http://127.0.0.1:9999/"
        );
        let (plain, demo) = config.model("plain").unwrap();
        assert_eq!(
            (demo.locality, provider.locality),
            (Locality::Local, Locality::Local)
        );
        assert_eq!(
            plain.price,
            Some(Price {
                input: 100_000,
                output: 1_000_000,
                cache_read: 100_000,
                cache_write_5m: 125_000,
                cache_write_1h: 200_000,
            })
        );
        assert_eq!(
            config.budgets(),
            [BudgetConfig {
                name: "daily".to_owned(),
                scope: BudgetScope::Project("bees".to_owned()),
                limit: MicroUsd(5_000_000),
                period: Period::Day,
                on_exhaust: OnExhaust::Refuse,
            }]
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, expected) in [
            ("provider = \"demo\"", "provider = \"nowhere\"", "`nowhere`"),
            ("base_url = \"http://127.0.0.1:9999/\"", "", "no `base_url`"),
            ("http://127.0.0.1:9999/", "ftp://x", "http://"),
            (
                "http://127.0.0.1:9999/",
                "http://user:pass@x",
                "without user",
            ),
            ("http://127.0.0.1:9999/", "http://x/#y", "without user"),
            ("script = \"demo.toml\"", "", "no `script`"),
            ("\"LOCAL_KEY\"", "\"OTHER\"", "not set"),
            (
                "{ env = \"LOCAL_KEY\" }",
                "\"sk-literal\"",
                "never written literally",
            ),
            ("{ env = \"LOCAL_KEY\" }", "{ vault = \"x\" }", "{ env ="),
            (
                "context_tokens = 200000",
                "context_tokens = 0",
                "`context_tokens`",
            ),
            ("input = 3.0", "input = 3.0000001", "six decimals"),
            ("project:bees", "hive:bees", "hive:bees"),
            ("family =", "famly =", "unknown field `famly`"),
            (
                "\"anthropic\"",
                "\"anthropc\"",
                "unknown variant `anthropc`",
            ),
        ] {
            let text = FILE.replacen(from, to, 1);
            assert_ne!(text, FILE, "{from}");
            let error = read(&text).unwrap_err();
            assert!(error.contains(expected), "{from} -> {to}: {error}");
            assert!(
                !error.contains("sk-literal") && !error.contains("pass"),
                "{error}"
            );
        }
    }
}
