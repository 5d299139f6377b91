//! The local API token: a file in the home, made at the first start, for its owner's eyes only.
//!
//! Invariant: the file is whole or absent, and nobody but its owner can read it.

use crate::ServeError;
use crate::limits::TOKEN_FILE_BYTES_MAX;
use ring::hmac;
use skep_stdx::{Entropy, Secret};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// What a token starts with, so that one that leaked is recognised.
pub const TOKEN_PREFIX: &str = "skep_local_";
/// Half of this many hexadecimal digits is the token's strength in bytes.
const TOKEN_DIGITS: usize = 64;

/// The token of a home.
#[derive(Debug, Clone)]
pub struct LocalToken {
    /// The token itself.
    pub secret: Secret,
    /// Whether this start made it.
    pub fresh: bool,
}

impl LocalToken {
    /// Reads the token in `path`, or makes one there. The caller holds the home's lock.
    ///
    /// # Errors
    /// [`ServeError::Token`] when the file cannot be read or written, is readable by others, or
    /// does not hold a token.
    pub fn load_or_make(path: &Path, entropy: &dyn Entropy) -> Result<Self, ServeError> {
        let unusable = |reason: String| ServeError::Token {
            path: path.display().to_string(),
            reason,
        };
        match File::open(path) {
            Ok(file) => match read(file) {
                Ok(Ok(secret)) => Ok(Self {
                    secret,
                    fresh: false,
                }),
                Ok(Err(reason)) => Err(unusable(reason)),
                Err(error) => Err(unusable(error.to_string())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = fresh(entropy);
                write(path, &secret).map_err(|error| unusable(error.to_string()))?;
                Ok(Self {
                    secret,
                    fresh: true,
                })
            }
            Err(error) => Err(unusable(error.to_string())),
        }
    }
}

fn fresh(entropy: &dyn Entropy) -> Secret {
    let mut random = [0; TOKEN_DIGITS / 2];
    entropy.fill(&mut random);
    let mut token = TOKEN_PREFIX.to_owned();
    for byte in random {
        // Writing to a String cannot fail.
        let _ = write!(token, "{byte:02x}");
    }
    Secret::new(token)
}

/// The token, or why the file's content is refused.
fn read(file: File) -> io::Result<Result<Secret, String>> {
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Ok(Err(format!("others can read it (mode {mode:03o})")));
    }
    let mut text = String::new();
    file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text)?;
    let token = text.trim();
    let digits = token.strip_prefix(TOKEN_PREFIX).unwrap_or_default();
    if digits.len() == TOKEN_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(Ok(Secret::new(token)))
    } else {
        Ok(Err("it does not hold a token".to_owned()))
    }
}

fn write(path: &Path, secret: &Secret) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(secret.reveal().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)
}

/// Compares a presented token in a time that does not depend on where it differs.
pub(crate) struct TokenCheck {
    key: hmac::Key,
    expected: hmac::Tag,
}

impl TokenCheck {
    /// A check for `token`; `entropy` makes the key under which both sides are compared.
    pub(crate) fn new(token: &Secret, entropy: &dyn Entropy) -> Self {
        let mut random = [0; 32];
        entropy.fill(&mut random);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &random);
        let expected = hmac::sign(&key, token.reveal().as_bytes());
        Self { key, expected }
    }

    pub(crate) fn accepts(&self, presented: &str) -> bool {
        hmac::verify(&self.key, presented.as_bytes(), self.expected.as_ref()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_stdx::SeededEntropy;

    #[test]
    fn a_token_is_made_once_and_read_back() -> anyhow::Result<()> {
        let home = tempfile::tempdir()?;
        let path = home.path().join("token");
        let entropy = SeededEntropy::new(1);
        let made = LocalToken::load_or_make(&path, &entropy)?;
        let read = LocalToken::load_or_make(&path, &entropy)?;
        assert!(made.fresh && !read.fresh);
        assert_eq!(made.secret, read.secret);
        assert_eq!(
            std::fs::metadata(&path)?.permissions().mode() & 0o777,
            0o600
        );
        let check = TokenCheck::new(&made.secret, &entropy);
        assert!(check.accepts(read.secret.reveal()));
        assert!(!check.accepts("") && !check.accepts(&read.secret.reveal()[1..]));
        Ok(())
    }

    #[test]
    fn a_file_that_others_can_read_or_that_holds_no_token_is_refused() -> anyhow::Result<()> {
        let home = tempfile::tempdir()?;
        let path = home.path().join("token");
        for (content, mode, reason) in [
            ("skep_local_00", 0o600, "does not hold a token"),
            ("", 0o600, "does not hold a token"),
            ("skep_local_", 0o644, "others can read it (mode 644)"),
        ] {
            std::fs::write(&path, content)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
            let error = LocalToken::load_or_make(&path, &SeededEntropy::new(1)).unwrap_err();
            let body = error.body();
            assert!(body.message.contains(reason), "{body:?}");
            assert_eq!((body.code.as_str(), body.exit), ("token_file_unusable", 2));
        }
        Ok(())
    }
}
