//! The Ed25519 key that signs the head: a PKCS#8 file in the home, for its owner's eyes only.

use crate::digest::{Digest, from_hex};
use crate::error::KeyError;
use crate::limits::KEY_BYTES_MAX;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

/// The signing key. Cheap to clone; prints only its public half.
#[derive(Debug, Clone)]
pub struct LedgerKey(Arc<Ed25519KeyPair>);

impl LedgerKey {
    /// Reads the key in `path`, or makes one there if there is no file.
    ///
    /// A new file appears whole or not at all, with mode 600. A file that others can read is
    /// refused. Blocks on the disk.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::open(path) {
            Err(KeyError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                create(path)?;
                Self::open(path)
            }
            opened => opened,
        }
    }

    /// Reads the key in `path`.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let named = || path.display().to_string();
        let file = File::open(path).map_err(|e| file_error(path, e))?;
        let metadata = file.metadata().map_err(|e| file_error(path, e))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed {
                path: named(),
                mode,
            });
        }
        let mut bytes = Vec::new();
        file.take(KEY_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|e| file_error(path, e))?;
        let pair = Ed25519KeyPair::from_pkcs8(&bytes)
            .map_err(|_| KeyError::Malformed { path: named() })?;
        Ok(Self(Arc::new(pair)))
    }

    /// The half that anybody may know.
    pub fn public(&self) -> LedgerPublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        LedgerPublicKey(bytes)
    }

    pub(crate) fn sign_head(&self, seq: i64, hash: &Digest) -> Vec<u8> {
        self.0.sign(&head_message(seq, hash)).as_ref().to_vec()
    }
}

/// The key that checks the head's signature; its text form is 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerPublicKey([u8; 32]);

impl LedgerPublicKey {
    pub(crate) fn signed_head(&self, seq: i64, hash: &Digest, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(&head_message(seq, hash), signature)
            .is_ok()
    }
}

impl fmt::Display for LedgerPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for LedgerPublicKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = from_hex(&text.to_ascii_lowercase());
        bytes.map(Self).ok_or(KeyError::MalformedPublic)
    }
}

impl serde::Serialize for LedgerPublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for LedgerPublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        let bytes = from_hex(&text);
        let bytes = bytes.ok_or_else(|| serde::de::Error::custom(KeyError::MalformedPublic))?;
        Ok(Self(bytes))
    }
}

/// What a head's signature covers: the words `skep-ledger-head-v1`, the sequence number as a
/// 64-bit big-endian number, and the 32 bytes of the hash.
fn head_message(seq: i64, hash: &Digest) -> Vec<u8> {
    let mut message = b"skep-ledger-head-v1".to_vec();
    message.extend_from_slice(&seq.to_be_bytes());
    message.extend_from_slice(&hash.0);
    message
}

fn create(path: &Path) -> Result<(), KeyError> {
    let document =
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Generate)?;
    let unfinished = path.with_extension(format!("unfinished-{}", std::process::id()));
    let written = write_private(&unfinished, document.as_ref())
        // A hard link, unlike a rename, never replaces a key that another process has just made.
        .and_then(|()| match std::fs::hard_link(&unfinished, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        })
        .and_then(|()| sync_folder(path));
    let removed = std::fs::remove_file(&unfinished);
    written.and(removed).map_err(|e| file_error(path, e))
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) if folder != Path::new("") => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

fn file_error(path: &Path, source: std::io::Error) -> KeyError {
    KeyError::File {
        path: path.display().to_string(),
        source,
    }
}
