//! What can be wrong with a configuration, each with its line and with what to write instead.

use skep_api::ErrorBody;
use std::path::PathBuf;

/// A configuration that cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConfigError {
    /// `--config` names a file that is not there.
    #[error("there is no configuration at {}", path.display())]
    NotFound { path: PathBuf },
    /// The file cannot be read.
    #[error("the configuration {} cannot be read: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    /// The file is not TOML.
    #[error("{place}: this is not TOML: {reason}")]
    Syntax { place: Place, reason: String },
    /// A key that nothing reads.
    #[error("{place}: unknown key `{key}`")]
    UnknownKey {
        place: Place,
        key: String,
        nearest: Option<&'static str>,
        known: Vec<&'static str>,
    },
    /// A secret in the file itself. It is not repeated here.
    #[error("{place}: the value of `{key}` is a literal secret")]
    LiteralSecret { place: Place, key: String },
    /// A secret in the system's keychain.
    #[error("{place}: `{key}` names a keychain entry, which this version cannot read")]
    Keychain { place: Place, key: String },
    /// A value of the wrong kind.
    #[error("{place}: {reason}")]
    Value { place: Place, reason: String },
    /// Parts that do not fit together.
    #[error("{}: {reason}", path.display())]
    Parts { path: PathBuf, reason: String },
    /// A secret that is not where the file says.
    #[error("{}: {reason}", path.display())]
    SecretUnavailable { path: PathBuf, reason: String },
}

/// A line of a file.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, line {}", self.path.display(), self.line)
    }
}

impl ConfigError {
    /// The stable code for users and scripts.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "config_not_found",
            Self::Unreadable { .. } => "config_unreadable",
            Self::Syntax { .. } => "config_syntax",
            Self::UnknownKey { .. } => "config_unknown_key",
            Self::LiteralSecret { .. } => "config_secret_literal",
            Self::Keychain { .. } => "config_keychain_unsupported",
            Self::Value { .. } => "config_value",
            Self::Parts { .. } => "config_invalid",
            Self::SecretUnavailable { .. } => "secret_unavailable",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NotFound { .. } => "give an existing file, or leave out `--config`: skep.toml in the home is read by itself".to_owned(),
            Self::Unreadable { .. } => "check the file's owner and mode".to_owned(),
            Self::Syntax { .. } => "skep.example.toml shows every key as it is written".to_owned(),
            Self::UnknownKey { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            Self::UnknownKey { known, .. } if known.is_empty() => "no keys are known here".to_owned(),
            Self::UnknownKey { known, .. } => format!("known here: {}", known.join(", ")),
            Self::LiteralSecret { key, .. } => {
                let name = key.rsplit('.').next().unwrap_or(key);
                format!("put it into an environment variable and write `{name} = {{ env = \"NAME\" }}`, or into a file and write `{name} = {{ file = \"path\" }}`; replace the key that stood here")
            }
            Self::Keychain { .. } => "use `{ env = \"NAME\" }` or `{ file = \"path\" }`".to_owned(),
            Self::Value { .. } | Self::Parts { .. } => "docs/reference/config.md lists every key with its values".to_owned(),
            Self::SecretUnavailable { .. } => "set the variable or write the file, or remove `api_key`; `skep doctor` lists every secret that is missing".to_owned(),
        }
    }

    /// The error as every surface shows it.
    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody {
            code: self.code().to_owned(),
            message: self.to_string(),
            hint: Some(self.hint()),
            exit: 2,
        }
    }
}

impl From<ConfigError> for crate::failure::Failure {
    fn from(error: ConfigError) -> Self {
        error.body().into()
    }
}
