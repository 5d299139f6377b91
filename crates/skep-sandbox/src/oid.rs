//! The name of a git object.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A full object name: 40 hexadecimal digits (SHA-1) or 64 (SHA-256), lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Oid(String);

/// Text that is no full object name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedOid(String);

impl Oid {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Oid {
    type Err = MalformedOid;

    fn from_str(text: &str) -> Result<Self, MalformedOid> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if matches!(text.len(), 40 | 64) && text.bytes().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(MalformedOid(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for Oid {
    type Error = MalformedOid;

    fn try_from(text: String) -> Result<Self, MalformedOid> {
        text.parse()
    }
}

impl From<Oid> for String {
    fn from(oid: Oid) -> Self {
        oid.0
    }
}

impl fmt::Display for MalformedOid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no full object name", self.0.escape_debug())
    }
}

impl std::error::Error for MalformedOid {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_lower_case_names_are_names() {
        let sha1 = "0123456789abcdef0123456789abcdef01234567";
        let sha256 = format!("{sha1}{}", &sha1[..24]);
        for good in [sha1, &sha256] {
            assert_eq!(good.parse::<Oid>().unwrap().as_str(), good);
        }
        let upper = sha1.to_uppercase();
        for bad in [
            "",
            "HEAD",
            &sha1[..39],
            &upper,
            "--upload-pack=x",
            &format!("{sha1}\n"),
        ] {
            assert!(bad.parse::<Oid>().is_err(), "{bad:?}");
        }
    }
}
