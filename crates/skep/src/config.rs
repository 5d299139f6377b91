//! `skep.toml`: found, checked key by key, and turned into what the other parts take.
//!
//! Invariants: a key that nothing reads is an error; a secret never stands in the file; a message
//! names the line and never repeats a secret. Reading a configuration contacts nothing.

mod error;
mod example;
mod keys;
mod limits;
mod topic;

pub(crate) use error::ConfigError;
pub(crate) use example::{example, reference};

use error::Place;
use limits::LimitsTable;
use serde::Deserialize;
use skep_director::{EngineConfig, ToolchainConfig, WorkerConfig};
use skep_gateway::{
    BudgetTable, GatewayConfig, GatewayTables, ModelTable, ProviderTable, SecretSource,
};
use skep_queue::FlowPolicy;
use skep_stdx::Secret;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};
pub(crate) use topic::TopicTable;

/// The name of the file in the home and in the current folder.
pub(crate) const FILE_NAME: &str = "skep.toml";
/// The largest configuration, in bytes: thousands of workers.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The largest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// Names less alike than this are not offered as a correction; 1 is the same name.
const LIKENESS_MIN: f64 = 0.7;
/// Where `skep up` listens if nothing else is said.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7575);

/// A configuration that was read and checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    /// The file; `None` when there is none and everything is at its default.
    pub(crate) file: Option<PathBuf>,
    /// Providers, models, budgets, as they stand in the file.
    pub(crate) gateway: GatewayTables,
    /// Workers by name.
    pub(crate) workers: BTreeMap<String, WorkerConfig>,
    /// What agents may read.
    pub(crate) toolchain: ToolchainConfig,
    /// How jobs are run.
    pub(crate) engine: EngineConfig,
    /// How many run, and how fast they start.
    pub(crate) limits: LimitsTable,
    /// Where `skep up` listens.
    pub(crate) server: ServerTable,
    /// Where everything is kept.
    pub(crate) database: DatabaseTable,
    /// What several nodes share.
    pub(crate) cluster: ClusterTable,
    /// Topics by name, as they stand in the file.
    pub(crate) topic: BTreeMap<String, TopicTable>,
}

/// `[server]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServerTable {
    /// The address and port.
    pub(crate) listen: SocketAddr,
}

impl Default for ServerTable {
    fn default() -> Self {
        Self { listen: LISTEN }
    }
}

/// `[cluster]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClusterTable {
    shared: Option<PathBuf>,
}

/// `[database]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DatabaseTable {
    url: Option<DatabaseUrl>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum DatabaseUrl {
    Literal(String),
    Elsewhere(SecretSource),
}

/// Which store.
#[derive(Debug, Clone)]
pub(crate) enum Database {
    /// A file in the home.
    Sqlite,
    /// A server.
    Postgres(Secret),
}

/// Whether secrets are needed: nothing that only reads calls a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrets {
    /// Every secret must be there.
    Needed,
    /// Secrets are left where they are.
    Left,
}

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    provider: BTreeMap<String, ProviderTable>,
    model: BTreeMap<String, ModelTable>,
    budget: BTreeMap<String, BudgetTable>,
    worker: BTreeMap<String, WorkerConfig>,
    toolchain: ToolchainConfig,
    engine: EngineConfig,
    limits: LimitsTable,
    server: ServerTable,
    database: DatabaseTable,
    cluster: ClusterTable,
    topic: BTreeMap<String, TopicTable>,
}

impl Config {
    /// Reads `explicit`, else `skep.toml` in the home, else in the current folder; the defaults
    /// when there is none of them.
    pub(crate) fn load(explicit: Option<&Path>, home: &Path) -> Result<Self, ConfigError> {
        let candidates = match explicit {
            Some(path) => vec![path.to_owned()],
            None => vec![home.join(FILE_NAME), PathBuf::from(FILE_NAME)],
        };
        for path in candidates {
            match read_bounded(&path, FILE_BYTES_MAX) {
                Ok(text) => {
                    // The folder is known for good even if the current folder changes.
                    let path = std::path::absolute(&path).unwrap_or(path);
                    return Self::parse(&text, &path);
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    if explicit.is_some() {
                        return Err(ConfigError::NotFound { path });
                    }
                }
                Err(error) => {
                    let reason = error.to_string();
                    return Err(ConfigError::Unreadable { path, reason });
                }
            }
        }
        Ok(Self::default())
    }

    /// Reads `text`, which stands in `path`.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let source = Source { text, path };
        let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            place: source.place(error.span()),
            reason: first_line(error.message()),
        })?;
        source.check_table(table.get_ref(), &[], "")?;
        let file: File = toml::from_str(text).map_err(|error| ConfigError::Value {
            place: source.place(error.span()),
            reason: first_line(error.message()),
        })?;
        let config = Self {
            file: Some(path.to_owned()),
            gateway: GatewayTables {
                provider: file.provider,
                model: file.model,
                budget: file.budget,
            },
            workers: file.worker,
            toolchain: file.toolchain,
            engine: file.engine,
            limits: file.limits,
            server: file.server,
            database: file.database,
            cluster: file.cluster,
            topic: file.topic,
        };
        config.check_parts()?;
        Ok(config)
    }

    /// What the gateway takes.
    pub(crate) fn gateway(&self, secrets: Secrets) -> Result<GatewayConfig, ConfigError> {
        let mut tables = self.gateway.clone();
        for provider in tables.provider.values_mut() {
            provider.script = provider
                .script
                .as_deref()
                .map(|script| self.located(script));
            if secrets == Secrets::Left {
                provider.api_key = None;
            }
        }
        tables
            .resolve(|source| self.fetch(source))
            .map_err(|error| {
                let (path, reason) = (self.path(), error.to_string());
                if error.code() == "secret_unavailable" {
                    ConfigError::SecretUnavailable { path, reason }
                } else {
                    ConfigError::Parts { path, reason }
                }
            })
    }

    /// The folder that every node of the store sees; `None` where there is one node.
    pub(crate) fn shared(&self) -> Option<PathBuf> {
        self.cluster
            .shared
            .as_deref()
            .map(|shared| self.located(shared))
    }

    /// What the queue takes.
    pub(crate) fn flow(&self) -> Result<FlowPolicy, ConfigError> {
        self.limits.policy().map_err(|reason| ConfigError::Parts {
            path: self.path(),
            reason,
        })
    }

    /// Which store.
    pub(crate) fn database(&self) -> Result<Database, ConfigError> {
        let address = match &self.database.url {
            None => return Ok(Database::Sqlite),
            Some(DatabaseUrl::Literal(url)) if url == "sqlite" => return Ok(Database::Sqlite),
            Some(DatabaseUrl::Literal(url)) => Secret::new(url),
            Some(DatabaseUrl::Elsewhere(source)) => {
                self.fetch(source)
                    .map_err(|reason| ConfigError::SecretUnavailable {
                        path: self.path(),
                        reason: format!("`database.url`: {reason}"),
                    })?
            }
        };
        if is_postgres(address.reveal()) {
            return Ok(Database::Postgres(address));
        }
        Err(ConfigError::Parts {
            path: self.path(),
            reason: "`database.url` is neither `sqlite` nor a postgres:// address".to_owned(),
        })
    }

    /// Fetches a secret from where the file says it is; the error never holds it.
    pub(crate) fn fetch(&self, source: &SecretSource) -> Result<Secret, String> {
        let text = match source {
            SecretSource::Env(name) => std::env::var(name)
                .map_err(|_| format!("the environment variable {name} is not set"))?,
            SecretSource::File(path) => {
                let path = self.located(path);
                read_bounded(&path, SECRET_BYTES_MAX).map_err(|error| {
                    format!("the file {} cannot be read: {error}", path.display())
                })?
            }
            SecretSource::Keychain(_) => {
                return Err("this version cannot read a keychain".to_owned());
            }
        };
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return Err("the secret is empty".to_owned());
        }
        Ok(Secret::new(text))
    }

    /// Every secret that can be read now, for whoever keeps them out of texts.
    pub(crate) fn known_secrets(&self) -> Vec<Secret> {
        let keys = self
            .gateway
            .provider
            .values()
            .filter_map(|provider| provider.api_key.as_ref());
        let mut secrets: Vec<Secret> = keys.filter_map(|source| self.fetch(source).ok()).collect();
        if let Ok(Database::Postgres(address)) = self.database() {
            secrets.push(address);
        }
        secrets
    }

    /// Where a path of the file leads: `~` is the user's home, anything relative starts at the
    /// file's own folder.
    pub(crate) fn located(&self, path: &Path) -> PathBuf {
        if let Ok(rest) = path.strip_prefix("~")
            && let Some(home) = std::env::home_dir()
        {
            return home.join(rest);
        }
        match self.file.as_deref().and_then(Path::parent) {
            Some(folder) => folder.join(path),
            None => path.to_owned(),
        }
    }

    fn path(&self) -> PathBuf {
        self.file
            .clone()
            .unwrap_or_else(|| PathBuf::from(FILE_NAME))
    }

    /// What can only be said of the tables together.
    fn check_parts(&self) -> Result<(), ConfigError> {
        let wrong = |reason: String| {
            Err(ConfigError::Parts {
                path: self.path(),
                reason,
            })
        };
        for (name, worker) in &self.workers {
            if let Some(model) = &worker.model
                && !self.gateway.model.contains_key(model)
            {
                let known = self.gateway.model.keys().map(String::as_str);
                let near = nearest(model, known)
                    .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                return wrong(format!(
                    "worker `{name}` names model `{model}`, which is not configured{near}"
                ));
            }
            if worker.harness == "exec" && worker.command.is_empty() {
                return wrong(format!(
                    "worker `{name}` has the harness `exec` and no `command`"
                ));
            }
        }
        self.flow()?;
        let engine = &self.engine;
        if engine.slots < 1 || engine.attempt_seconds_max < 1 || engine.check_seconds_max < 1 {
            return wrong(
                "`slots`, `attempt_seconds_max` and `check_seconds_max` of [engine] are above zero"
                    .to_owned(),
            );
        }
        if engine.rework_rounds_max < 0 {
            return wrong("`rework_rounds_max` of [engine] is not negative".to_owned());
        }
        Ok(())
    }
}

/// The text of a file and where it stands.
struct Source<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Source<'_> {
    fn place(&self, span: Option<std::ops::Range<usize>>) -> Place {
        let before = span.map_or(0, |span| span.start.min(self.text.len()));
        Place {
            path: self.path.to_owned(),
            line: self.text.as_bytes()[..before]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1,
        }
    }

    /// Checks every key below `table`; `pattern` is its path with the user's names as `NAME`,
    /// `shown` as it stands in the file.
    fn check_table(
        &self,
        table: &DeTable<'_>,
        pattern: &[&str],
        shown: &str,
    ) -> Result<(), ConfigError> {
        let known = keys::known_below(pattern);
        for (key, value) in table {
            let name: &str = key.get_ref();
            let full = if shown.is_empty() {
                name.to_owned()
            } else {
                format!("{shown}.{name}")
            };
            let place = || self.place(Some(key.span()));
            let mut below = pattern.to_vec();
            match &known {
                None => below.push("NAME"),
                Some(known) => match known.iter().find(|known| **known == name) {
                    Some(known) => below.push(known),
                    None => {
                        return Err(ConfigError::UnknownKey {
                            place: place(),
                            key: full,
                            nearest: nearest(name, known.iter().copied()),
                            known: known.clone(),
                        });
                    }
                },
            }
            if keys::is_secret(&below) && value.get_ref().is_str()
                || is_literal_password(&below, value.get_ref())
            {
                return Err(ConfigError::LiteralSecret {
                    place: place(),
                    key: full,
                });
            }
            if below.last() == Some(&"keychain") {
                return Err(ConfigError::Keychain {
                    place: place(),
                    key: full,
                });
            }
            if let Some(inner) = value.get_ref().as_table() {
                self.check_table(inner, &below, &full)?;
            }
        }
        Ok(())
    }
}

/// Whether a database's address holds a password.
fn is_literal_password(path: &[&str], value: &DeValue<'_>) -> bool {
    let url = match (path, value.as_str()) {
        (["database", "url"], Some(url)) => url,
        _ => return false,
    };
    let in_authority = url
        .split_once("://")
        .and_then(|(_, rest)| rest.split('/').next())
        .and_then(|authority| authority.rsplit_once('@'))
        .is_some_and(|(user, _)| user.contains(':'));
    in_authority || url.contains("password=")
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// The known name that is most like `name`, if any is like it at all.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

fn read_bounded(path: &Path, bytes_max: u64) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path)?
        .take(bytes_max + 1)
        .read_to_string(&mut text)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > bytes_max {
        return Err(std::io::Error::other(format!(
            "it is larger than {bytes_max} bytes"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
