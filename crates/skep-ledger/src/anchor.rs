//! A head that was noted down elsewhere, to be found again.
//!
//! No check inside one store finds that a whole earlier state was put back together with its own
//! signed head. Whoever keeps a head somewhere else does.

use crate::digest::Digest;
use std::fmt;
use std::str::FromStr;

/// An entry and its hash; its text form is `SEQ:HASH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The entry's sequence number.
    pub seq: i64,
    /// Its hash.
    pub hash: Digest,
}

/// The text is no anchor.
#[derive(Debug, thiserror::Error)]
#[error("read the anchor {text:?}: it is not a number, a colon and 64 hexadecimal digits")]
pub struct AnchorError {
    text: String,
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl FromStr for Anchor {
    type Err = AnchorError;
    fn from_str(text: &str) -> Result<Self, AnchorError> {
        let parsed = text.split_once(':').and_then(|(seq, hash)| {
            let seq = seq.parse().ok().filter(|seq| *seq >= 0)?;
            let hash = hash.parse().ok()?;
            Some(Self { seq, hash })
        });
        parsed.ok_or_else(|| AnchorError {
            text: text.chars().take(100).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_read_as_it_is_written() {
        let hash = "0f".repeat(32);
        let text = format!("12:{hash}");
        let anchor: Anchor = text.parse().unwrap();
        assert_eq!(anchor.to_string(), text);
        for bad in [
            "",
            "12",
            "12:0f",
            &hash,
            &format!("-1:{hash}"),
            &format!("1:{hash}0"),
        ] {
            assert!(bad.parse::<Anchor>().is_err(), "{bad}");
        }
    }
}
