//! How strong a fence is.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How strong a fence is. A level that was asked for and cannot be had stops the run; there is no
/// silent step down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IsolationLevel {
    /// Namespaces, Landlock and seccomp: the default.
    Namespaces,
    /// Landlock and seccomp only: weaker, with gaps that are listed by name in the proof.
    Landlock,
}

impl IsolationLevel {
    /// Every level, the strongest first.
    pub const ALL: &'static [Self] = &[Self::Namespaces, Self::Landlock];

    /// The one spelling of this level.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
        }
    }
}

impl fmt::Display for IsolationLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for IsolationLevel {
    type Err = skep_types::UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "namespaces" => Ok(Self::Namespaces),
            "landlock" => Ok(Self::Landlock),
            _ => Err(skep_types::UnknownWord {
                noun: "isolation level",
                word: word.to_owned(),
                known: &["namespaces", "landlock"],
            }),
        }
    }
}
