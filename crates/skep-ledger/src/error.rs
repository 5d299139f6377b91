//! What can go wrong with the ledger and with its key.

use skep_db::DbError;

/// A failed operation on the ledger.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The payload has no JSON form.
    #[error("write the payload of {kind} as JSON")]
    Encode {
        /// The event's kind.
        kind: &'static str,
        /// What serde said.
        #[source]
        source: serde_json::Error,
    },
    /// The payload is larger than [`PAYLOAD_BYTES_MAX`](crate::limits::PAYLOAD_BYTES_MAX).
    #[error("append {kind}: its payload of {bytes} bytes is too large")]
    PayloadTooLarge {
        /// The event's kind.
        kind: &'static str,
        /// The payload's size.
        bytes: usize,
    },
    /// The head that is to be extended was not signed with this key.
    #[error("extend the ledger: its head at {seq} is not signed with the key of this home")]
    ForeignHead {
        /// The head's sequence number.
        seq: i64,
    },
    /// The store failed.
    #[error("reach the ledger")]
    Db(#[from] DbError),
}

impl LedgerError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Encode { .. } | Self::PayloadTooLarge { .. } => "ledger_payload_invalid",
            Self::ForeignHead { .. } => "ledger_head_foreign",
            Self::Db(_) => "database_unavailable",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ForeignHead { .. } => Some(
                "run `skep ledger verify`; if only the signature is wrong, put the file \
                 `ledger.key` back that sealed this ledger: every node of one PostgreSQL store has \
                 the same; if it is lost, `skep ledger rekey --reason lost` goes on with this one"
                    .into(),
            ),
            Self::Encode { .. } | Self::PayloadTooLarge { .. } | Self::Db(_) => None,
        }
    }
}

/// For operations that fail as the store fails: an event that cannot be appended is, to them, a
/// change that cannot be made.
impl From<LedgerError> for DbError {
    fn from(error: LedgerError) -> Self {
        let (operation, reason) = match error {
            LedgerError::Db(error) => return error,
            LedgerError::Encode { kind, .. } => (kind, "its ledger payload has no JSON form"),
            LedgerError::PayloadTooLarge { kind, .. } => (kind, "its ledger payload is too large"),
            LedgerError::ForeignHead { .. } => (
                "seal",
                "the ledger's head is not signed with the key of this home",
            ),
        };
        Self::BadClosure { operation, reason }
    }
}

/// Why the signing key cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("open the ledger's key {path}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file holds no Ed25519 key.
    #[error("read the ledger's key {path}: it is not an Ed25519 key in PKCS#8 form")]
    Malformed {
        /// The file.
        path: String,
    },
    /// Others than the owner may read the file.
    #[error("trust the ledger's key {path}: its mode {mode:o} lets others read it")]
    Exposed {
        /// The file.
        path: String,
        /// The permission bits.
        mode: u32,
    },
    /// The system gave no randomness for a new key.
    #[error("make the ledger's key")]
    Generate,
    /// The text is no public key.
    #[error("read the public key: it is not 64 hexadecimal digits")]
    MalformedPublic,
}

impl KeyError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::Generate => "ledger_key_unavailable",
            Self::Malformed { .. } | Self::MalformedPublic => "ledger_key_malformed",
            Self::Exposed { .. } => "ledger_key_exposed",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exposed { path, .. } => Some(format!("run `chmod 600 {path}`")),
            Self::Malformed { .. } => Some("put the file back from a copy of the home".into()),
            Self::File { .. } | Self::Generate | Self::MalformedPublic => None,
        }
    }
}
