//! SHA-256 digests and the canonical bytes that link one entry to the one before.

use ring::digest::{Context, SHA256};
use std::fmt::{self, Write as _};
use std::str::FromStr;

/// A SHA-256 digest; prints as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// What the first entry has in place of the hash before it.
    pub const ZERO: Self = Self([0; 32]);

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::finish(Context::new(&SHA256), bytes)
    }

    /// The digest that `bytes` hold, if they are 32.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    fn finish(mut context: Context, rest: &[u8]) -> Self {
        context.update(rest);
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Self(digest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// 64 hexadecimal digits in lower case, as they are printed.
impl FromStr for Digest {
    type Err = NotHex;
    fn from_str(text: &str) -> Result<Self, NotHex> {
        from_hex(text).map(Self).ok_or(NotHex)
    }
}

/// The text is not the hexadecimal form of so many bytes.
#[derive(Debug, thiserror::Error)]
#[error("read hexadecimal digits")]
pub struct NotHex;

/// The bytes whose lower-case hexadecimal form is `text`.
pub(crate) fn from_hex<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != BYTES || !rest.is_empty() {
        return None;
    }
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; BYTES];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// Lower-case hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the hash of an entry covers, besides the hash before it and its sequence number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Covered<'a> {
    pub(crate) event_id: i64,
    pub(crate) at_ms: i64,
    pub(crate) kind: &'a str,
    pub(crate) version: i64,
    pub(crate) subject: &'a str,
    /// Stands for the payload, so that the entry can be checked when the payload was purged.
    pub(crate) payload_digest: Digest,
}

/// The hash of entry `seq`.
///
/// SHA-256 over these fields in this order, each preceded by its length in bytes as a 64-bit
/// big-endian number, integers as 64-bit big-endian two's complement: the words
/// `skep-ledger-entry-v1`, the hash of the entry before, sequence number, event id, time, kind,
/// version, subject, SHA-256 of the payload.
pub(crate) fn entry_hash(previous: &Digest, seq: i64, covered: &Covered<'_>) -> Digest {
    let mut context = Context::new(&SHA256);
    let mut field = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    field(b"skep-ledger-entry-v1");
    field(&previous.0);
    field(&seq.to_be_bytes());
    field(&covered.event_id.to_be_bytes());
    field(&covered.at_ms.to_be_bytes());
    field(covered.kind.as_bytes());
    field(&covered.version.to_be_bytes());
    field(covered.subject.as_bytes());
    field(&covered.payload_digest.0);
    Digest::finish(context, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    const COVERED: Covered<'_> = Covered {
        event_id: 2,
        at_ms: 3,
        kind: "job_queued",
        version: 1,
        subject: "job_a",
        payload_digest: Digest([7; 32]),
    };

    /// The expected text was computed with Python's hashlib and struct from the description.
    #[test]
    fn the_hash_is_the_documented_one() {
        assert_eq!(
            entry_hash(&Digest::ZERO, 1, &COVERED).to_string(),
            "03057cacb2eca9656a5caed34faaf37fe2cc96c6b719eab70a625a9759bcd786"
        );
    }

    #[test]
    fn a_byte_that_moves_between_fields_changes_the_hash() {
        let moved = Covered {
            kind: "job_queuedj",
            subject: "ob_a",
            ..COVERED
        };
        assert_ne!(
            entry_hash(&Digest::ZERO, 1, &COVERED),
            entry_hash(&Digest::ZERO, 1, &moved)
        );
    }
}
